/**
 * Keeps passwords and tokens in the browser: what is found here is never put into a request.
 *
 * Pure. The rules are the server's (`secret-rules.js` is written from them), and so is every
 * function here (`secrets.py`; a test compares the two), except that the page may be stricter:
 * when in doubt a secret stays at home.
 */

import * as rules from './secret-rules.js';

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

const KEYS = new Set(rules.KEYS);
const SHORT = new Set(rules.SHORT);
const EXACT = new Set(rules.EXACT);
const QUALIFIERS = new Set(rules.QUALIFIERS);
const LITERALS = new Set(rules.LITERALS);
const FORMATS = rules.FORMATS.map(({ hints, pattern }) => ({ hints, pattern: new RegExp(pattern) }));
const ASSIGNMENTS = rules.ASSIGNMENTS.map((rule) => ({
  ...rule,
  pattern: new RegExp(rule.pattern, 'g'),
}));
const JWT = new RegExp(rules.JWT, 'g');
const BASE64_JWT = new RegExp(rules.BASE64_JWT, 'g');
const URL_PASSWORD = new RegExp(rules.URL_PASSWORD, 'g');
const OPAQUE = new RegExp(`^${rules.OPAQUE}$`);
const USER_PASSWORD = new RegExp(`^${rules.USER_PASSWORD}$`);
const LOOK_ALIKES = new Map(Object.entries(rules.LOOK_ALIKES));
const REFERENCES = new Map(Object.entries(rules.REFERENCES));
const MAY_HIDE = new RegExp(rules.MAY_HIDE);
const ENCODED = new RegExp(rules.ENCODED, 'g');
const LINE_BREAK = new RegExp(rules.LINE_BREAK, 'g');
const BROKEN_RUN = new RegExp(rules.BROKEN_RUN, 'g');
const BASE64_TEXT = new RegExp(rules.BASE64_TEXT, 'g');
const IS_ASCII = /^[\x00-\x7f]*$/;
const STRAY_MARKS = /([\x00-\x7f])\p{M}+/gu;
const UTF8 = new TextDecoder('utf-8', { ignoreBOM: true });
const NOT_ASCII = /[^\x00-\x7f]+/g;
const DIGITS = '0123456789';
const LONGEST_PLACE = 256;

/* ----- names ---------------------------------------------------------------------------- */

/** @param {string} name @returns {boolean} whether a member of this name holds a secret */
export function isSecretName(name) {
  const plain = folded(name);
  return namesSecret(plain) || versions(name).some(namesSecret);
}

/** @param {string} name @returns {boolean} */
function namesSecret(name) {
  const plain = name.replace(/([a-z0-9])([A-Z])/g, '$1 $2').toLowerCase();
  // Vowels are marks, no letters, in the scripts of India.
  let words = plain.split(/[^\p{L}\p{N}\u0900-\u0963\u0966-\u0dff]+/u).filter((word) => word !== '');
  const joined = words.join('');
  if (rules.CONTAINED.some((word) => joined.includes(word))) return true;
  const singular = joined.endsWith('s') ? joined.slice(0, -1) : joined;
  if (rules.FINAL.some((end) => joined.endsWith(end) || singular.endsWith(end))) return true;
  words = words.map((word) => withoutEnd(word, DIGITS));
  while (words.length > 0 && (words.at(-1) === '' || QUALIFIERS.has(words.at(-1) ?? ''))) words.pop();
  return words.length > 0 && (SHORT.has(words.at(-1) ?? '') || EXACT.has(words.join('')));
}

/** @param {string} text @param {string} marks @returns {string} the text without these at its end */
function withoutEnd(text, marks) {
  let end = text.length;
  while (end > 0 && marks.includes(text.charAt(end - 1))) end -= 1;
  return text.slice(0, end);
}

/* ----- what a text says (plain_text.py) --------------------------------------------------- */

/** @type {Map<string, string>} */
const folds = new Map();

/**
 * Without accents, width and other dress, look-alikes as the usual letters, character by
 * character: to normalise a whole text takes time that grows with the square of a run of accents.
 * @param {string} text @returns {string}
 */
function folded(text) {
  return withoutStrays(foldedButStrays(text));
}

