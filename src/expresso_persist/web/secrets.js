/**
 * Keeps passwords and tokens in the browser: what is found here is never put into a request.
 *
 * Pure, and the same rules as the server's (`importing/secrets.py`; a test compares the two),
 * except that the page may be stricter: when in doubt a secret stays at home.
 */

/** @typedef {import('./DatabaseInventoryService.js').Json} Json */

/**
 * @typedef {object} Withheld
 * @property {string} key
 * @property {string} reason
 */

/**
 * @typedef {object} Filtered
 * @property {Map<string, string>} entries what may be sent
 * @property {Withheld[]} withheld keys that are not sent at all
 * @property {Map<string, string[]>} stripped paths of the members taken out of a key that is sent
 */

const SECRET_KEYS = new Set(
  `access_token auth_token coffee_auth_token coffee_refresh_token coffee_system_refresh_token
  coffee_system_token jwt_token refreshToken refresh_token token`.split(/\s+/),
);
const JWT = /eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*/;
const BEARER = /\bbearer(\s|%20)+[A-Za-z0-9._~+/=-]{8,}/i;
const PEM = /-----BEGIN [A-Z ]*PRIVATE KEY-----/;
const BASE64_JWT = /ZXlK[A-Za-z0-9+/_-]{24,}={0,2}/g;
const ASSIGNMENT =
  /["']?([A-Za-z_.-]*(?:password|passwd|passphrase|secret|token|api[_.-]?key|authorization|private[_.-]?key))["']?\s*[:=]\s*["']?([^\s"',;}]+)/gi;
const CONTAINED = ['password', 'passwd', 'passphrase'];
const FINAL = [
  'secret',
  'token',
  'apikey',
  'secretkey',
  'accesskey',
  'authkey',
  'authorization',
  'privatekey',
  'credential',
  'pwd',
];
const OPAQUE = /^[A-Za-z0-9+/=_.~-]{16,}$/;
const NOT_A_SECRET = new Set(['true', 'false', 'null']);

/** @param {string} name @returns {boolean} whether a member of this name holds a secret */
export function isSecretName(name) {
  let plain = name.normalize('NFKC').toLowerCase().replace(/[^\p{L}\p{N}]/gu, '');
  if (plain.endsWith('s') && !plain.endsWith('ss')) plain = plain.slice(0, -1);
  return CONTAINED.some((word) => plain.includes(word)) || FINAL.some((end) => plain.endsWith(end));
}

/** @param {string} text @returns {boolean} whether it is or contains a token, whatever its name */
export function isSecretValue(text) {
  if (JWT.test(text) || BEARER.test(text) || PEM.test(text)) return true;
  return (text.match(BASE64_JWT) ?? []).some(hidesJwt);
}

/** @param {string} text @returns {boolean} also finds `password=…` and `"token": "…"` in text */
export function isSecretText(text) {
  if (isSecretValue(text)) return true;
  for (const [, name = '', value = ''] of text.matchAll(ASSIGNMENT)) {
    if (isSecretName(name) && !isPlaceholder(value)) return true;
  }
  return false;
}

/**
 * Take the secrets out of everything that is in the browser.
 * @param {Map<string, string>} entries localStorage, key by key
 * @returns {Filtered}
 */
export function withholdSecrets(entries) {
  /** @type {Filtered} */
  const filtered = { entries: new Map(), withheld: [], stripped: new Map() };
  for (const [key, raw] of entries) {
    const found = scanEntry(key, raw);
    if (found.reason !== null) {
      const name = isSecretValue(key) ? '(a key that holds a token)' : key;
      filtered.withheld.push({ key: name, reason: found.reason });
      continue;
    }
    filtered.entries.set(key, found.raw);
    if (found.removed.length > 0) filtered.stripped.set(key, found.removed);
  }
  return filtered;
}

/**
 * @param {string} key
 * @param {string} raw
 * @returns {{raw: string, removed: string[], reason: string | null}}
 */
export function scanEntry(key, raw) {
  /** @param {string} reason */
  const refuse = (reason) => ({ raw: '', removed: [], reason });
  if (SECRET_KEYS.has(key)) return refuse('A sign-in token: it stays in this browser.');
  if (isSecretValue(key)) return refuse('The key itself holds a token: it stays in this browser.');
  /** @type {Json} */
  let value;
  try {
    value = JSON.parse(raw);
  } catch {
    return secretText(key, raw)
      ? refuse('The text holds a password or token: it stays in this browser.')
      : { raw, removed: [], reason: null };
  }
  if (value === null || typeof value !== 'object') {
    const text = typeof value === 'string' ? value : raw;
    return secretText(key, text) || (text !== raw && isSecretString(text, key))
      ? refuse('A password or token: it stays in this browser.')
      : { raw, removed: [], reason: null };
  }
  try {
    /** @type {string[]} */
    const removed = [];
    const cleaned = clean(value, '', isSecretName(key), removed);
    // A member that is there twice hides its first value from JSON.parse, but not from the wire.
    if (removed.length === 0 && isSecretText(raw) && namesTwice(raw, value)) {
      removed.push('a member that is there twice');
    }
    return { raw: removed.length > 0 ? JSON.stringify(cleaned) : raw, removed, reason: null };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return isSecretText(raw) // nested too deeply to be walked
      ? refuse('Nested too deeply to take the secrets out: it stays in this browser.')
      : { raw, removed: [], reason: null };
  }
}

/**
 * @param {Json} value
 * @param {string} path
 * @param {boolean} underSecretName
 * @param {string[]} removed receives the paths
 * @returns {Json}
 */
function clean(value, path, underSecretName, removed) {
  if (Array.isArray(value)) {
    return value.flatMap((item, index) => {
      const place = `${path}[${index}]`;
      if (typeof item !== 'string') return [clean(item, place, underSecretName, removed)];
      if (!isSecretString(item, '') && !(underSecretName && isOpaque(item))) return [item];
      removed.push(place);
      return [];
    });
  }
  if (value === null || typeof value !== 'object') return value;
  /** @type {[string, Json][]} */
  const members = [];
  for (const [name, member] of Object.entries(value)) {
    const place = path ? `${path}.${name}` : name;
    if (isSecretValue(name)) {
      removed.push(path ? `${path}.<name>` : '<name>');
    } else if (typeof member !== 'string') {
      members.push([name, clean(member, place, underSecretName || isSecretName(name), removed)]);
    } else if (isSecretString(member, name) || (underSecretName && isOpaque(member))) {
      removed.push(place);
    } else {
      members.push([name, member]);
    }
  }
  return Object.fromEntries(members); // defines own members, `__proto__` included
}

/** @param {string} key @param {string} text @returns {boolean} for values that are not documents */
function secretText(key, text) {
  if (isSecretText(text)) return true;
  const trimmed = text.trim();
  return (
    trimmed !== '' && isSecretName(key) && !isPlaceholder(trimmed) && !NOT_A_SECRET.has(trimmed)
  );
}

/** @param {string} text @param {string} name @returns {boolean} */
function isSecretString(text, name) {
  if (isSecretValue(text)) return true;
  if (name && text && isSecretName(name) && !isPlaceholder(text)) return true;
  return (text.startsWith('{') || text.startsWith('[')) && isSecretJson(text);
}

/** @param {string} text JSON inside a string, as browsers like to nest it @returns {boolean} */
function isSecretJson(text) {
  try {
    /** @type {string[]} */
    const removed = [];
    clean(JSON.parse(text), '', false, removed);
    return removed.length > 0;
  } catch {
    return isSecretText(text); // not JSON after all, or nested too deeply to be walked
  }
}

/** @param {string} text @returns {boolean} */
function isPlaceholder(text) {
  return /^[*•]*$/.test(text);
}

/** @param {string} text @returns {boolean} long and without a word in it, as keys are */
function isOpaque(text) {
  return OPAQUE.test(text) && /\d/.test(text) && /[A-Za-z]/.test(text);
}

/** @param {string} text @returns {boolean} */
function hidesJwt(text) {
  let padded = text.replace(/=+$/, '').replace(/-/g, '+').replace(/_/g, '/');
  if (padded.length % 4 === 1) padded = padded.slice(0, -1);
  try {
    return JWT.test(atob(padded));
  } catch {
    return false;
  }
}

/** @param {string} raw @param {Json} value @returns {boolean} whether the text has more members than the value */
function namesTwice(raw, value) {
  let named = 0;
  for (const [, colon] of raw.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?/g)) if (colon) named += 1;
  return named > countMembers(value);
}

/** @param {Json} value @returns {number} */
function countMembers(value) {
  if (value === null || typeof value !== 'object') return 0;
  const members = Object.values(value);
  const inner = members.reduce((/** @type {number} */ sum, member) => sum + countMembers(member), 0);
  return Array.isArray(value) ? inner : inner + members.length;
}
