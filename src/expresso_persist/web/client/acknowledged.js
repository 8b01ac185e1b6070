/** The writes that the server took, for the day that it loses them. */

import { isOf, partsOf, revisionOf } from './cursor.js';
import { TRAIL } from './storage.js';
/** @import { Commit, Entry, LiveSettings, OutboxStorage } from './types.js' */

const LONGEST_TRAIL = 1000;
const READ_AGAIN = 500; // commits that are read again rather than left out of the trail
const DAY = 86_400_000;

/**
 * The writes that the server acknowledged, and the positions of its timeline that this browser
 * has seen: what it takes to notice that a server lost commits, and to offer them again.
 *
 * A server that fails over to a replica which was behind, or gets an older copy of its database,
 * forgets what it acknowledged. An acknowledged write therefore stays in the outbox until the
 * feed has come past it, with its hash; then it is filed, and kept for a while.
 */
export class Acknowledged {
  /** @type {OutboxStorage} */ #storage;
  /** @type {string} */ #scope;
  /** @type {LiveSettings} */ #settings;
  /** @type {Map<number, string>} cursors by revision, oldest first */ #trail = new Map();
  #reached = -1;
  /** @type {Map<number, Entry>} taken by the server; the feed has not come there */ #ahead = new Map();
  /** @type {Set<string>} ids that can be filed */ #passed = new Set();
  #filed = 0;
  /** @type {string | null} */ #position = null;

  /** @param {OutboxStorage} storage @param {string} scope @param {LiveSettings} settings */
  constructor(storage, scope, settings) {
    this.#storage = storage;
    this.#scope = scope;
    this.#settings = settings;
  }

  /** @returns {string | null} the newest that this browser knows; a server without it lost something */
  get position() {
    return this.#position;
  }

