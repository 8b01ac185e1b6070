/** What an unsent write and a commit of the feed do to the local copy. */

import { ADJUST } from './paths.js';
import { child, isObject, own, plus, sameJson, setOwn } from './values.js';
/** @import { Commit, Place } from './types.js' */

// Spellings of the stock numbers: the front end's, the seed's, the columns'.
const TOTAL = ['quantity', 'total', 'total_quantity'];
const ALLOCATED = ['allocated', 'allocated_quantity'];
const AVAILABLE = ['available', 'available_quantity'];
const AMOUNT = ['amount'];
/** @type {{[category: string]: string}} the front end's extras, in a station's live stock */
const ALIASES = { extras: 'other', other: 'extras' };

/** @type {{[type: string]: string}} element of a batch -> endpoint */
const UPDATE_PATHS = {
  event_inventory: '/api/inventory/event-inventory/update',
  event_stock: '/api/inventory/event-stock/update',
  station_config: '/api/inventory/station-config/update',
  station_quantity: '/api/inventory/station-quantity/update',
  setting: '/api/inventory/settings/update',
  adjust: ADJUST,
};

/**
 * @param {any} container the items of a category, as a list or by name
 * @param {string[]} names ids, or names
 * @returns {Place | null}
 */
function placeIn(container, names) {
  for (const name of names) {
    if (Array.isArray(container)) {
      for (const member of ['id', 'name']) {
        const index = container.findIndex((item) => own(item, member) === name);
        if (index >= 0) return { holder: container, member: String(index) };
      }
    } else if (own(container, name) !== undefined) return { holder: container, member: name };
  }
  return null;
}

/** @param {any} data @param {string | null} category @param {string} item @returns {string[]} the item and its id */
function namesOf(data, category, item) {
  const offer = own(data, 'event_inventory') ?? {};
  for (const known of category === null ? Object.keys(offer) : [category]) {
    const list = own(offer, known);
    const found = Array.isArray(list) ? list.find((entry) => own(entry, 'name') === item) : undefined;
    if (typeof own(found, 'id') === 'string') return [item, found.id];
  }
  return [item];
}

/** @param {any} data @param {string | null} category @param {string[]} names @returns {Place | null} */
function eventPlace(data, category, names) {
  const levels = own(data, 'event_stock_levels') ?? {};
  const nested = category === null ? Object.values(levels) : [own(levels, category)];
  for (const container of nested) {
    const found = isObject(container) ? placeIn(container, names) : null;
    if (found !== null && (category !== null || isObject(found.holder[found.member]))) return found;
  }
  return placeIn(levels, names);
}

/** @param {any} data @param {string} station @param {string | null} category @param {string[]} names @returns {Place | null} */
function livePlace(data, station, category, names) {
  const stock = own(own(data, 'station_stock'), station) ?? {};
  const categories =
    category === null ? Object.keys(stock) : [category, ALIASES[category] ?? category];
  for (const name of categories) {
    const found = placeIn(own(stock, name) ?? {}, names);
    if (found !== null) return found;
  }
  return null;
}

/** @param {any} data @param {string} station @param {string | null} category @param {string[]} names @returns {Place | null} */
function allotmentPlace(data, station, category, names) {
  const allotted = own(own(data, 'station_inventory_quantities'), station) ?? {};
  const nested = category === null ? Object.values(allotted) : [own(allotted, category)];
  for (const container of nested) {
    const found = isObject(container) ? placeIn(container, names) : null;
    if (found !== null) return found;
  }
  return placeIn(allotted, names);
}

/** @param {Place} place @param {string[]} names @returns {number} */
function numberAt(place, names) {
  const value = place.holder[place.member];
  if (!isObject(value)) return Number(value) || 0;
  return Number(value[names.find((name) => own(value, name) !== undefined) ?? '']) || 0;
}

/** @param {Place} place @param {string[]} names @param {number} number */
function setNumber(place, names, number) {
  const value = place.holder[place.member];
  if (!isObject(value)) place.holder[place.member] = number;
  else value[names.find((name) => own(value, name) !== undefined) ?? names[0] ?? ''] = number;
}

/** @param {Place} place @param {string[]} names @param {number} delta */
function bump(place, names, delta) {
  setNumber(place, names, plus(numberAt(place, names), delta));
}

/** @param {Place} place @param {string[]} names */
const hasNumber = (place, names) =>
  names.some((name) => own(place.holder[place.member], name) !== undefined);

/** @param {any} data @param {string} station @param {string | null} category @param {string} item @param {any} value */
function newAllotment(data, station, category, item, value) {
  const allotted = child(child(data, 'station_inventory_quantities'), station);
  if (category === null) setOwn(allotted, item, value);
  else setOwn(child(allotted, category), item, { quantity: value });
}

