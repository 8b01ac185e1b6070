/** Positions on the timeline of a server. */

/** @import { Copy, Entry } from './types.js' */

/** @param {string} cursor @returns {{epoch: string, revision: number, hash: string}} */
export function partsOf(cursor) {
  const [epoch = '', revision = '0', hash = ''] = cursor.split('.');
  return { epoch, revision: Number(revision), hash };
}

/** @param {string} etag @returns {string | null} where the server stood, by an answer of an older one */
export function cursorOf(etag) {
  const [, epoch, revision, hash] = /^(?:W\/)?"(.+)-(\d+)-([0-9a-f]+)"$/.exec(etag) ?? [];
  return hash === undefined ? null : `${epoch}.${revision}.${hash}`;
}

/** @param {string} cursor @returns {number} */
export const revisionOf = (cursor) => partsOf(cursor).revision;

/** @param {Entry} entry @param {string} epoch @returns {boolean} whether a store of this epoch took it */
export const isOf = (entry, epoch) => entry.cursor == null || partsOf(entry.cursor).epoch === epoch;

/**
 * @param {Entry} entry
 * @param {Copy | null} copy
 * @returns {boolean} whether it is acknowledged and no guess about it belongs into the reads
 */
export const isDone = (entry, copy) =>
  entry.state === 'acked' &&
  copy !== null &&
  (!isOf(entry, copy.epoch) || (entry.revision ?? 0) <= copy.revision);