  /** @returns {number} the newest revision that the server took and the feed has not come to, or -1 */
  get ahead() {
    return Math.max(-1, ...this.#ahead.keys());
  }

  /** What an earlier page, or another tab, left. */
  async load() {
    /** @type {string[]} */
    const trail = (await this.#storage.copy(this.#scope + TRAIL).catch(() => null)) ?? [];
    for (const cursor of trail) this.#reach(cursor);
    for (const entry of await this.#storage.entries(this.#scope).catch(() => [])) {
      if (entry.state === 'acked') this.took(entry);
    }
    await this.#prune().catch(() => {});
  }

  /** @param {string} cursor of a copy @returns {string | null} where to follow from, so that nothing is left out */
  from(cursor) {
    const last = this.#trail.get(this.#reached);
    if (last === undefined || partsOf(last).epoch !== partsOf(cursor).epoch) return null;
    return revisionOf(cursor) - this.#reached <= READ_AGAIN ? last : null;
  }

  /** The feed is followed from here on. @param {string} cursor */
  begin(cursor) {
    this.#reach(cursor);
  }

  /** @param {string} cursor */
  #reach(cursor) {
    const revision = revisionOf(cursor);
    this.#trail.delete(revision);
    this.#trail.set(revision, cursor);
    this.#reached = revision;
    this.#know(cursor);
    for (const oldest of this.#trail.keys()) {
      if (this.#trail.size <= LONGEST_TRAIL) break;
      this.#trail.delete(oldest);
    }
  }

  /** @param {string} cursor */
  #know(cursor) {
    const known = this.#position;
    if (known === null || revisionOf(cursor) >= revisionOf(known)) this.#position = cursor;
  }

  /** @param {Entry} entry that the server acknowledged @returns {boolean} false: it is lost already */
  took(entry) {
    const { id, cursor = null } = entry;
    const revision = entry.revision ?? 0;
    const here = this.#trail.get(revision);
    if (cursor !== null) this.#know(cursor);
    if (cursor !== null && revision > this.#reached) this.#ahead.set(revision, entry);
    else if (cursor !== null && here !== undefined && here !== cursor) return false;
    else this.#passed.add(id);
    return true;
  }

  /** @param {Commit[]} commits of the feed @param {string} cursor @returns {boolean} false: a write is lost */
  passed(commits, cursor) {
    const { epoch, hash } = partsOf(cursor);
    for (const commit of commits) {
      const here =
        commit.hash === undefined
          ? null
          : `${epoch}.${commit.revision}.${commit.hash.slice(0, hash.length)}`;
      const entry = this.#ahead.get(commit.revision);
      if (entry !== undefined && here !== null && entry.cursor !== here) return false;
      if (entry !== undefined) this.#passed.add(entry.id);
      this.#ahead.delete(commit.revision);
      if (here !== null) this.#reach(here);
    }
    this.#reach(cursor);
    return true;
  }

  /** Keep what was learnt. */
  async save() {
    const ids = [...this.#passed];
    await this.#storage.file(this.#scope, ids);
    for (const id of ids) this.#passed.delete(id);
    await this.#storage.keep(this.#scope + TRAIL, [...this.#trail.values()]);
    this.#filed += ids.length;
    if (this.#filed >= 100) await this.#prune();
  }

  /** The oldest go first. */
  async #prune() {
    this.#filed = 0;
    const { keepDays, keepWrites, keepBytes } = this.#settings;
    const all = await this.#storage.acknowledged(this.#scope);
    all.sort((a, b) => (b.ackedAt ?? 0) - (a.ackedAt ?? 0) || b.seq - a.seq);
    let bytes = 0;
    const gone = all.filter((entry, index) => {
      bytes += 2 * entry.body.length + 500;
      const age = Date.now() - (entry.ackedAt ?? 0);
      return age > keepDays * DAY || index >= keepWrites || bytes > keepBytes;
    });
    if (gone.length > 0) await this.#storage.move(this.#scope, [], gone.map(({ id }) => id));
  }

  /** @param {string} epoch @returns {Promise<Entry[]>} what another store took, in its order */
  async aside(epoch) {
    const all = await this.#storage.acknowledged(this.#scope);
    return all.filter((entry) => !isOf(entry, epoch)).sort((a, b) => a.seq - b.seq);
  }

  /**
   * Find out what the server lost, and put it back into the outbox, in its order.
   * @param {(since: string) => Promise<{cursor: string, reset: boolean}>} ask the feed
   * @returns {Promise<{epoch: string, offers: Entry[]}>}
   */
  async heal(ask) {
    const { epoch } = partsOf((await ask(this.#position ?? 'now')).cursor);
    const outbox = await this.#storage.entries(this.#scope);
    const filed = (await this.#storage.acknowledged(this.#scope)).filter((entry) => isOf(entry, epoch));
    const acked = outbox.filter((entry) => entry.state === 'acked');
    const { known, gone } = await this.#shared(ask, epoch, [...filed, ...acked]);
    const end = revisionOf(known.at(-1) ?? '');
    /** @param {Entry} entry of a version that kept no position, it cannot be known: it is not sent twice */
    const isLost = (entry) => entry.cursor != null && (entry.revision ?? 0) > end;
    const here = acked.filter((entry) => isOf(entry, epoch));
    const offers = [
      ...offersOf(filed.filter(isLost), here.filter(isLost), known, gone),
      ...(await rebased(outbox.filter((entry) => isOffered(entry, epoch)), known, ask)),
    ];
    const aside = outbox.filter((entry) => entry.state !== 'parked' && !isOf(entry, epoch));
    const survived = here.filter((entry) => !isLost(entry));
    const kept = [...aside, ...survived].map((entry) => ({
      ...entry,
      state: /** @type {const} */ ('acked'),
    }));
    await this.#storage.move(this.#scope, [...offers, ...kept]);
    this.#ahead.clear();
    this.#passed.clear();
    this.#trail = new Map(known.map((cursor) => [revisionOf(cursor), cursor]));
    this.#reached = end;
    this.#position = known.at(-1) ?? null;
    return { epoch, offers };
  }

  /**
   * @param {(since: string) => Promise<{reset: boolean}>} ask
   * @param {string} epoch
   * @param {Entry[]} entries
   * @returns {Promise<{known: string[], gone: string[]}>} the positions that the server still has,
   *   and those that it has not; oldest first
   */
  async #shared(ask, epoch, entries) {
    const cursors = new Map([[0, `${epoch}.0.0`]]); // what every state of the store has
    const theirs = entries.flatMap((entry) => [entry.before ?? '', entry.cursor ?? '']);
    for (const cursor of [...this.#trail.values(), ...theirs]) {
      if (partsOf(cursor).epoch === epoch) cursors.set(revisionOf(cursor), cursor);
    }
    const sorted = [...cursors.values()].sort((a, b) => revisionOf(a) - revisionOf(b));
    let low = 0;
    // The newest first: mostly nothing is lost.
    for (let high = sorted.length, next = high - 1; high - low > 1; next = (low + high) >> 1) {
      if ((await ask(sorted[next] ?? '')).reset) high = next;
      else low = next;
    }
    return { known: sorted.slice(0, low + 1), gone: sorted.slice(low + 1) };
  }
}

/** @param {Entry} entry @param {string} epoch @returns {boolean} whether it was lost before, and is on its way again */
const isOffered = (entry, epoch) =>
  entry.state === 'queued' && entry.cursor != null && isOf(entry, epoch);

/**
 * @param {Entry[]} filed lost ones that the feed had come past
 * @param {Entry[]} acked lost ones that it had not come to
 * @param {string[]} known positions that the server still has, oldest first
 * @param {string[]} gone positions that it has not
 * @returns {Entry[]} what is sent again, in its order
 */
function offersOf(filed, acked, known, gone) {
  const found = [...filed, ...acked].sort((a, b) => (a.revision ?? 0) - (b.revision ?? 0));
  const [first] = found;
  if (first === undefined) return [];
  // The timelines part before the first of them. What was known when that was sent, or stood
  // just before it, was on its timeline; what the feed sent since may be of the other one.
  const sentAt = first.since ? revisionOf(first.since) : 0;
  const most = filed.includes(first) ? (first.revision ?? 0) - 1 : sentAt;
  const before = known.filter((cursor) => revisionOf(cursor) <= most).at(-1) ?? '';
  const base = first.before != null && known.includes(first.before) ? first.before : before;
  const lost = gone.find((cursor) => revisionOf(cursor) > revisionOf(base)) ?? null;
  const places = found.map((entry) => entry.seq).sort((a, b) => a - b);
  return found.map((entry, index) => ({
    ...entry,
    ...{ base, lost, state: 'queued', seq: places[index] ?? entry.seq },
  }));
}

/**
 * Another loss while offers were on their way.
 * @param {Entry[]} offered
 * @param {string[]} known positions that the server still has, oldest first
 * @param {(since: string) => Promise<{reset: boolean}>} ask the feed
 * @returns {Promise<Entry[]>} the same, on positions that the server has
 */
async function rebased(offered, known, ask) {
  const end = revisionOf(known.at(-1) ?? '');
  const found = [];
  for (const entry of offered) {
    const base = entry.base ?? known[0] ?? '';
    const isThere = known.includes(base) || (revisionOf(base) <= end && !(await ask(base)).reset);
    // Below an older state all that is known is common; beside a newer one, only the beginning.
    const common = (revisionOf(base) > end ? known.at(-1) : known[0]) ?? '';
    found.push(isThere ? entry : { ...entry, base: common, lost: base });
  }
  return found;
}