/** @param {string} text @returns {string} */
function foldedButStrays(text) {
  if (IS_ASCII.test(text)) return text;
  return text.replace(NOT_ASCII, (run) => {
    let characters = '';
    for (const character of run) characters += fold(character);
    return characters;
  });
}

/** @param {string} text @returns {string} */
function withoutStrays(text) {
  return IS_ASCII.test(text) ? text : text.replace(STRAY_MARKS, '$1');
}

/** @param {string} character @returns {string} */
function fold(character) {
  const known = folds.get(character);
  if (known !== undefined) return known;
  const plain = Array.from(character.normalize('NFKD'), foldOne).join('');
  if (folds.size < 4096) folds.set(character, plain);
  return plain;
}

/** @param {string} character @returns {string} */
function foldOne(character) {
  const other = LOOK_ALIKES.get(character);
  if (other !== undefined) return other;
  if (/[\p{M}\p{Cf}]/u.test(character)) return /[\u0900-\u0dff]/.test(character) ? character : '';
  if (/\p{Nd}/u.test(character)) return /\d/.test(character) ? character : '0';
  if (character.length === 1) return character;
  return /[\p{L}\p{N}]/u.test(character) ? '\ua000' : '\ufffd'; // one in the server's count, too
}

/**
 * @param {string} text
 * @returns {string[]} what it says when its references and escapes are read, once and again; folded
 */
function versions(text) {
  const found = [];
  // What seems to be a stray mark may come after an invisible character that is encoded.
  for (let plain = foldedButStrays(text); found.length < rules.ROUNDS && MAY_HIDE.test(plain); ) {
    const said = decoded(plain);
    if (said === plain) break;
    found.push(withoutStrays(said));
    plain = said;
  }
  return found;
}

/** @param {string} text @returns {string} its references, percent signs and escapes read once, folded but for stray marks */
function decoded(text) {
  return foldedButStrays(
    text.replace(ENCODED, (match, ...groups) => {
      const after = text.charAt(Number(groups[12]) + match.length);
      // An escape that goes on in another encoding is left for the next round.
      const unread = match.endsWith('\\') && after !== '' && 'uUxX01234567&%'.includes(after);
      return unread ? '\\' : read(groups.slice(0, 12));
    }),
  );
}

/** @param {(string | undefined)[]} groups those of ENCODED @returns {string} */
function read(groups) {
  const group = groups.findIndex((text) => text !== undefined) + 1;
  const text = String(groups[group - 1]);
  if (group === 0) return '';
  if (group === 3 || group === 4) return REFERENCES.get(text) ?? `&${text};`;
  if (group === 5) return UTF8.decode(Uint8Array.from(text.slice(1).split('%'), (hex) => parseInt(hex, 16)));
  if (group > 10) return text === 't' ? '\t' : '\n';
  const code = parseInt(text, { 2: 10, 10: 8 }[group] ?? 16);
  return code <= 0x10ffff ? String.fromCodePoint(code) : '\ufffd';
}

/**
 * @param {string} text
 * @returns {string} it, where line breaks part runs of letters, digits and signs, without those;
 * only where a digit is in the run: words of prose stay apart
 */
function joined(text) {
  if (text.search(LINE_BREAK) < 0) return text;
  return text.replace(BROKEN_RUN, (run, lines) =>
    lines !== '' && /\d/.test(run) ? run.replace(LINE_BREAK, '') : run,
  );
}

/** @param {string} text @returns {string[]} the ASCII texts that are in Base64 inside it */
function encodedTexts(text) {
  const found = [];
  for (const match of text.matchAll(BASE64_TEXT)) {
    if (/[A-Za-z0-9+/_-]/.test(text.charAt(match.index - 1))) continue;
    let content = match[0].replace(/-/g, '+').replace(/_/g, '/');
    if (content.length % 4 === 1) content = content.slice(0, -1);
    found.push(atob(content));
  }
  return found;
}

/* ----- texts ---------------------------------------------------------------------------- */

/**
 * @param {string} text any text, JSON or not
 * @param {string} [name] what it is called
 * @returns {boolean} whether it is a secret or holds one, by its format or as in `password=…`
 */
