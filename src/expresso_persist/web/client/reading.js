/** What is stored. */

import { LiveControl } from './control.js';
import { GET_ALL } from './paths.js';
import { copy, own } from './values.js';
/** @import { Connection } from './connection.js' */
/** @import { JsonObject, ServiceOptions } from './types.js' */

/** Reads come back exactly as the browser had stored them. */
export class Reading extends LiveControl {
  /** @type {Connection} */ #connection;

  /** @param {Connection} connection */
  constructor(connection) {
    super(connection);
    this.#connection = connection;
  }

  /**
   * Start, and read everything once: from the server, or without one from the local copy.
   * @param {ServiceOptions} [options]
   * @returns {Promise<JsonObject>} the same as {@link getAll}
   */
  async initialize(options) {
    if (options !== undefined) this.configure(options);
    if (this.#connection.options.live) await this.start();
    return this.getAll();
  }

  /** Forget what was read and read it again. @returns {Promise<JsonObject>} */
  async refresh() {
    await this.#connection.refresh();
    return this.getAll();
  }

  /** @returns {Promise<JsonObject>} all inventory documents, station stock and settings */
  async getAll() {
    return copy(await this.#connection.read(GET_ALL));
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
    const stock = own(await this.#connection.read(GET_ALL), 'station_stock') ?? {};
    return copy(stationId === undefined ? stock : own(stock, String(stationId)) ?? {});
  }

  /** @returns {Promise<JsonObject>} every setting by its key */
  async getSettings() {
    return copy(own(await this.#connection.read(GET_ALL), 'settings') ?? {});
  }

  /**
   * Everything that is stored, as localStorage had it.
   * @param {{deviceId?: string | null}} [options]
   * @returns {Promise<{localStorage: {[key: string]: string}, quarantined: string[], epoch?: string, revision?: number}>}
   */
  async getDocuments(options = {}) {
    return copy(await this.#connection.documents(options.deviceId));
  }

  /** @param {string} key @returns {Promise<string | null>} the same as `localStorage.getItem(key)` was */
  async getRaw(key) {
    const raw = own((await this.#connection.documents()).localStorage, key);
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
    return copy(await this.#connection.read('/api/inventory/stats'));
  }

  /** @returns {Promise<any>} whether backups run, how many there are, the newest one, warnings */
  async getBackupStatus() {
    return copy(await this.#connection.read('/api/migration/backup-status'));
  }

  /** @returns {Promise<{migrated: boolean, revision: number | null, stats: any, backup: any}>} */
  async getMigrationStatus() {
    const [stats, backup] = await Promise.all([this.getStats(), this.getBackupStatus()]);
    const revision = typeof stats.revision === 'number' ? stats.revision : null;
    return { migrated: (revision ?? 0) > 0, revision, stats, backup };
  }

  /** @returns {boolean} whether what was read is fresh: at most five minutes old, or kept fresh */
  isCacheValid() {
    return this.#connection.isFresh();
  }

  /** @param {string} key */
  async #inventoryDocument(key) {
    const document = own(await this.#connection.read(GET_ALL), key);
    if (document !== undefined) return copy(document);
    // A document that fits no layout has no rows: it is kept whole, among the documents.
    return (await this.getRaw(key)) === null ? {} : this.getDocument(key);
  }
}
