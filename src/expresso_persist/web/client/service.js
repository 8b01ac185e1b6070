/** What applications call. */

import { Connection } from './connection.js';
import { ExpressoPersistError } from './errors.js';
import { held, sameText } from './page-storage.js';
import { Writing } from './writing.js';
/** @import { Json, JsonObject, ServiceOptions } from './types.js' */

// Not written into the import: a bundler of a copy without it would fail to find it.
const BESIDE = './secrets.js';
const INVENTORY_KEYS = [
  'event_inventory',
  'event_stock_levels',
  'station_inventory_configs',
  'station_inventory_quantities',
];
const SETTING_KEYS = ['branding_settings', 'sms_settings', 'system_settings'];

/** The inventory of an event, its stations, settings and documents, kept in a database. */
export class DatabaseInventoryService extends Writing {
  /** @type {Connection} */ #connection;

  /** @param {ServiceOptions} [options] */
  constructor(options = {}) {
    const connection = new Connection();
    connection.configure(options);
    super(connection);
    this.#connection = connection;
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

  /** @returns {boolean} whether localStorage still holds inventory documents */
  checkForLocalStorageData() {
    return INVENTORY_KEYS.some((key) => held(key) !== null);
  }

  /**
   * Import the inventory documents and the settings that localStorage holds. Values that the
   * database has already stay as they are there: localStorage is as old as the last migration.
   * What the server then reads back as it was is removed from localStorage; the rest stays.
   * @returns {Promise<boolean>} whether all of it is stored
   */
  async migrateLocalStorageData() {
    return this.#succeeds(async () => {
      const raw = await this.#withoutSecrets([...INVENTORY_KEYS, ...SETTING_KEYS]);
      if (raw.size === 0) return;
      await this.migrateLocalStorage({ localStorage: Object.fromEntries(raw) }, { onConflict: 'existing' });
      this.#connection.forget();
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
}