export function isSecretText(text, name = '') {
  if (name && text && isSecretName(name) && !isPlaceholder(text)) return true;
  const plain = folded(text);
  const hides = MAY_HIDE.test(plain);
  if (!hides && plain.length < rules.FORMAT_MINIMUM && !/[:=]/.test(plain)) return false;
  return showsSecret(plain) || hidesSecret(text, plain, hides);
}

/**
 * @param {string} text
 * @param {string} plain it, folded
 * @param {boolean} hides whether more may be in it than it shows
 * @returns {boolean} whether a secret shows when its escapes are read, or line breaks taken out
 */
function hidesSecret(text, plain, hides) {
  const said = hides ? versions(text) : [];
  if (said.some(showsSecret)) return true;
  const last = said.at(-1) ?? plain;
  const together = hides ? joined(last) : last;
  if (together !== last && hasFormat(together, together.toLowerCase())) return true;
  const document = isDocument(plain) ? plain : last;
  return holdsEncoded(together) || (isDocument(document) && isSecretJson(document));
}

/** @param {string} text @returns {boolean} */
function isDocument(text) {
  return text.startsWith('{') || text.startsWith('[');
}

/** @param {string} text @returns {boolean} */
function showsSecret(text) {
  const lower = text.toLowerCase();
  return hasFormat(text, lower) || isAssigned(text, lower);
}

/** @param {string} text @returns {boolean} whether it holds a secret in Base64, or `user:password` */
function holdsEncoded(text) {
  return encodedTexts(text).some((inner) => USER_PASSWORD.test(inner) || showsSecret(inner));
}

/** @param {string} text @param {string} lower @returns {boolean} */
function hasFormat(text, lower) {
  if (lower.includes('eyj') && hasJwt(text)) return true;
  if (lower.includes('zxlk') && (text.match(BASE64_JWT) ?? []).some(hidesJwt)) return true;
  if (text.includes('://')) {
    for (const [, password = ''] of text.matchAll(URL_PASSWORD)) {
      if (isAssignedValue(password)) return true;
    }
  }
  return FORMATS.some(
    ({ hints, pattern }) => hints.some((hint) => lower.includes(hint)) && pattern.test(text),
  );
}

/** @param {string} text @returns {boolean} */
function hasJwt(text) {
  for (const [, rest] of text.matchAll(JWT)) if (rest !== undefined) return true;
  return false;
}

/** @param {string} text @returns {boolean} */
function hidesJwt(text) {
  let padded = withoutEnd(text, '=').replace(/-/g, '+').replace(/_/g, '/');
  if (padded.length % 4 === 1) padded = padded.slice(0, -1);
  try {
    return hasJwt(atob(padded));
  } catch {
    return false;
  }
}

/** @param {string} text @param {string} lower @returns {boolean} */
function isAssigned(text, lower) {
  const ascii = IS_ASCII.test(text);
  for (const rule of ASSIGNMENTS) {
    if (ascii && !rule.ascii) continue;
    for (const [, closed, sign, opened, value] of (rule.lower ? lower : text).matchAll(rule.pattern)) {
      if (assigns(rule, closed ?? '', sign ?? '', opened ?? '', value ?? '')) return true;
    }
  }
  return false;
}

/**
 * @param {{prose: number, digits: boolean, least: number}} rule
 * @param {string} closed @param {string} sign @param {string} opened @param {string} value
 * @returns {boolean}
 */
function assigns(rule, closed, sign, opened, value) {
  if (!isAssignedValue(value)) return false;
  // A member of JSON text that is no string is no secret.
  if (closed && !opened) return !/^\p{Nd}+$/u.test(withoutEnd(value, ']})'));
  if (sign === ':' && !opened) {
    return value.length >= rule.prose && (!rule.digits || /\p{Nd}/u.test(value));
  }
  return value.length >= rule.least || opened !== '';
}

/** @param {string} value @returns {boolean} one, and not what stands for one: `***`, `{token}`, `null` */
function isAssignedValue(value) {
  const bare = withoutEnd(value, ']})').toLowerCase();
  if (rules.TEMPLATE_MARKS.includes(value.charAt(0)) || LITERALS.has(bare)) return false;
  return !isPlaceholder(bare);
}

/** @param {string} text JSON inside a string, as browsers like to nest it @returns {boolean} */
function isSecretJson(text) {
  try {
    /** @type {string[]} */
    const removed = [];
    clean(JSON.parse(text), '', false, removed);
    return removed.length > 0;
  } catch {
    return false; // not JSON after all: seen as text already
  }
}

