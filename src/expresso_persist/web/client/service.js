/** What applications call. */

import { ExpressoPersistError } from './errors.js';
import { RETRIED_STATUSES, envelopeOf, isLost } from './failures.js';
import { Live } from './live.js';
import { ADJUST, GET_ALL } from './paths.js';
import { adjustment, withUnsent } from './projection.js';
import { FRESH } from './replica.js';
import { callAll, copy, isObject, own, randomKey, sameJson, sleep } from './values.js';
/** @import { Change, Transport, Fetch, GetToken, Item, Json, JsonObject, MigrationOptions, OnUnauthorized, Parked, ServiceOptions, Status, WriteOptions, Written } from './types.js' */

// Not written into the import: a bundler of a copy without it would fail to find it.
const BESIDE = './secrets.js';
const TOKEN_KEY = 'expresso_persist_token';
const LEGACY_TOKEN_KEY = 'coffee_system_token';
const DEVICE_KEY = 'expresso_persist_device_id';
const STATIC_PATH = '/static/expresso-persist/';

const INVENTORY_KEYS = [
  'event_inventory',
  'event_stock_levels',
  'station_inventory_configs',
  'station_inventory_quantities',
];
const SETTING_KEYS = ['branding_settings', 'sms_settings', 'system_settings'];

/**
 * @param {'localStorage' | 'sessionStorage'} area
 * @param {string} key
 * @returns {string | null} null also where the browser forbids storage
 */
function stored(area, key) {
  try {
    return globalThis[area].getItem(key);
  } catch {
    return null;
  }
}

/** @param {string} key @returns {string | null} what localStorage holds that is worth keeping */
function held(key) {
  const raw = stored('localStorage', key);
  return raw === null || ['', 'null', 'undefined'].includes(raw) ? null : raw;
}

/** @param {string | null} a @param {string} b @returns {boolean} whether both are the same text, or the same JSON */
function sameText(a, b) {
  if (a === null || a === b) return a === b;
  try {
    return sameJson(JSON.parse(a), JSON.parse(b));
  } catch {
    return false;
  }
}

/** @param {string} moduleUrl @returns {string} what stands before `/api`, '' for the page's own origin */
function baseUrlOf(moduleUrl) {
  const end = moduleUrl.lastIndexOf(STATIC_PATH);
  return /^https?:/.test(moduleUrl) && end >= 0 ? moduleUrl.slice(0, end) : '';
}

/** @param {Item} item @returns {JsonObject} */
function itemReference(item) {
  if (typeof item === 'string') return { item_name: item };
  if ('item_name' in item) return { item_name: item.item_name };
  return { item_id: 'item_id' in item ? item.item_id : item.id };
}

/** @param {Item} item @returns {string} its id or its name */
function itemText(item) {
  if (typeof item === 'string') return item;
  if ('item_name' in item) return item.item_name;
  return 'item_id' in item ? item.item_id : item.id;
}

/** @param {string | number | null | undefined} station @returns {string | null} null for the event's stock */
const placeText = (station) => (station == null ? null : String(station));

/** @type {Status} */
const NOT_STARTED = {
  online: false,
  pending: 0,
  parked: 0,
  oldestPendingAge: null,
  lastServerAck: null,
  setAside: 0,
  caughtUp: false,
  signInNeeded: false,
  feed: 'off',
  storage: 'memory',
  durable: false,
};

/** The inventory of an event, its stations, settings and documents, kept in a database. */
export class DatabaseInventoryService {
  /** @type {string} */ #baseUrl = baseUrlOf(import.meta.url ?? ''); // bundles that are no modules have none
  /** @type {string | null} */ #token = null;
  /** @type {GetToken | null} */ #getToken = null;
  /** @type {Fetch} */ #fetch = (url, init) => globalThis.fetch(url, init);
  /** @type {string | null} */ #deviceId = null;
  #retries = 3;
  #retryDelay = 400;
  #maxRetryDelay = 10_000;
  #timeout = 30_000;
  #patience = 4000;
  #pollInterval = 3000;
  #warnOnClose = true;
  #keepDays = 7;
  #keepWrites = 5000;
  #keepBytes = 8 * 1024 * 1024;
  #wantsLive = true;
  /** @type {number | null} when all was last read, without a local copy */ #loadedAt = null;
  #user = '';
  /** @type {OnUnauthorized | null} */ #onUnauthorized = null;
  /** @type {Promise<string | null> | null} */ #refreshing = null;
  /** @type {Live | null} */ #live = null;
  /** @type {Set<(change: Change) => void>} */ #changeListeners = new Set();
  /** @type {Set<(status: Status) => void>} */ #statusListeners = new Set();
  /** @type {Map<string, {token: string | null, etag: string | null, data: any}>} */
  #answers = new Map();
  /** @type {Map<string, {token: string | null, answer: Promise<any>}>} */
  #reading = new Map();

