/** Small helpers for JSON values, names and listeners. */

/** @import { JsonObject } from './types.js' */

/**
 * A fresh copy, so that a caller who changes an answer does not change the next one.
 * Through JSON, because that keeps a member called `__proto__` plain data.
 * @param {any} value
 * @returns {any}
 */
export const copy = (value) => JSON.parse(JSON.stringify(value));

/**
 * @param {any} object
 * @param {string} member
 * @returns {any} the object's own member, or undefined
 */
export const own = (object, member) =>
  object !== null && typeof object === 'object' && Object.prototype.hasOwnProperty.call(object, member)
    ? object[member]
    : undefined;

/** @param {unknown} value @returns {value is JsonObject} */
export const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

/** @param {number} milliseconds @returns {Promise<void>} */
export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** @returns {string} a new random name; also where `randomUUID` is missing (plain http on a LAN) */
export function randomKey() {
  if (typeof globalThis.crypto.randomUUID === 'function') return globalThis.crypto.randomUUID();
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** @param {any} object @param {string} member @param {any} value also for `__proto__` */
export function setOwn(object, member, value) {
  Object.defineProperty(object, member, {
    value,
    writable: true,
    enumerable: true,
    configurable: true,
  });
}

/** @param {any} object @param {string} member @returns {any} the object in it, made if missing */
export function child(object, member) {
  if (!isObject(own(object, member)) && !Array.isArray(own(object, member))) {
    setOwn(object, member, {});
  }
  return object[member];
}

/** @param {any} a @param {any} b */
export const sameJson = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** @param {number} a @param {number} b @returns {number} 0.1 + 0.2 is 0.3 */
export const plus = (a, b) => Number((a + b).toPrecision(15));

/** @template T @param {Set<(value: T) => void>} listeners @param {T} value */
export function callAll(listeners, value) {
  for (const listener of [...listeners]) {
    try {
      listener(value);
    } catch (error) {
      // One listener's fault is not the others'.
      setTimeout(() => {
        throw error;
      });
    }
  }
}