/** @param {string} text @returns {boolean} */
function isPlaceholder(text) {
  return withoutEnd(text, rules.PLACEHOLDER_MARKS) === '';
}

/** @param {string} text @returns {boolean} long and without a word in it, as keys are */
function isOpaque(text) {
  if (!OPAQUE.test(text)) return false;
  const word = withoutEnd(text, DIGITS);
  if (/[_-]$/.test(word) && /^[A-Za-z]+$/.test(word.replace(/[_-]/g, ''))) return false;
  return /\d/.test(text) && /[A-Za-z]/.test(text);
}

/* ----- values --------------------------------------------------------------------------- */

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
      const name = isSecretText(key) ? '(a key that holds a token)' : key;
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
  if (KEYS.has(key)) return refuse('A sign-in token: it stays in this browser.');
  if (isSecretText(key)) return refuse('The key itself holds a token: it stays in this browser.');
  /** @type {Json} */
  let value;
  try {
    value = JSON.parse(raw);
  } catch {
    return isSecretText(raw, key)
      ? refuse('The text holds a password or token: it stays in this browser.')
      : { raw, removed: [], reason: null };
  }
  if (value === null || typeof value !== 'object') {
    return isSecretValue(value, key)
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

/** @param {Json} value a text, a number or the like @param {string} name @returns {boolean} */
function isSecretValue(value, name) {
  if (typeof value === 'string') return isSecretText(value, name);
  return typeof value === 'number' && isSecretName(name);
}

/**
 * @param {Json} value
 * @param {string} path
 * @param {boolean} under whether one of the names above is a secret's
 * @param {string[]} removed receives the paths
 * @returns {Json}
 */
function clean(value, path, under, removed) {
  if (Array.isArray(value)) {
    return value.flatMap((item, index) => {
      if (typeof item !== 'string') return [clean(item, place(path, index), under, removed)];
      if (!isSecretText(item) && !(under && isOpaque(item))) return [item];
      removed.push(place(path, index));
      return [];
    });
  }
  if (value === null || typeof value !== 'object') return value;
  /** @type {[string, Json][]} */
  const members = [];
  for (const [name, member] of Object.entries(value)) {
    if (isSecretText(name)) {
      removed.push(place(path, '<name>'));
    } else if (typeof member === 'string') {
      if (isSecretText(member, name) || (under && isOpaque(member))) removed.push(place(path, name));
      else members.push([name, member]);
    } else if (member !== null && typeof member === 'object') {
      members.push([name, clean(member, place(path, name), under || isSecretName(name), removed)]);
    } else {
      members.push([name, member]);
    }
  }
  return Object.fromEntries(members); // defines own members, `__proto__` included
}

/**
 * Never longer than a line, or the places of many members below one long name would take their
 * product to write.
 * @param {string} path @param {string | number} member @returns {string}
 */
function place(path, member) {
  const name = typeof member === 'number' ? `[${member}]` : member.slice(0, LONGEST_PLACE);
  const inner = typeof member === 'number' || path === '' ? path + name : `${path}.${name}`;
  return inner.length <= LONGEST_PLACE ? inner : `…${inner.slice(-LONGEST_PLACE)}`;
}

/** @param {string} raw @param {Json} value @returns {boolean} whether the text has more members than the value */
function namesTwice(raw, value) {
  let named = 0;
  for (let start = raw.indexOf('"'); start >= 0; ) {
    let end = start + 1;
    while (end < raw.length && raw[end] !== '"') end += raw[end] === '\\' ? 2 : 1;
    let next = end + 1;
    while (next < raw.length && ' \t\r\n'.includes(raw.charAt(next))) next += 1;
    if (raw[next] === ':') named += 1;
    start = raw.indexOf('"', next);
  }
  return named > countMembers(value);
}

/** @param {Json} value @returns {number} */
function countMembers(value) {
  if (value === null || typeof value !== 'object') return 0;
  const members = Object.values(value);
  const inner = members.reduce((/** @type {number} */ sum, member) => sum + countMembers(member), 0);
  return Array.isArray(value) ? inner : inner + members.length;
}
