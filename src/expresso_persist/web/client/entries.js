/** The writes of all tabs, as this tab knows them. */

import { isDone } from './cursor.js';
/** @import { Copy, Entry, Parked } from './types.js' */

/** Entries by their id, in memory. */
export class Entries {
  /** @type {Map<string, Entry>} */ #known = new Map();
  /** @type {Set<string>} about to be stored */ #saving = new Set();
  /** @type {Set<string>} nothing but the memory of a page holds them */ #volatile = new Set();
  /** @type {Set<string>} made by this page */ #mine = new Set();
  /** @type {Set<string>} done with, lest an old message brings them back */ #settled = new Set();

  /** @param {string} id */
  get(id) {
    return this.#known.get(id);
  }

  /** @param {Entry} entry */
  set(entry) {
    this.#known.set(entry.id, entry);
  }

  /** @param {Entry} entry a new write of this page */
  make(entry) {
    this.set(entry);
    this.#mine.add(entry.id);
    this.#saving.add(entry.id);
  }

  /** @param {string} id @param {boolean} kept whether the storage has it */
  saved(id, kept) {
    this.#saving.delete(id);
    if (kept) this.#volatile.delete(id);
    else this.#volatile.add(id);
  }

  /** It is in the storage already, from another tab. @param {string} id */
  notSaved(id) {
    this.#saving.delete(id);
  }

  /** @param {string} id */
  setVolatile(id) {
    this.#volatile.add(id);
  }

  /** @param {string} id */
  isVolatile(id) {
    return this.#volatile.has(id);
  }

  /** @param {string} id */
  isSettled(id) {
    return this.#settled.has(id);
  }

  /** @param {string} id */
  settle(id) {
    this.#settled.add(id);
  }

  /** @param {Entry} entry that is sent again */
  reopen(entry) {
    this.#settled.delete(entry.id);
    this.set(entry);
  }

  /** @param {string} id */
  discard(id) {
    this.settle(id);
    this.#known.delete(id);
    this.#volatile.delete(id);
  }

  /** @param {string} id @returns {boolean} whether it waits in the storage for its turn */
  isQueued(id) {
    return this.#known.get(id)?.state === 'queued' && !this.#saving.has(id);
  }

  /** @returns {Entry[]} */
  inOrder() {
    return [...this.#known.values()].sort((a, b) => a.seq - b.seq);
  }

  /** @returns {Entry | undefined} the next to send */
  next() {
    return this.inOrder().find(({ id }) => this.isQueued(id));
  }

  /** @returns {number} a place after all others, where the storage gives none */
  placeAtEnd() {
    const last = this.inOrder().filter(({ seq }) => seq < Number.MAX_SAFE_INTEGER).at(-1);
    return (last?.seq ?? 0) + 1e-6;
  }

  /** @param {Copy | null} copy @returns {Entry[]} those whose effect the local copy does not have yet */
  waiting(copy) {
    return this.inOrder().filter((entry) => entry.state !== 'parked' && !isDone(entry, copy));
  }

  /** @returns {Parked[]} */
  parked() {
    return this.inOrder()
      .filter((entry) => entry.state === 'parked')
      .map(({ id, path, body, at, error }) => ({ id, path, body: JSON.parse(body), at, error }));
  }

  /** @returns {Entry[]} */
  volatile() {
    return [...this.#volatile].flatMap((id) => this.#known.get(id) ?? []);
  }

  /** @returns {string} equal as long as the same writes are in the same states */
  summary() {
    return JSON.stringify(this.inOrder().map(({ id, key, state }) => [id, key, state]));
  }

  /**
   * What a status says of them. `settled`: the local copy has all that the server took.
   * @param {Copy | null} copy
   */
  figures(copy) {
    const entries = [...this.#known.values()];
    const queued = entries.filter((entry) => entry.state === 'queued');
    const oldest = Math.min(...queued.map((entry) => entry.at));
    return {
      pending: queued.length,
      parked: entries.filter((entry) => entry.state === 'parked').length,
      oldestPendingAge: queued.length > 0 ? Math.max(0, Date.now() - oldest) : null,
      kept: entries.every(({ id, state }) => state === 'acked' || !this.#volatile.has(id)),
      settled: entries.every((entry) => entry.state !== 'acked' || isDone(entry, copy)),
    };
  }

  /** Drop what the local copy has. @param {Copy | null} copy */
  forgetDone(copy) {
    for (const entry of this.#known.values()) {
      if (!isDone(entry, copy)) continue;
      this.#known.delete(entry.id);
      this.#volatile.delete(entry.id);
      this.#mine.delete(entry.id);
    }
  }

  /**
   * Take over what the storage has.
   * @param {(known: Entry[]) => Promise<Entry[]>} read
   * @returns {Promise<string[]>} ids of this page that the storage lacks, to be stored again
   */
  async merge(read) {
    const known = new Map(this.#known);
    const before = [...known.values()].filter((entry) => !this.#saving.has(entry.id));
    const stored = await read(before);
    for (const entry of stored) {
      // What changed while the disk was read is newer than what was read.
      const same = this.#known.get(entry.id) === known.get(entry.id);
      if (same && !this.#settled.has(entry.id) && !this.#saving.has(entry.id)) this.set(entry);
    }
    const ids = new Set(stored.map((entry) => entry.id));
    /** @type {string[]} */
    const missing = [];
    for (const { id, state } of before) {
      if (ids.has(id) || this.#volatile.has(id) || state === 'acked') continue;
      const entry = this.#known.get(id);
      if (entry !== undefined && state === 'queued' && this.#mine.has(id)) {
        // Sent by another tab while this one slept, or evicted with all that the browser kept.
        this.#saving.add(id);
        missing.push(id);
      } else if (entry === known.get(id)) this.#known.delete(id);
    }
    return missing;
  }
}
