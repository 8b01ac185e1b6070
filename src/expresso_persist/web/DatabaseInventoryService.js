/**
 * DatabaseInventoryService: the browser's door to an Expresso server that keeps its
 * inventory in a database. One ES module, no dependencies.
 *
 *     import inventory from '/static/expresso-persist/DatabaseInventoryService.js';
 *     const milks = (await inventory.getEventInventory()).milk;
 *
 * Reads come back exactly as the browser had stored them: for every key,
 * `JSON.stringify(await service.getDocument(key))` equals
 * `JSON.stringify(JSON.parse(localStorage.getItem(key)))`. A failure is always thrown as an
 * {@link ExpressoPersistError}; nothing answers with an empty object instead.
 *
 * Every read goes through `#read()` and every write through `#write()`.
 */

/** @typedef {{[member: string]: any}} JsonObject */
/** @typedef {null | boolean | number | string | any[] | JsonObject} Json */
/** @typedef {{path: string, message: string}} Problem one fault inside a request */
/** @typedef {string | {item_id: string} | {item_name: string} | {id: string}} Item a name, or an id in an object */
/** @typedef {{revision: number, message: string, data: any}} Written what a write answers */
/** @typedef {(url: string, init: RequestInit) => Promise<Response>} Fetch */
/** @typedef {() => string | null | undefined | Promise<string | null | undefined>} GetToken */

/**
 * @typedef {object} ServiceOptions
 * @property {string} [baseUrl] Address in front of `/api/…`; found from the module's own address.
 * @property {string | null} [token] Bearer token, instead of looking for one.
 * @property {GetToken} [getToken] Asked for a token before each request.
 * @property {Fetch} [fetch] Used instead of the browser's `fetch`.
 * @property {string | null} [deviceId] Whose device preferences `getDocuments()` includes.
 * @property {number} [retries] How often a request is repeated after a lost connection. Default 3.
 * @property {number} [retryDelay] Milliseconds before the first repetition, then doubled. Default 400.
 * @property {number} [maxRetryDelay] Longest wait in milliseconds; a longer `Retry-After` is thrown. Default 10000.
 * @property {number} [timeout] Milliseconds to wait for one answer. Default 30000.
 */

/**
 * @typedef {object} WriteOptions
 * @property {string} [idempotencyKey] Name of this request; the same name is never applied twice.
 * @property {number} [ifMatch] Refuse unless the record still has this revision.
 * @property {number} [timeout]
 * @property {Fetch} [fetch] Used for this request only.
 */

/**
 * @typedef {object} MigrationOptions
 * @property {boolean} [dryRun] Only tell what would happen.
 * @property {'merge' | 'replace'} [mode]
 * @property {'incoming' | 'existing' | 'fail'} [onConflict]
 * @property {boolean} [includeCaches] Take caches and transient keys too.
 */

const TOKEN_KEY = 'expresso_persist_token';
const LEGACY_TOKEN_KEY = 'coffee_system_token';
const DEVICE_KEY = 'expresso_persist_device_id';
const STATIC_PATH = '/static/expresso-persist/';
const RETRIED_STATUSES = new Set([502, 503, 504]);
const GET_ALL = '/api/inventory/get-all';

/** What the server, or the way to it, refused; `message` is a sentence for people. */
export class ExpressoPersistError extends Error {
  /**
   * @param {string} message
   * @param {object} [facts]
   * @param {number} [facts.status] HTTP status; 0 when no answer arrived.
   * @param {string} [facts.code] Stable name of the problem, such as `unauthorized` or `network`.
   * @param {Problem[]} [facts.details]
   * @param {number | null} [facts.retryAfter] Seconds after which trying again may help.
   * @param {any} [facts.data] What the server added, such as the current value.
   * @param {unknown} [facts.cause]
   */
  constructor(message, facts = {}) {
    super(message);
    this.name = 'ExpressoPersistError';
    this.status = facts.status ?? 0;
    this.code = facts.code ?? 'error';
    this.details = facts.details ?? [];
    this.retryAfter = facts.retryAfter ?? null;
    this.data = facts.data ?? null;
    /** @type {unknown} */
    this.cause = facts.cause;
  }
}

