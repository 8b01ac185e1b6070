/**
 * What this browser, or a dump file of another one, holds. Only {@link clear} and {@link fill}
 * change anything.
 */

/**
 * @typedef {object} Source
 * @property {'browser' | 'file'} kind
 * @property {string} name for people
 * @property {string | null} origin
 * @property {string} deviceId
 * @property {Map<string, string>} entries raw strings by key
 */

const DEVICE_KEY = 'expresso_persist_device_id';
const OUTBOX_PREFIX = 'expresso_persist_outbox:'; // unsent writes, see DatabaseInventoryService.js
const LARGEST_FILE = 64 * 1024 * 1024;

/** A file that is not a dump; `message` is a sentence for people. */
export class NotADump extends Error {}

/** @param {string} key @returns {boolean} whether these modules keep it for themselves */
const isOurs = (key) => key === DEVICE_KEY || key.startsWith(OUTBOX_PREFIX);

/** @returns {Map<string, string>} localStorage as it is now, without these modules' own keys */
export function readLocalStorage() {
  /** @type {Map<string, string>} */
  const entries = new Map();
  for (let index = 0; index < localStorage.length; index += 1) {
    const key = localStorage.key(index);
    const raw = key === null ? null : localStorage.getItem(key);
    if (key !== null && raw !== null && !isOurs(key)) entries.set(key, raw);
  }
  return entries;
}

/** @returns {Source} */
export function thisBrowser() {
  return {
    kind: 'browser',
    name: 'this browser',
    origin: location.origin,
    deviceId: deviceId(),
    entries: readLocalStorage(),
  };
}

/** @param {File} file @returns {Promise<any>} its content, without an answer's envelope @throws {NotADump} */
async function parsed(file) {
  if (file.size > LARGEST_FILE) throw new NotADump(`${file.name} is too large to be a dump.`);
  try {
    let dump = JSON.parse(await file.text());
    if (typeof dump === 'string') dump = JSON.parse(dump);
    return isObject(dump) && dump.success === true && isObject(dump.data) ? dump.data : dump;
  } catch {
    throw new NotADump(`${file.name} is not a JSON file.`);
  }
}

/** @param {File} file @returns {Promise<Source>} @throws {NotADump} */
export async function dumpFile(file) {
  const dump = await parsed(file);
  const wrapped = isObject(dump) && isObject(dump.localStorage);
  const storage = wrapped ? dump.localStorage : dump;
  if (!isObject(storage)) {
    throw new NotADump(
      `${file.name} is not a dump: it should hold {"localStorage": {key: value}} or {key: value}.`,
    );
  }
  const rawStrings = wrapped || Object.values(storage).every((value) => typeof value === 'string');
  /** @type {Map<string, string>} */
  const entries = new Map();
  for (const [key, value] of Object.entries(storage)) {
    if (!isOurs(key)) entries.set(key, rawString(value, rawStrings));
  }
  return {
    kind: 'file',
    name: file.name,
    origin: wrapped && typeof dump.origin === 'string' ? dump.origin : null,
    // Device preferences in a file are another device's; its file name says which.
    deviceId:
      wrapped && typeof dump.device_id === 'string' && dump.device_id
        ? dump.device_id
        : `file:${file.name}`.slice(0, 256),
    entries,
  };
}

/**
 * The string that the browser held. In a dump of already parsed values a text that reads as
 * JSON, such as "15", can only have been written with its quotation marks.
 * @param {unknown} value
 * @param {boolean} rawStrings
 * @returns {string}
 */
function rawString(value, rawStrings) {
  if (typeof value !== 'string') return JSON.stringify(value);
  if (rawStrings) return value;
  try {
    JSON.parse(value);
  } catch {
    return value;
  }
  return JSON.stringify(value);
}

/**
 * @param {Source} source
 * @param {Map<string, string>} entries
 * @returns {{localStorage: {[key: string]: string}, origin: string | null, device_id: string}}
 */
export function asDump(source, entries) {
  // fromEntries defines own members: a key called `__proto__` stays a key.
  return {
    localStorage: Object.fromEntries(entries),
    origin: source.origin,
    device_id: source.deviceId,
  };
}

/**
 * Put keys into localStorage that are not there yet; all of them or none.
 * @param {{[key: string]: string}} entries
 * @returns {number} how many
 * @throws {NotADump} there is no room for them
 */
export function fill(entries) {
  const added = Object.entries(entries).filter(([key]) => localStorage.getItem(key) === null);
  try {
    for (const [key, raw] of added) localStorage.setItem(key, raw);
  } catch {
    for (const [key] of added) localStorage.removeItem(key);
    throw new NotADump('The storage of this browser is full or closed; nothing was put into it.');
  }
  return added.length;
}

/**
 * Remove the keys whose value is still the given one.
 * @param {Map<string, string>} verified
 * @returns {{cleared: string[], kept: string[]}}
 */
export function clear(verified) {
  /** @type {{cleared: string[], kept: string[]}} */
  const result = { cleared: [], kept: [] };
  for (const [key, raw] of verified) {
    const unchanged = localStorage.getItem(key) === raw;
    if (unchanged) localStorage.removeItem(key);
    (unchanged ? result.cleared : result.kept).push(key);
  }
  return result;
}

/** @returns {string} random, and the same each time in this browser */
function deviceId() {
  const known = localStorage.getItem(DEVICE_KEY);
  if (known) return known;
  const made = randomName();
  try {
    localStorage.setItem(DEVICE_KEY, made);
  } catch {
    // The storage is full. The dump still needs a name; the next visit makes another one.
  }
  return made;
}

/** @returns {string} 32 random hexadecimal digits */
export function randomName() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** @param {unknown} value @returns {value is {[member: string]: any}} */
function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
