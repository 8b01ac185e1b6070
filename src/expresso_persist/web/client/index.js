/**
 * DatabaseInventoryService: the browser's client of an Expresso server that keeps its
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
 * From `initialize()` (or `start()`) on, reads come from a local copy that the server's feed
 * keeps fresh, and writes go into an outbox that survives reloads and restarts. Before that,
 * each call is a request. It is made into one file, so that a bundler or a host can take a copy:
 *
 * - `service`: {@link DatabaseInventoryService}, what applications call;
 * - `live`: the local copy and the outbox, in one of the open tabs for all;
 * - `acknowledged`: the writes that the server took, for the day that it loses them;
 * - `storage`: what survives a reload;
 * - `projection`: what the feed and an unsent write do to the local copy.
 */

import { DatabaseInventoryService } from './service.js';

export { ExpressoPersistError } from './errors.js';
export { DatabaseInventoryService };

/** A ready service for the server that this module came from. */
const databaseInventoryService = new DatabaseInventoryService();
export default databaseInventoryService;