  /** @param {ServiceOptions} [options] */
  constructor(options = {}) {
    this.configure(options);
  }

  /** Change how the service works; what is left out stays. @param {ServiceOptions} options */
  configure(options) {
    if (options.baseUrl !== undefined) this.#baseUrl = options.baseUrl;
    while (this.#baseUrl.endsWith('/')) this.#baseUrl = this.#baseUrl.slice(0, -1);
    if (options.token !== undefined) this.#token = options.token;
    if (options.getToken !== undefined) this.#getToken = options.getToken;
    if (options.fetch !== undefined) this.#fetch = options.fetch;
    if (options.deviceId !== undefined) this.#deviceId = options.deviceId;
    this.#retries = options.retries ?? this.#retries;
    this.#retryDelay = options.retryDelay ?? this.#retryDelay;
    this.#maxRetryDelay = options.maxRetryDelay ?? this.#maxRetryDelay;
    this.#timeout = options.timeout ?? this.#timeout;
    this.#patience = options.patience ?? this.#patience;
    this.#pollInterval = options.pollInterval ?? this.#pollInterval;
    this.#warnOnClose = options.warnOnClose ?? this.#warnOnClose;
    this.#keepDays = options.keepDays ?? this.#keepDays;
    this.#keepWrites = options.keepWrites ?? this.#keepWrites;
    this.#keepBytes = options.keepBytes ?? this.#keepBytes;
    this.#wantsLive = options.live ?? this.#wantsLive;
    this.#user = options.user ?? this.#user;
    this.#onUnauthorized = options.onUnauthorized ?? this.#onUnauthorized;
    this.#forget();
    if (this.#live !== null && this.#live.scope !== this.#scope()) {
      void this.stop().then(() => this.start()); // another server, or another person
    } else if (options.token !== undefined || options.getToken !== undefined) {
      this.#live?.signedIn();
    }
    return this;
  }

  /** Use this bearer token from now on; null goes back to looking for one. @param {string | null} token */
  setToken(token) {
    return this.configure({ token });
  }

  get baseUrl() {
    return this.#baseUrl;
  }

  /* ----- live ---------------------------------------------------------------------- */

  /**
   * From now on keep a local copy fresh, and keep writes until the server has them.
   * @param {ServiceOptions} [options]
   * @returns {Promise<void>} once the writes of earlier visits are there; needs no network
   */
  async start(options) {
    if (options !== undefined) this.configure(options);
    if (this.#live === null) {
      const live = new Live(this.#scope(), this.#transport(), {
        retries: this.#retries,
        retryDelay: this.#retryDelay,
        maxRetryDelay: this.#maxRetryDelay,
        patience: this.#patience,
        pollInterval: this.#pollInterval,
        warnOnClose: this.#warnOnClose,
        keepDays: this.#keepDays,
        keepWrites: this.#keepWrites,
        keepBytes: this.#keepBytes,
      });
      this.#live = live;
      live.onChange((change) => callAll(this.#changeListeners, change));
      live.onStatus((status) => callAll(this.#statusListeners, status));
    }
    await this.#live.start();
  }

  /**
   * Go back to one request per call in this tab. Unsent writes stay in the outbox.
   * @param {{forget?: boolean}} [options] `forget`: also delete the local copy, when somebody
   *   signs out; the outbox is never deleted
   */
  async stop(options = {}) {
    const live = this.#live;
    this.#live = null;
    this.#forget();
    await live?.stop(options.forget ?? false);
  }

  /**
   * Call a listener when what the readers answer has changed; starts the feed.
   * @param {(change: Change) => void} listener
   * @returns {() => void} ends it
   */
  onChange(listener) {
    this.#changeListeners.add(listener);
    void this.start();
    return () => void this.#changeListeners.delete(listener);
  }

  /**
   * Call a listener when {@link status} has changed in more than the age.
   * @param {(status: Status) => void} listener
   * @returns {() => void} ends it
   */
  onStatus(listener) {
    this.#statusListeners.add(listener);
    return () => void this.#statusListeners.delete(listener);
  }

  /** @returns {Status} */
  status() {
    return this.#live?.status() ?? { ...NOT_STARTED };
  }

  /** @returns {Parked[]} the writes that the server refused, in the order they were made */
  parked() {
    return copy(this.#live?.parked() ?? []);
  }

  /** Send a refused write again as it is. @param {string} id @returns {Promise<Written>} */
  async retryParked(id) {
    return this.#started().unpark(id);
  }

  /**
   * Send a refused write with another body, in its old place.
   * @param {string} id
   * @param {JsonObject} body
   * @returns {Promise<Written>}
   */
  async editParked(id, body) {
    return this.#started().unpark(id, JSON.stringify(body));
  }

  /** Let go of a refused write. @param {string} id */
  async discardParked(id) {
    await this.#started().discard(id);
  }

  /**
   * The writes that another store acknowledged, which stood at this address before. Whether this
   * one should have them people decide: it may have been filled from a backup that has them.
   * @returns {Promise<Parked[]>}
   */
  async setAside() {
    return copy(await this.#started().setAside());
  }

  /** Send them to this store. @param {string[]} [ids] all where left out */
  async sendSetAside(ids) {
    await this.#started().resolveSetAside(ids, true);
  }

  /** Let go of them. @param {string[]} [ids] all where left out */
  async discardSetAside(ids) {
    await this.#started().resolveSetAside(ids, false);
  }

  /** @returns {Live} */
  #started() {
    if (this.#live !== null) return this.#live;
    throw new ExpressoPersistError('Call start() first.', { code: 'not_started' });
  }

  #scope() {
    const origin = globalThis.location?.origin ?? '';
    const server = this.#baseUrl.startsWith('/') ? origin + this.#baseUrl : this.#baseUrl || origin;
    return `${server} ${this.#user}`;
  }

  /** @returns {Transport} */
  #transport() {
    return {
      read: (path, etag, signal, timeout) =>
        this.#request('GET', path, { etag, signal, timeout, retries: 0 }),
      send: ({ path, body, key, ifMatch, cursor, lost }, since) =>
        this.#request('POST', path, {
          body: path === ADJUST ? JSON.stringify(adjustment(JSON.parse(body))) : body,
          idempotencyKey: key,
          ifMatch: ifMatch ?? undefined,
          since,
          acknowledged: cursor ?? null,
          lost: lost ?? null,
          retries: 0,
        }),
      stream: (path, signal) => this.#stream(path, signal),
    };
  }

  /* ----- reading ------------------------------------------------------------------- */

  /**
   * Start, and read everything once: from the server, or without one from the local copy.
   * @param {ServiceOptions} [options]
   * @returns {Promise<JsonObject>} the same as {@link getAll}
   */
  async initialize(options) {
    if (options !== undefined) this.configure(options);
    if (this.#wantsLive) await this.start();
    return this.getAll();
  }

  /** Forget what was read and read it again. @returns {Promise<JsonObject>} */
  async refresh() {
    this.#forget();
    await this.#live?.refresh();
    return this.getAll();
  }

  /** @returns {Promise<JsonObject>} all inventory documents, station stock and settings */
  async getAll() {
    return copy(await this.#read(GET_ALL));
  }

  /** @returns {Promise<any>} what the event offers, in the layout it was stored in */
  async getEventInventory() {
    return this.#inventoryDocument('event_inventory');
  }

  /** @returns {Promise<any>} the stock of the whole event */
  async getEventStockLevels() {
    return this.#inventoryDocument('event_stock_levels');
  }

  /** @returns {Promise<any>} which item each station offers */
  async getStationInventoryConfigs() {
    return this.#inventoryDocument('station_inventory_configs');
  }

  /** @returns {Promise<any>} what was allotted to each station */
  async getStationInventoryQuantities() {
    return this.#inventoryDocument('station_inventory_quantities');
  }

  /**
   * What is really left at a station, or at every station.
   * @param {string | number} [stationId]
   * @returns {Promise<any>} a station without stock answers an empty object
   */
  async getStationStock(stationId) {
    const stock = own(await this.#read(GET_ALL), 'station_stock') ?? {};
    return copy(stationId === undefined ? stock : own(stock, String(stationId)) ?? {});
  }

  /** @returns {Promise<JsonObject>} every setting by its key */
  async getSettings() {
    return copy(own(await this.#read(GET_ALL), 'settings') ?? {});
  }

  /**
   * Everything that is stored, as localStorage had it.
   * @param {{deviceId?: string | null}} [options]
   * @returns {Promise<{localStorage: {[key: string]: string}, quarantined: string[], epoch?: string, revision?: number}>}
   */
  async getDocuments(options = {}) {
    return copy(await this.#documents(options.deviceId));
  }

  /** @param {string} key @returns {Promise<string | null>} the same as `localStorage.getItem(key)` was */
  async getRaw(key) {
    const raw = own((await this.#documents()).localStorage, key);
    return typeof raw === 'string' ? raw : null;
  }

  /**
   * @param {string} key
   * @returns {Promise<any>} the parsed value, the text itself where it is not JSON, null where there is none
   */
  async getDocument(key) {
    const raw = await this.getRaw(key);
    if (raw === null) return null;
    try {
      return JSON.parse(raw);
    } catch {
      return raw; // a plain text value, such as the name of a barista
    }
  }

  /** @returns {Promise<any>} counts of everything stored */
  async getStats() {
    return copy(await this.#read('/api/inventory/stats'));
  }

  /** @returns {Promise<any>} whether backups run, how many there are, the newest one, warnings */
  async getBackupStatus() {
    return copy(await this.#read('/api/migration/backup-status'));
  }

  /** @returns {Promise<{migrated: boolean, revision: number | null, stats: any, backup: any}>} */
  async getMigrationStatus() {
    const [stats, backup] = await Promise.all([this.getStats(), this.getBackupStatus()]);
    const revision = typeof stats.revision === 'number' ? stats.revision : null;
    return { migrated: (revision ?? 0) > 0, revision, stats, backup };
  }

  /* ----- writing ------------------------------------------------------------------- */

  /**
   * @param {string} category
   * @param {Item} item
   * @param {boolean | JsonObject} enabled `true`/`false`, or the members to change
   * @param {WriteOptions} [options]
   */
  async updateEventInventory(category, item, enabled, options) {
    const members = isObject(enabled) ? enabled : { enabled };
    const body = { ...members, category, ...itemReference(item) };
    return this.#write('/api/inventory/event-inventory/update', body, options);
  }

  /**
   * Change what `stock` names and nothing else.
   * @param {Item} item
   * @param {number | JsonObject} stock the new total, or any of `total`, `allocated`, `available`, `unit`, … in either spelling
   * @param {string | null} [category]
   * @param {WriteOptions} [options]
   */
  async updateEventStock(item, stock, category, options) {
    const members = isObject(stock) ? stock : { total_quantity: stock };
    const body = { ...members, ...itemReference(item), ...(category == null ? {} : { category }) };
    return this.#write('/api/inventory/event-stock/update', body, options);
  }

  /**
   * @param {string | number} stationId
   * @param {JsonObject} config
   * @param {WriteOptions} [options]
   */
  async updateStationConfig(stationId, config, options) {
    const body = { station_id: stationId, config_data: config };
    return this.#write('/api/inventory/station-config/update', body, options);
  }

  /**
   * @param {string | number} stationId
   * @param {Item} item
   * @param {number} quantity
   * @param {string | null} [category]
   * @param {WriteOptions} [options]
   */
  async updateStationQuantity(stationId, item, quantity, category, options) {
    const body = {
      station_id: stationId,
      ...itemReference(item),
      ...(category == null ? {} : { category }),
      quantity,
    };
    return this.#write('/api/inventory/station-quantity/update', body, options);
  }

  /** @param {string} key @param {Json} value @param {WriteOptions} [options] */
  async updateSetting(key, value, options) {
    return this.#write('/api/inventory/settings/update', { key, value }, options);
  }

  /**
   * Add `delta` to a stock in the database, so that many stations can count at once: that of a
   * station, or without `stationId` the event's.
   * @param {{stationId?: string | number | null, category: string, item: Item, delta: number, floor?: number, note?: string}} adjusted
   * @param {WriteOptions} [options]
   */
  async adjust({ stationId, item, ...rest }, options) {
    const station = stationId == null ? {} : { station_id: String(stationId) };
    return this.#write(ADJUST, { ...rest, item: itemText(item), ...station }, options);
  }

  /**
   * Set a stock to what somebody counted; the answer tells the difference found.
   * @param {{stationId?: string | number | null, category: string, item: Item, quantity: number, note?: string}} counted
   * @param {WriteOptions} [options]
   */
  async count(counted, options) {
    const { stationId, item, ...rest } = counted;
    const body = { ...rest, item: itemText(item), station_id: placeText(stationId) };
    return this.#write('/api/inventory/count', body, options);
  }

  /**
   * Carry stock from one place to another, as one commit. A place that is left out is the
   * event's stock.
   * @param {{fromStation?: string | number | null, toStation?: string | number | null, category: string, item: Item, quantity: number, note?: string}} transfer
   * @param {WriteOptions} [options]
   */
  async transfer(transfer, options) {
    const { fromStation, toStation, item, ...rest } = transfer;
    const body = {
      ...rest,
      item: itemText(item),
      from_station: placeText(fromStation),
      to_station: placeText(toStation),
    };
    return this.#write('/api/inventory/transfer', body, options);
  }

  /**
   * Take off a stock what is gone, and say why.
   * @param {{stationId?: string | number | null, category: string, item: Item, quantity: number, reason: string, note?: string}} wasted
   * @param {WriteOptions} [options]
   */
  async waste(wasted, options) {
    const { stationId, item, ...rest } = wasted;
    const body = { ...rest, item: itemText(item), station_id: placeText(stationId) };
    return this.#write('/api/inventory/waste', body, options);
  }

  /**
   * Several updates as one commit: all or none.
   * @param {{type: string, data: JsonObject}[]} updates
   * @param {WriteOptions} [options]
   */
  async batchUpdate(updates, options) {
    return this.#write('/api/inventory/batch-update', { updates }, options);
  }

  /**
   * Import a localStorage dump, or with `dryRun` only tell what that would do.
   * Take secrets out first (see `secrets.js`); the server refuses them in any case.
   * @param {object} dump `{"localStorage": {key: raw string}, "origin", "device_id"}`
   * @param {MigrationOptions & WriteOptions} [options]
   * @returns {Promise<any>} the receipt
   */
  async migrateLocalStorage(dump, options = {}) {
    const query = new URLSearchParams({
      dry_run: String(options.dryRun ?? false),
      mode: options.mode ?? 'merge',
      on_conflict: options.onConflict ?? 'incoming',
    });
    if (options.includeCaches) query.set('include', 'caches');
    const written = await this.#writeNow(`/api/migration/export-localStorage?${query}`, dump, {
      ...options,
      timeout: options.timeout ?? Math.max(this.#timeout, 180_000),
    });
    return written.data;
  }

  /** @param {string} [notes] @param {WriteOptions} [options] @returns {Promise<any>} the backup */
  async createBackup(notes, options) {
    const written = await this.#writeNow('/api/migration/create-backup', notes ? { notes } : {}, {
      ...options,
      timeout: options?.timeout ?? Math.max(this.#timeout, 180_000),
    });
    return written.data;
  }

  /**
   * Exchange the one-time token of a printed link for a session token, and use that.
   * @param {string} oneTimeToken
   * @returns {Promise<{token: string, expires_at: string, permissions: string[]}>}
   */
  async openSession(oneTimeToken) {
    // Not repeated: the first answer may be lost, and the second would say "already used".
    const envelope = await this.#request('POST', '/api/migration/session', {
      body: JSON.stringify({ one_time_token: oneTimeToken }),
      anonymous: true,
      retries: 0,
    });
    this.setToken(envelope.data.token);
    return envelope.data;
  }

  /* ----- names of older clients ---------------------------------------------------- */

  async getInventory() {
    return this.getEventInventory();
  }
  async getEventStock() {
    return this.getEventStockLevels();
  }
  async getStockLevels() {
    return this.getEventStockLevels();
  }
  async getStationConfigs() {
    return this.getStationInventoryConfigs();
  }
  async getStationConfigurations() {
    return this.getStationInventoryConfigs();
  }
  async getStationQuantities() {
    return this.getStationInventoryQuantities();
  }
  /** @param {Json} inventory the whole document */
  async saveEventInventory(inventory) {
    return this.#saveDocument('event_inventory', inventory);
  }
  /** @param {Json} levels the whole document */
  async saveStockLevels(levels) {
    return this.#saveDocument('event_stock_levels', levels);
  }
  /** @param {Json} configs the whole document */
  async saveStationConfigs(configs) {
    return this.#saveDocument('station_inventory_configs', configs);
  }
  /** @param {Json} quantities the whole document */
  async saveStationQuantities(quantities) {
    return this.#saveDocument('station_inventory_quantities', quantities);
  }

  /* ----- names of the service that this one replaces -------------------------------- */
  // They answer true or false as they did there; why it is false is in the console, and a
  // refused write is in parked(). New code uses the methods above, which throw.

  /**
   * @param {string} category
   * @param {string} itemName
   * @param {boolean} enabled
   * @returns {Promise<boolean>}
   */
  async updateEventInventoryItem(category, itemName, enabled) {
    return this.#succeeds(() => this.updateEventInventory(category, itemName, enabled));
  }

  /**
   * @param {string} itemName
   * @param {JsonObject} stockData in either spelling; what it does not name stays
   * @returns {Promise<boolean>}
   */
  async updateEventStockLevel(itemName, stockData) {
    return this.#succeeds(() => this.updateEventStock(itemName, stockData));
  }

  /** @param {string | number} stationId @param {JsonObject} config @returns {Promise<boolean>} */
  async updateStationInventoryConfig(stationId, config) {
    return this.#succeeds(() => this.updateStationConfig(stationId, config));
  }

  /**
   * @param {string | number} stationId
   * @param {string} itemName
   * @param {number} quantity
   * @returns {Promise<boolean>}
   */
  async updateStationInventoryQuantity(stationId, itemName, quantity) {
    return this.#succeeds(() => this.updateStationQuantity(stationId, itemName, quantity));
  }

  async getInventoryData() {
    return this.getEventInventory();
  }
  async getStockData() {
    return this.getEventStockLevels();
  }

  /** @returns {Promise<JsonObject | null>} all documents and `lastUpdate`; null where it failed */
  async loadFromDatabase() {
    /** @type {JsonObject | null} */
    let loaded = null;
    await this.#succeeds(async () => {
      loaded = { ...(await this.refresh()), lastUpdate: Date.now() };
    });
    return loaded;
  }

  /** @returns {boolean} whether what was read is fresh: at most five minutes old, or kept fresh */
  isCacheValid() {
    if (this.#live !== null) return this.#live.isFresh();
    return this.#loadedAt !== null && Math.abs(Date.now() - this.#loadedAt) < FRESH;
  }

  /** @returns {boolean} whether localStorage still holds inventory documents */
  checkForLocalStorageData() {
    return INVENTORY_KEYS.some((key) => held(key) !== null);
  }

  /**
   * Import the inventory documents and the settings that localStorage holds. What the server
   * then reads back as it was is removed from localStorage; anything else stays there.
   * @returns {Promise<boolean>} whether all of it is stored
   */
  async migrateLocalStorageData() {
    return this.#succeeds(async () => {
      const raw = await this.#withoutSecrets([...INVENTORY_KEYS, ...SETTING_KEYS]);
      if (raw.size === 0) return;
      await this.migrateLocalStorage({ localStorage: Object.fromEntries(raw) });
      this.#forget();
      const differing = [];
      for (const [key, text] of raw) {
        const same = sameText(await this.getRaw(key), text);
        if (!same) differing.push(key);
        else if (held(key) === text) localStorage.removeItem(key);
      }
      if (differing.length > 0) {
        throw new ExpressoPersistError(
          `The database holds more, or other values, than localStorage in ${differing.join(', ')}; ` +
            'they stay in this browser. Compare them on the migration page.',
          { code: 'not_exact' },
        );
      }
      localStorage.setItem('migration_completed', 'true');
      localStorage.setItem('migration_date', new Date().toISOString());
    });
  }

  /**
   * What may be sent of some keys of localStorage. In a copy of this file without `secrets.js`
   * beside it, only what holds no secrets by its nature.
   * @param {string[]} keys
   * @returns {Promise<Map<string, string>>}
   */
  async #withoutSecrets(keys) {
    const known = await import(/* webpackIgnore: true */ /* @vite-ignore */ BESIDE).catch(() => null);
    const taken = known === null ? INVENTORY_KEYS : keys;
    const raw = new Map(taken.flatMap((key) => (held(key) === null ? [] : [[key, held(key) ?? '']])));
    return known === null ? raw : known.withholdSecrets(raw).entries;
  }

  /** @param {() => Promise<unknown>} work @returns {Promise<boolean>} */
  async #succeeds(work) {
    try {
      await work();
      return true;
    } catch (error) {
      if (!(error instanceof ExpressoPersistError)) throw error;
      console.error(error.message, error);
      return false;
    }
  }

  /* ----- one way in, one way out --------------------------------------------------- */

  /** @param {string} key */
  async #inventoryDocument(key) {
    const document = own(await this.#read(GET_ALL), key);
    if (document !== undefined) return copy(document);
    // A document that fits no layout has no rows: it is kept whole, among the documents.
    return (await this.getRaw(key)) === null ? {} : this.getDocument(key);
  }

  /** @param {string | null} [deviceId] @returns {Promise<any>} */
  async #documents(deviceId) {
    const device = deviceId ?? this.#deviceId ?? stored('localStorage', DEVICE_KEY);
    const path =
      '/api/migration/documents' + (device ? `?device_id=${encodeURIComponent(device)}` : '');
    const live = this.#live;
    if (live === null) return this.#read(path);
    return withUnsent(await this.#liveDocuments(live, path), live.peek());
  }

  /** @param {Live} live @param {string} path @returns {Promise<any>} */
  async #liveDocuments(live, path) {
    await live.start();
    const known = this.#answers.get(path);
    const now = live.peek();
    const current =
      now?.caughtUp === true && known?.data.epoch === now.epoch && known.data.revision >= now.revision;
    if (known !== undefined && current) return known.data;
    try {
      const documents = await this.#read(path);
      live.keepAnswer(path, documents);
      return documents;
    } catch (error) {
      const kept = isLost(error) ? known?.data ?? (await live.keptAnswer(path)) : null;
      if (kept === null) throw error;
      return kept; // without a network, what was last read
    }
  }

  /**
   * Store a whole document. What is stored and the new document lacks is never removed
   * silently: such a save is refused before anything is written.
   * @param {string} key
   * @param {Json} value
   * @returns {Promise<any>} the receipt
   */
  async #saveDocument(key, value) {
    const dump = { localStorage: { [key]: JSON.stringify(value) } };
    this.#requireExact(key, await this.migrateLocalStorage(dump, { dryRun: true }));
    const receipt = await this.migrateLocalStorage(dump);
    this.#requireExact(key, receipt); // another writer may have come in between
    return receipt;
  }

  /** @param {string} key @param {any} receipt */
  #requireExact(key, receipt) {
    const entry = receipt.keys.find((/** @type {any} */ line) => line.key === key);
    if (entry?.exact === true) return;
    throw new ExpressoPersistError(
      `${key} was not saved as given: ` +
        (entry?.reason ?? 'the server did not take it.') +
        ' The database holds records that this document lacks, and saving does not remove them.',
      { code: 'not_exact', data: receipt },
    );
  }

