/**
 * Reads everything back and compares it with what the browser holds, value by value.
 * Nothing is believed because the server said so.
 */

/** @typedef {import('./DatabaseInventoryService.js').Json} Json */
/** @typedef {import('./DatabaseInventoryService.js').DatabaseInventoryService} Service */
/** @typedef {import('./preview.js').Receipt} Receipt */
/** @typedef {'equal' | 'merged' | 'kept' | 'different' | 'missing'} Outcome */

/**
 * @typedef {object} Comparison
 * @property {string} key
 * @property {Outcome} outcome
 * @property {string} how what was compared
 */

/** @type {{[key: string]: (service: Service) => Promise<Json>}} */
const INVENTORY = {
  event_inventory: (service) => service.getEventInventory(),
  event_stock_levels: (service) => service.getEventStockLevels(),
  station_inventory_configs: (service) => service.getStationInventoryConfigs(),
  station_inventory_quantities: (service) => service.getStationInventoryQuantities(),
};
/** Who is signed in to the app: cleared, they would have to sign in again. */
const LOGIN_KEYS = new Set(['coffee_system_user', 'user']);
const APART = 'it cannot be read: it is kept apart from the value that the database has';
const KEPT = 'the database has its own value, which stays as was chosen';
const MOST_ALIKE = 8; // items of one id that are compared with each other
const STATION_STOCK = /^coffee_stock_station_(.+)$/;

/**
 * @param {Service} service
 * @param {Map<string, string>} sent the raw strings as they were sent
 * @param {string[]} keys those the receipt calls stored, unchanged, kept or quarantined
 * @param {{kept: Set<string>, apart: Set<string>}} others keys of which the database's values stay
 *   where they differ, and keys that cannot be read and are kept beside those
 * @param {string} deviceId
 * @param {(done: number, total: number) => void} [onProgress]
 * @returns {Promise<Comparison[]>}
 */
export async function verify(service, sent, keys, { kept, apart }, deviceId, onProgress) {
  const { localStorage: stored } = await service.getDocuments({ deviceId });
  const all = await service.getAll();
  /** @type {Comparison[]} */
  const comparisons = [];
  for (const key of keys) {
    const raw = sent.get(key) ?? '';
    const back = Object.hasOwn(stored, key) ? stored[key] : undefined;
    const found = compare(await served(service, all, key), key, raw, back);
    const other = found.outcome === 'different' && back !== raw;
    const how = apart.has(key) ? APART : KEPT;
    const stays = other && (apart.has(key) || kept.has(key));
    comparisons.push(stays ? { key, outcome: 'kept', how } : found);
    onProgress?.(comparisons.length, keys.length);
  }
  return comparisons;
}

/**
 * What the browser may lose, because all of it is in rows of the database.
 *
 * @param {Comparison[]} comparisons
 * @param {Receipt} receipt
 * @param {Map<string, string>} read what the browser has
 * @param {Map<string, string>} sent it without secrets
 * @returns {Map<string, string>} verified raw strings by key
 */
export function clearable(comparisons, receipt, read, sent) {
  const whole = new Set(
    receipt.keys
      .filter((key) => key.class !== 'quarantined' && key.removed_secrets.length === 0)
      .map(({ key }) => key),
  );
  return new Map(
    comparisons
      .filter(({ outcome }) => outcome === 'equal' || outcome === 'kept')
      .filter(({ key }) => whole.has(key) && sent.get(key) === read.get(key))
      .filter(({ key }) => !LOGIN_KEYS.has(key))
      .map(({ key }) => [key, read.get(key) ?? '']),
  );
}

/**
 * @param {Json | undefined} value what the client serves
 * @param {string} key
 * @param {string} raw
 * @param {string | undefined} back
 * @returns {Comparison}
 */
function compare(value, key, raw, back) {
  if (back === undefined) return { key, outcome: 'missing', how: 'not among the documents' };
  if (back !== raw) {
    const outcome = containedText(raw, back) ? 'merged' : 'different';
    const how =
      outcome === 'merged'
        ? 'everything from here is there, with more from elsewhere'
        : 'the text differs';
    return { key, outcome, how };
  }
  if (value === undefined) return { key, outcome: 'equal', how: 'same text' };
  const same = JSON.stringify(value) === JSON.stringify(valueOf(raw));
  return {
    key,
    outcome: same ? 'equal' : 'different',
    how: same ? 'same text, same data through the client' : 'the data through the client differs',
  };
}

/**
 * What the app will get for this key, or undefined where it asks for the document itself.
 * @param {Service} service
 * @param {import('./DatabaseInventoryService.js').JsonObject} all
 * @param {string} key
 * @returns {Promise<Json | undefined>}
 */
async function served(service, all, key) {
  const read = Object.hasOwn(INVENTORY, key) ? INVENTORY[key] : undefined;
  if (read !== undefined) return read(service);
  const station = STATION_STOCK.exec(key)?.[1];
  if (station !== undefined) return own(all.station_stock, station);
  return own(all.settings, key);
}

/** @param {any} object @param {string} member @returns {Json | undefined} */
function own(object, member) {
  return object !== undefined && Object.hasOwn(object, member) ? object[member] : undefined;
}

/** @param {string} raw @param {string} back @returns {boolean} */
function containedText(raw, back) {
  return contained(valueOf(raw), valueOf(back));
}

/** @param {string} raw @returns {Json} the JSON value, or the text itself where it is not JSON */
function valueOf(raw) {
  try {
    return JSON.parse(raw);
  } catch {
    return raw;
  }
}

/**
 * Whether every value of `part` is also in `whole`, members by name, list items by equality
 * or by their id.
 * @param {Json} part
 * @param {Json} whole
 * @returns {boolean}
 */
export function contained(part, whole) {
  if (Array.isArray(part)) {
    return Array.isArray(whole) && containedItems(part, whole);
  }
  if (part !== null && typeof part === 'object') {
    if (whole === null || typeof whole !== 'object' || Array.isArray(whole)) return false;
    return Object.entries(part).every(
      ([name, member]) => Object.hasOwn(whole, name) && contained(member, whole[name] ?? null),
    );
  }
  return part === whole;
}

/**
 * Looked up and not searched for, item by item: long lists are compared in one go through each.
 * @param {Json[]} part @param {Json[]} whole @returns {boolean}
 */
function containedItems(part, whole) {
  /** @type {Map<string, Json[]>} */
  const byId = new Map();
  for (const other of whole) {
    const id = JSON.stringify(idOf(other));
    if (id === undefined) continue;
    const same = byId.get(id) ?? [];
    if (same.length < MOST_ALIKE) same.push(other);
    byId.set(id, same);
  }
  const texts = new Set(whole.map((other) => JSON.stringify(other)));
  return part.every((item) => {
    if (texts.has(JSON.stringify(item))) return true;
    const id = JSON.stringify(idOf(item));
    return id !== undefined && (byId.get(id) ?? []).some((other) => contained(item, other));
  });
}

/** @param {Json} item @returns {Json | undefined} */
function idOf(item) {
  return item !== null && typeof item === 'object' && !Array.isArray(item) ? item.id : undefined;
}