/**
 * A fresh copy, so that a caller who changes an answer does not change the next one.
 * Through JSON, because that keeps a member called `__proto__` plain data.
 * @param {any} value
 * @returns {any}
 */
const copy = (value) => JSON.parse(JSON.stringify(value));

/**
 * @param {any} object
 * @param {string} member
 * @returns {any} the object's own member, or undefined
 */
const own = (object, member) =>
  object !== null && typeof object === 'object' && Object.prototype.hasOwnProperty.call(object, member)
    ? object[member]
    : undefined;

/** @param {unknown} value @returns {value is JsonObject} */
const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

/** @param {number} milliseconds @returns {Promise<void>} */
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** @returns {string} a new random name; also where `randomUUID` is missing (plain http on a LAN) */
function randomKey() {
  if (typeof globalThis.crypto.randomUUID === 'function') return globalThis.crypto.randomUUID();
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

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

/** @param {string | null} header @returns {number | null} seconds */
function retryAfterOf(header) {
  if (header === null) return null;
  const seconds = /^\d+$/.test(header.trim())
    ? Number(header)
    : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : null;
}

/**
 * Turn a response into its envelope, or throw what it says.
 * @param {Response} response
 * @returns {Promise<any>}
 */
async function envelopeOf(response) {
  const retryAfter = retryAfterOf(response.headers.get('Retry-After'));
  const isJson = /\bjson\b/i.test(response.headers.get('Content-Type') ?? '');
  /** @type {any} */
  let envelope;
  if (isJson) {
    const text = await response.text();
    try {
      envelope = JSON.parse(text);
    } catch (cause) {
      // Half an answer is a lost connection: the caller may repeat the request.
      throw new ExpressoPersistError('The answer of the server arrived incomplete.', {
        code: 'network',
        cause,
      });
    }
  }
  if (response.ok && isObject(envelope) && envelope.success === true) return envelope;
  if (isObject(envelope) && typeof envelope.error === 'string') {
    throw new ExpressoPersistError(envelope.error, {
      status: response.status,
      code: typeof envelope.code === 'string' ? envelope.code : `http_${response.status}`,
      details: Array.isArray(envelope.details) ? /** @type {any} */ (envelope.details) : [],
      retryAfter,
      data: envelope.data ?? null,
    });
  }
  if (response.ok) {
    throw new ExpressoPersistError(
      'Something other than the Expresso server answered, such as the sign-in page of this ' +
        'network. Sign in to the network or check the address, then try again.',
      { status: response.status, code: 'not_an_answer' },
    );
  }
  throw new ExpressoPersistError(
    response.status === 404
      ? 'There is no Expresso server at this address (404). Check the base URL.'
      : `The server could not answer (${response.status}). Try again in a moment.`,
    { status: response.status, code: `http_${response.status}`, retryAfter },
  );
}

/** The inventory of an event, its stations, settings and documents, kept in a database. */
export class DatabaseInventoryService {
  /** @type {string} */ #baseUrl = baseUrlOf(import.meta.url);
  /** @type {string | null} */ #token = null;
  /** @type {GetToken | null} */ #getToken = null;
  /** @type {Fetch} */ #fetch = (url, init) => globalThis.fetch(url, init);
  /** @type {string | null} */ #deviceId = null;
  #retries = 3;
  #retryDelay = 400;
  #maxRetryDelay = 10_000;
  #timeout = 30_000;
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
    if (options.baseUrl !== undefined) this.#baseUrl = options.baseUrl.replace(/\/+$/, '');
    if (options.token !== undefined) this.#token = options.token;
    if (options.getToken !== undefined) this.#getToken = options.getToken;
    if (options.fetch !== undefined) this.#fetch = options.fetch;
    if (options.deviceId !== undefined) this.#deviceId = options.deviceId;
    this.#retries = options.retries ?? this.#retries;
    this.#retryDelay = options.retryDelay ?? this.#retryDelay;
    this.#maxRetryDelay = options.maxRetryDelay ?? this.#maxRetryDelay;
    this.#timeout = options.timeout ?? this.#timeout;
    this.#forget();
    return this;
  }

  /** Use this bearer token from now on; null goes back to looking for one. @param {string | null} token */
  setToken(token) {
    return this.configure({ token });
  }

  get baseUrl() {
    return this.#baseUrl;
  }

  /* ----- reading ------------------------------------------------------------------- */

  /**
   * Check that the server answers and read everything once.
   * @param {ServiceOptions} [options]
   * @returns {Promise<JsonObject>} the same as {@link getAll}
   */
  async initialize(options) {
    if (options !== undefined) this.configure(options);
    return this.getAll();
  }

  /** Forget what was read and read it again. @returns {Promise<JsonObject>} */
  async refresh() {
    this.#forget();
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
   * Add `delta` to a quantity in the database, so that many stations can count at once.
   * @param {{stationId?: string | number, itemName?: string, itemId?: string, category?: string, field?: string, delta: number, floor?: number}} adjustment
   * @param {WriteOptions} [options]
   */
  async adjust(adjustment, options) {
    const { stationId, itemName, itemId, ...rest } = adjustment;
    const body = {
      ...rest,
      ...(stationId === undefined ? {} : { station_id: stationId }),
      ...(itemName === undefined ? {} : { item_name: itemName }),
      ...(itemId === undefined ? {} : { item_id: itemId }),
    };
    return this.#write('/api/inventory/adjust', body, options);
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
    const written = await this.#write(`/api/migration/export-localStorage?${query}`, dump, {
      ...options,
      timeout: options.timeout ?? Math.max(this.#timeout, 180_000),
    });
    return written.data;
  }

  /** @param {string} [notes] @param {WriteOptions} [options] @returns {Promise<any>} the backup */
  async createBackup(notes, options) {
    const written = await this.#write('/api/migration/create-backup', notes ? { notes } : {}, {
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
      token: null,
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
    return this.#read(
      '/api/migration/documents' + (device ? `?device_id=${encodeURIComponent(device)}` : ''),
    );
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
    const envelope = await this.#request('GET', path, { token, etag });
    if (envelope.unchanged === true && known !== undefined) return known.data;
    answers.set(path, { token, etag: envelope.etag, data: envelope.data ?? null });
    return envelope.data ?? null;
  }

  /**
   * The only way out.
   * @param {string} path
   * @param {object} body
   * @param {WriteOptions} [options]
   * @returns {Promise<Written>}
   */
  async #write(path, body, options = {}) {
    try {
      const envelope = await this.#request('POST', path, {
        body: JSON.stringify(body),
        token: await this.#currentToken(),
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
   * @param {{token: string | null, body?: string, etag?: string | null, idempotencyKey?: string, ifMatch?: number, timeout?: number, retries?: number, fetch?: Fetch}} parts
   * @returns {Promise<any>} the envelope, with `etag` or `unchanged` added
   */
  async #request(method, path, parts) {
    /** @type {{[name: string]: string}} */
    const headers = { Accept: 'application/json' };
    if (parts.body !== undefined) headers['Content-Type'] = 'application/json';
    if (parts.token) headers.Authorization = `Bearer ${parts.token}`;
    if (parts.etag) headers['If-None-Match'] = parts.etag;
    if (parts.idempotencyKey) headers['Idempotency-Key'] = parts.idempotencyKey;
    if (parts.ifMatch !== undefined) headers['If-Match'] = `"${parts.ifMatch}"`;
    // no-store: this module keeps the answers itself, and must see the 304.
    /** @type {RequestInit} */
    const init = { method, headers, cache: 'no-store', credentials: 'same-origin' };
    if (parts.body !== undefined) init.body = parts.body;
    const send = parts.fetch ?? this.#fetch;
    const retries = parts.retries ?? this.#retries;
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.#attempt(send, this.#baseUrl + path, init, parts.timeout ?? this.#timeout);
      } catch (error) {
        if (!(error instanceof ExpressoPersistError)) throw error;
        const lost = error.code === 'network' || error.code === 'timeout';
        if (attempt >= retries || !(lost || RETRIED_STATUSES.has(error.status))) throw error;
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
    const timer = setTimeout(() => abort.abort(), timeout);
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
    }
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

/** A ready service for the server that this module came from. */
const databaseInventoryService = new DatabaseInventoryService();
export default databaseInventoryService;
