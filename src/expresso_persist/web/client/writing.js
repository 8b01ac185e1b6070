/** What a station changes. */

import { ADJUST } from './paths.js';
import { Reading } from './reading.js';
import { isObject } from './values.js';
/** @import { Connection } from './connection.js' */
/** @import { Item, Json, JsonObject, MigrationOptions, WriteOptions } from './types.js' */

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

/** Each write answers what the server did, or throws why it did not. */
export class Writing extends Reading {
  /** @type {Connection} */ #connection;

  /** @param {Connection} connection */
  constructor(connection) {
    super(connection);
    this.#connection = connection;
  }

  /**
   * @param {string} category
   * @param {Item} item
   * @param {boolean | JsonObject} enabled `true`/`false`, or the members to change
   * @param {WriteOptions} [options]
   */
  async updateEventInventory(category, item, enabled, options) {
    const members = isObject(enabled) ? enabled : { enabled };
    const body = { ...members, category, ...itemReference(item) };
    return this.#connection.write('/api/inventory/event-inventory/update', body, options);
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
    return this.#connection.write('/api/inventory/event-stock/update', body, options);
  }

  /**
   * @param {string | number} stationId
   * @param {JsonObject} config
   * @param {WriteOptions} [options]
   */
  async updateStationConfig(stationId, config, options) {
    const body = { station_id: stationId, config_data: config };
    return this.#connection.write('/api/inventory/station-config/update', body, options);
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
    return this.#connection.write('/api/inventory/station-quantity/update', body, options);
  }

  /** @param {string} key @param {Json} value @param {WriteOptions} [options] */
  async updateSetting(key, value, options) {
    return this.#connection.write('/api/inventory/settings/update', { key, value }, options);
  }

  /**
   * Add `delta` to a stock in the database, so that many stations can count at once: that of a
   * station, or without `stationId` the event's.
   * @param {{stationId?: string | number | null, category: string, item: Item, delta: number, floor?: number, note?: string}} adjusted
   * @param {WriteOptions} [options]
   */
  async adjust({ stationId, item, ...rest }, options) {
    const station = stationId == null ? {} : { station_id: String(stationId) };
    return this.#connection.write(ADJUST, { ...rest, item: itemText(item), ...station }, options);
  }

  /**
   * Set a stock to what somebody counted; the answer has the difference found.
   * @param {{stationId?: string | number | null, category: string, item: Item, quantity: number, note?: string}} counted
   * @param {WriteOptions} [options]
   */
  async count(counted, options) {
    const { stationId, item, ...rest } = counted;
    const body = { ...rest, item: itemText(item), station_id: placeText(stationId) };
    return this.#connection.write('/api/inventory/count', body, options);
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
    return this.#connection.write('/api/inventory/transfer', body, options);
  }

  /**
   * Take off a stock what is gone, and say why.
   * @param {{stationId?: string | number | null, category: string, item: Item, quantity: number, reason: string, note?: string}} wasted
   * @param {WriteOptions} [options]
   */
  async waste(wasted, options) {
    const { stationId, item, ...rest } = wasted;
    const body = { ...rest, item: itemText(item), station_id: placeText(stationId) };
    return this.#connection.write('/api/inventory/waste', body, options);
  }

  /**
   * Several updates as one commit: all or none.
   * @param {{type: string, data: JsonObject}[]} updates
   * @param {WriteOptions} [options]
   */
  async batchUpdate(updates, options) {
    return this.#connection.write('/api/inventory/batch-update', { updates }, options);
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
    const written = await this.#connection.writeNow(`/api/migration/export-localStorage?${query}`, dump, {
      ...options,
      timeout: options.timeout ?? Math.max(this.#connection.options.timeout, 180_000),
    });
    return written.data;
  }

  /** @param {string} [notes] @param {WriteOptions} [options] @returns {Promise<any>} the backup */
  async createBackup(notes, options) {
    const written = await this.#connection.writeNow('/api/migration/create-backup', notes ? { notes } : {}, {
      ...options,
      timeout: options?.timeout ?? Math.max(this.#connection.options.timeout, 180_000),
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
    const envelope = await this.#connection.transport.request('POST', '/api/migration/session', {
      body: JSON.stringify({ one_time_token: oneTimeToken }),
      anonymous: true,
      retries: 0,
    });
    this.setToken(envelope.data.token);
    return envelope.data;
  }
}