/** @param {any} data @param {string} station @param {any} body @param {number} quantity of an item that is new there */
function newStock(data, station, body, quantity) {
  const stations = Object.values(own(data, 'station_inventory_quantities') ?? {});
  const flat = stations.some((items) => Object.values(items).some((value) => !isObject(value)));
  const names = namesOf(data, body.category, body.item);
  newAllotment(data, station, flat ? null : body.category, names.at(-1) ?? body.item, quantity);
}

/** @param {any} body @param {string} member @returns {string | null} */
const stationOf = (body, member) => (body[member] == null ? null : String(body[member]));

/** @param {any} data @param {string | null} station @param {any} body @param {number} delta more owned, or less */
function stockChange(data, station, body, delta) {
  const names = namesOf(data, body.category, body.item);
  if (station === null) {
    const place = eventPlace(data, body.category, names);
    if (place === null) return;
    bump(place, TOTAL, delta);
    if (hasNumber(place, ALLOCATED)) {
      setNumber(place, AVAILABLE, plus(numberAt(place, TOTAL), -numberAt(place, ALLOCATED)));
    } else if (hasNumber(place, AVAILABLE)) bump(place, AVAILABLE, delta);
    return;
  }
  const live = livePlace(data, station, body.category, names);
  const place = live ?? allotmentPlace(data, station, body.category, names);
  if (place !== null) bump(place, live === null ? TOTAL : AMOUNT, delta);
}

/** @param {any} data @param {any} body */
function stockCount(data, body) {
  const station = stationOf(body, 'station_id');
  const names = namesOf(data, body.category, body.item);
  const live = station === null ? null : livePlace(data, station, body.category, names);
  const place =
    live ??
    (station === null
      ? eventPlace(data, body.category, names)
      : allotmentPlace(data, station, body.category, names));
  if (place !== null) {
    const counted = body.quantity - numberAt(place, live === null ? TOTAL : AMOUNT);
    stockChange(data, station, body, counted);
  } else if (station !== null) {
    newStock(data, station, body, body.quantity);
  }
}

/** @param {any} data @param {string | null} station @param {any} body @param {number} delta carried there, or away */
function stockHandover(data, station, body, delta) {
  const names = namesOf(data, body.category, body.item);
  if (station === null) {
    const place = eventPlace(data, body.category, names);
    if (place === null) return;
    bump(place, ALLOCATED, -delta);
    bump(place, AVAILABLE, delta);
    return;
  }
  const live = livePlace(data, station, body.category, names);
  if (live !== null) bump(live, AMOUNT, delta);
  const allotment = allotmentPlace(data, station, body.category, names);
  if (allotment !== null) bump(allotment, TOTAL, delta);
  else if (delta > 0) newStock(data, station, body, delta);
}

/**
 * An adjustment as the server takes it. One that an earlier release left in the outbox names the
 * item by `item_id` or `item_name`; with a `field` it is refused, and kept for people to decide.
 * @param {any} body
 */
export function adjustment(body) {
  const { item_id, item_name, ...rest } = body;
  if (body.item !== undefined || body.field !== undefined) return body;
  return { category: '', ...rest, item: item_id ?? item_name };
}

/** @param {any} data @param {any} body */
function offerChange(data, body) {
  const { category, item_id, item_name, ...members } = body;
  const offer = child(data, 'event_inventory');
  const place = placeIn(own(offer, category) ?? {}, [item_id ?? item_name]);
  const item = place === null ? undefined : place.holder[place.member];
  if (place !== null && typeof item === 'boolean') place.holder[place.member] = members.enabled;
  else if (isObject(item)) Object.assign(item, members);
  else if (own(offer, category) === undefined ? Object.values(offer).some(Array.isArray) : Array.isArray(offer[category])) {
    if (own(offer, category) === undefined) setOwn(offer, category, []);
    const name = item_name ?? item_id;
    offer[category].push({ id: item_id ?? name, name, enabled: true, category, ...members });
  } else setOwn(child(offer, category), item_id ?? item_name, { enabled: true, ...members });
}

/** @param {any} data @param {any} body */
function levelChange(data, body) {
  const { category = null, item_id, item_name, ...members } = body;
  const names = item_id != null ? [item_id] : namesOf(data, category, item_name);
  let place = eventPlace(data, category, names);
  if (place === null) {
    const levels = child(data, 'event_stock_levels');
    const holder = category === null ? levels : child(levels, category);
    place = { holder, member: names.at(-1) ?? item_name };
    setOwn(holder, place.member, { quantity: 0, allocated: 0, available: 0, unit: 'units' });
  }
  for (const [member, value] of Object.entries(members)) {
    const names = [TOTAL, ALLOCATED, AVAILABLE].find((spellings) => spellings.includes(member));
    if (names !== undefined) setNumber(place, names, Number(value));
    else if (isObject(place.holder[place.member])) setOwn(place.holder[place.member], member, value);
  }
}

