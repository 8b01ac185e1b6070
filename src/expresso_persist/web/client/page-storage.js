/** What the page's own storage holds, where the browser lets it be read. */

import { sameJson } from './values.js';

/**
 * @param {'localStorage' | 'sessionStorage'} area
 * @param {string} key
 * @returns {string | null} null also where the browser forbids storage
 */
export function stored(area, key) {
  try {
    return globalThis[area].getItem(key);
  } catch {
    return null;
  }
}

/** @param {string} key @returns {string | null} what localStorage holds that is worth keeping */
export function held(key) {
  const raw = stored('localStorage', key);
  return raw === null || ['', 'null', 'undefined'].includes(raw) ? null : raw;
}

/** @param {string | null} a @param {string} b @returns {boolean} whether both are the same text, or the same JSON */
export function sameText(a, b) {
  if (a === null || a === b) return a === b;
  try {
    return sameJson(JSON.parse(a), JSON.parse(b));
  } catch {
    return false;
  }
}