  /**
   * The only way in. The server is always asked, but an unchanged answer is not sent again;
   * callers that ask at the same time share one request.
   * @param {string} path
   * @returns {Promise<any>} shared: copy it before you hand it out
   */
  async #read(path) {
    if (path === GET_ALL && this.#live !== null) return this.#live.data();
    const token = await this.#currentToken();
    const underway = this.#reading.get(path);
    if (underway !== undefined && underway.token === token) return underway.answer;
    const answer = this.#ask(path, token).finally(() => {
      if (this.#reading.get(path)?.answer === answer) this.#reading.delete(path);
    });
    this.#reading.set(path, { token, answer });
    return answer;
  }

  /** @param {string} path @param {string | null} token @returns {Promise<any>} */
  async #ask(path, token) {
    const known = this.#answers.get(path);
    const etag = known !== undefined && known.token === token ? known.etag : null;
    const answers = this.#answers;
    const envelope = await this.#request('GET', path, { etag });
    if (path === GET_ALL) this.#loadedAt = Date.now();
    if (envelope.unchanged === true && known !== undefined) return known.data;
    answers.set(path, { token, etag: envelope.etag, data: envelope.data ?? null });
    return envelope.data ?? null;
  }

  /**
   * The only way out: through the outbox, if there is one.
   * @param {string} path
   * @param {object} body
   * @param {WriteOptions} [options]
   * @returns {Promise<Written>}
   */
  async #write(path, body, options = {}) {
    // A function cannot be kept over a reload, so a request with its own `fetch` goes at once.
    if (this.#live === null || options.fetch !== undefined) {
      return this.#writeNow(path, body, options);
    }
    return this.#live.write(path, JSON.stringify(body), options);
  }

  /**
   * @param {string} path
   * @param {object} body
   * @param {WriteOptions} [options]
   * @returns {Promise<Written>}
   */
  async #writeNow(path, body, options = {}) {
    try {
      const envelope = await this.#request('POST', path, {
        body: JSON.stringify(body),
        idempotencyKey: options.idempotencyKey ?? randomKey(),
        ifMatch: options.ifMatch,
        timeout: options.timeout,
        fetch: options.fetch,
      });
      return {
        revision: envelope.revision,
        message: envelope.message ?? '',
        data: envelope.data ?? null,
      };
    } finally {
      this.#reading.clear(); // a read that began before this write must not answer after it
    }
  }

  /**
   * Send, and send again with the same key when the way to the server failed.
   * @param {'GET' | 'POST'} method
   * @param {string} path
   * @param {{anonymous?: boolean, body?: string, etag?: string | null, idempotencyKey?: string, ifMatch?: number, since?: string | null, acknowledged?: string | null, lost?: string | null, signal?: AbortSignal, timeout?: number, retries?: number, fetch?: Fetch}} parts
   * @returns {Promise<any>} the envelope, with `etag` or `unchanged` added
   */
  async #request(method, path, parts) {
    /** @type {{[name: string]: string}} */
    const headers = { Accept: 'application/json' };
    if (parts.body !== undefined) headers['Content-Type'] = 'application/json';
    const token = parts.anonymous ? null : await this.#currentToken();
    if (token) headers.Authorization = `Bearer ${token}`;
    if (parts.etag) headers['If-None-Match'] = parts.etag;
    if (parts.idempotencyKey) headers['Idempotency-Key'] = parts.idempotencyKey;
    if (parts.ifMatch !== undefined) headers['If-Match'] = `"${parts.ifMatch}"`;
    if (parts.since) headers['Expresso-Since'] = parts.since;
    if (parts.acknowledged) headers['Expresso-Acknowledged'] = parts.acknowledged;
    if (parts.acknowledged && parts.lost) headers['Expresso-Lost'] = parts.lost;
    // no-store: this module keeps the answers itself, and must see the 304.
    /** @type {RequestInit} */
    const init = { method, headers, cache: 'no-store', credentials: 'same-origin' };
    if (parts.signal !== undefined) init.signal = parts.signal;
    if (parts.body !== undefined) init.body = parts.body;
    const send = parts.fetch ?? this.#fetch;
    const retries = parts.retries ?? this.#retries;
    let refreshed = parts.anonymous ?? false;
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.#attempt(send, this.#baseUrl + path, init, parts.timeout ?? this.#timeout);
      } catch (error) {
        if (!(error instanceof ExpressoPersistError)) throw error;
        if (error.status === 401 && !refreshed) {
          refreshed = true;
          const fresh = await this.#freshToken(token, error);
          if (fresh === null) throw error;
          headers.Authorization = `Bearer ${fresh}`;
          attempt -= 1;
          continue;
        }
        const lost = error.code === 'network' || error.code === 'timeout';
        const passes = lost || error.code === 'busy' || RETRIED_STATUSES.has(error.status);
        if (attempt >= retries || !passes) throw error;
        const backoff = this.#retryDelay * 2 ** attempt * (0.75 + Math.random() / 2);
        const wait = error.retryAfter === null ? backoff : error.retryAfter * 1000;
        if (wait > this.#maxRetryDelay) throw error; // its retryAfter tells the caller when
        await sleep(wait);
      }
    }
  }

  /**
   * @param {Fetch} send
   * @param {string} url
   * @param {RequestInit} init
   * @param {number} timeout
   * @returns {Promise<any>}
   */
  async #attempt(send, url, init, timeout) {
    const abort = new AbortController();
    const end = () => abort.abort();
    const timer = setTimeout(end, timeout);
    init.signal?.addEventListener('abort', end);
    if (init.signal?.aborted) end();
    try {
      const response = await send(url, { ...init, signal: abort.signal });
      if (response.status === 304) return { unchanged: true };
      const envelope = await envelopeOf(response);
      envelope.etag = response.headers.get('ETag');
      return envelope;
    } catch (cause) {
      if (cause instanceof ExpressoPersistError) throw cause;
      throw abort.signal.aborted
        ? new ExpressoPersistError('The server did not answer in time.', { code: 'timeout', cause })
        : new ExpressoPersistError(
            'The server cannot be reached. Check that it runs and that this device is online.',
            { code: 'network', cause },
          );
    } finally {
      clearTimeout(timer);
      init.signal?.removeEventListener('abort', end);
    }
  }

  /**
   * Open the feed.
   * @param {string} path
   * @param {AbortSignal} signal
   * @returns {Promise<Response>}
   */
  async #stream(path, signal) {
    for (let refreshed = false; ; refreshed = true) {
      const token = await this.#currentToken();
      /** @type {{[name: string]: string}} */
      const headers = { Accept: 'text/event-stream' };
      if (token) headers.Authorization = `Bearer ${token}`;
      const send = this.#fetch;
      const response = await send(this.#baseUrl + path, {
        headers,
        signal,
        cache: 'no-store',
        credentials: 'same-origin',
      });
      const type = response.headers.get('Content-Type') ?? '';
      if (response.ok && /^text\/event-stream\b/i.test(type)) return response;
      try {
        await envelopeOf(response);
      } catch (error) {
        const refused = error instanceof ExpressoPersistError && error.status === 401;
        if (!refused || refreshed) throw error;
        if ((await this.#freshToken(token, error)) === null) throw error;
        continue;
      }
      throw new ExpressoPersistError('The server has no stream.', { code: 'no_stream' });
    }
  }

  /**
   * Another token in place of a refused one, asked for once however many requests need it.
   * @param {string | null} refused
   * @param {ExpressoPersistError} error
   * @returns {Promise<string | null>} null when there is none
   */
  async #freshToken(refused, error) {
    const hook = this.#onUnauthorized;
    if (hook === null) return null;
    const current = await this.#currentToken();
    if (current !== null && current !== refused) return current; // renewed meanwhile
    this.#refreshing ??= (async () => {
      const given = (await hook(error)) ?? null;
      if (given !== null && this.#getToken === null) this.#token = given;
      return given ?? this.#currentToken();
    })().finally(() => {
      this.#refreshing = null;
    });
    const fresh = await this.#refreshing;
    return fresh === refused ? null : fresh;
  }

  /** @returns {Promise<string | null>} */
  async #currentToken() {
    if (this.#token !== null) return this.#token;
    if (this.#getToken !== null) return (await this.#getToken()) ?? null;
    return stored('sessionStorage', TOKEN_KEY) ?? stored('localStorage', LEGACY_TOKEN_KEY);
  }

  #forget() {
    this.#answers = new Map();
    this.#reading = new Map();
  }
}