/** @param {any} data @param {any} body */
function allotmentChange(data, body) {
  const station = String(body.station_id);
  const category = body.category ?? null;
  const names = body.item_id != null ? [body.item_id] : namesOf(data, category, body.item_name);
  const place = allotmentPlace(data, station, category, names);
  if (place !== null) setNumber(place, TOTAL, body.quantity);
  else newAllotment(data, station, category, names.at(-1) ?? '', body.quantity);
}

/**
 * Show a write in the local copy before the server has it. A guess: the server decides by
 * its own rules what an item's name means, and its answer takes the guess's place.
 * @param {any} data
 * @param {string} path
 * @param {any} body
 */
export function applyWrite(data, path, body) {
  switch (path) {
    case '/api/inventory/event-inventory/update':
      return offerChange(data, body);
    case '/api/inventory/event-stock/update':
      return levelChange(data, body);
    case '/api/inventory/station-config/update':
      return setOwn(child(data, 'station_inventory_configs'), String(body.station_id), body.config_data);
    case '/api/inventory/station-quantity/update':
      return allotmentChange(data, body);
    case '/api/inventory/settings/update':
      return setOwn(child(data, 'settings'), body.key, body.value);
    case ADJUST:
      return stockChange(data, stationOf(body, 'station_id'), adjustment(body), body.delta);
    case '/api/inventory/waste':
      return stockChange(data, stationOf(body, 'station_id'), body, -body.quantity);
    case '/api/inventory/count':
      return stockCount(data, body);
    case '/api/inventory/transfer':
      stockHandover(data, stationOf(body, 'from_station'), body, -body.quantity);
      return stockHandover(data, stationOf(body, 'to_station'), body, body.quantity);
    case '/api/inventory/batch-update':
      for (const { type, data: update } of body.updates) {
        applyWrite(data, UPDATE_PATHS[type] ?? '', update);
      }
      return undefined;
    default:
      return undefined;
  }
}

/**
 * @param {any} data
 * @param {string} kind
 * @param {string[]} key
 * @returns {Place | null} where a record stands in the documents, if that is plain to see
 */
function placeOf(data, kind, [first = '', second = '', third = '']) {
  switch (kind) {
    case 'setting':
      return { holder: own(data, 'settings'), member: first };
    case 'station_config':
      return { holder: own(data, 'station_inventory_configs'), member: first };
    case 'event_inventory':
      return recordIn(own(own(data, 'event_inventory'), first), second);
    case 'event_stock':
      return (
        recordIn(own(own(data, 'event_stock_levels'), first), second) ??
        recordIn(own(data, 'event_stock_levels'), second)
      );
    case 'station_quantity': {
      const station = own(own(data, 'station_inventory_quantities'), first);
      return (second === '' ? null : recordIn(own(station, second), third)) ?? recordIn(station, third);
    }
    case 'station_stock':
      return recordIn(own(own(own(data, 'station_stock'), first), second), third);
    default:
      return null;
  }
}

/** @param {any} container @param {string} id @returns {Place | null} */
function recordIn(container, id) {
  if (!Array.isArray(container)) {
    return own(container, id) === undefined ? null : { holder: container, member: id };
  }
  const found = container.flatMap((item, index) => (own(item, 'id') === id ? [String(index)] : []));
  return found.length === 1 ? { holder: container, member: found[0] ?? '' } : null;
}

/**
 * Follow a commit in the local copy, if it only changes values that stand where they are
 * expected and read as the commit found them; otherwise change nothing.
 * @param {any} data
 * @param {Commit} commit
 * @returns {boolean} whether the copy is as it would be if it were read again
 */
export function applyCommit(data, commit) {
  // Others, such as an import, may also change the order, which a commit does not tell.
  if (commit.source !== 'api' && commit.source !== 'movement') return false;
  /** @type {[Place, any][]} */
  const edits = [];
  for (const { kind, key, before, after } of commit.changes) {
    if (before === null || after === null) return false;
    const place = placeOf(data, kind, key);
    if (place === null || !sameJson(own(place.holder, place.member), before)) return false;
    edits.push([place, after]);
  }
  for (const [{ holder, member }, after] of edits) holder[member] = after;
  return true;
}

/**
 * The documents as raw strings, with what is not sent yet.
 * @param {any} documents
 * @param {{data: any, view: any} | null} now
 * @returns {any}
 */
export function withUnsent(documents, now) {
  if (now === null || now.data === now.view) return documents;
  const storage = { ...documents.localStorage };
  /** @param {any} before @param {any} after @param {(member: string) => string} name */
  const compare = (before, after, name) => {
    for (const [member, value] of Object.entries(after ?? {})) {
      if (!sameJson(own(before, member), value)) setOwn(storage, name(member), JSON.stringify(value));
    }
  };
  const { station_stock: stockBefore, settings: settingsBefore, ...before } = now.data;
  const { station_stock: stock, settings, ...rest } = now.view;
  compare(before, rest, (key) => key);
  compare(settingsBefore, settings, (key) => key);
  compare(stockBefore, stock, (station) => `coffee_stock_station_${station}`);
  return { ...documents, localStorage: storage };
}
