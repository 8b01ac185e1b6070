/** The local copy of what the server answers. */

import { cursorOf, partsOf } from './cursor.js';
import { isLost, pauseAfter } from './failures.js';
import { GET_ALL } from './paths.js';
import { applyCommit, applyWrite } from './projection.js';
import { MemoryStorage } from './storage.js';
import { copy, sleep } from './values.js';
/** @import { Change, Commit, Copy, Entry, LiveSettings, OutboxStorage, Transport } from './types.js' */
/** @import { Link } from './link.js' */
/** @import { Signal } from './signal.js' */

/** How long an answer counts as fresh, in milliseconds. */
export const FRESH = 300_000;

/**
 * What a replica asks of its surroundings.
 *
 * @typedef {object} ReplicaContext
 * @property {string} scope
 * @property {LiveSettings} settings
 * @property {Transport} transport
 * @property {Link} link
 * @property {Signal} wake Notified when a pause is to be cut short.
 * @property {AbortSignal} stop
 * @property {() => boolean} leading Whether this tab is the one that reads and stores for all.
 * @property {() => Entry[]} waiting The writes whose effect a reader sees before the server has them.
 * @property {(message: {type: string, [part: string]: any}) => void} post To the other tabs.
 * @property {() => void} moved The copy may have writes now that were waiting.
 * @property {(reason: Change['reason'] | null, changes: Commit['changes'] | null) => void} changed
 *   With null as the reason, nothing but the status.
 * @property {() => Promise<void>} save What is kept together with the copy.
 */

/** @param {any} envelope @returns {Copy} */
function copyOf(envelope) {
  const cursor = envelope.cursor ?? cursorOf(envelope.etag ?? '') ?? `.${envelope.revision}.`;
  const { epoch, revision } = partsOf(cursor);
  return { data: envelope.data ?? {}, cursor, epoch, revision, etag: envelope.etag ?? null };
}

/** What `get-all` answered, and every commit of the feed since. */
export class Replica {
  /** @type {ReplicaContext} */ #context;
  /** @type {OutboxStorage} */ #storage = new MemoryStorage();
  /** @type {Copy | null} */ #copy = null;
  /** @type {any} the copy with what is not sent yet, or null before it is asked for */ #view = null;
  /** @type {Commit[]} from the feed, waiting for the copy */ #later = [];
  #wanted = 0;
  /** When the copy was last read from the server; the feed keeps it fresh from then on. */
  #readAt = -Infinity;
  /** @type {Promise<void> | null} */ #refetching = null;
  /** @type {Promise<void>} the first answer of the server, or the lack of it */ #contact = Promise.resolve();
  /** @type {Promise<void> | null} the attempt of it that is underway */ #attempt = null;
  #contacted = false;
  /** @type {unknown} */ #contactError = null;
  /** @type {ReturnType<typeof setTimeout> | null} */ #keeping = null;

  /** @param {ReplicaContext} context */
  constructor(context) {
    this.#context = context;
  }

  /** @param {OutboxStorage} storage */
  async open(storage) {
    this.#storage = storage;
    this.#copy ??= await storage.copy(this.#context.scope).catch(() => null);
    this.forgetView();
  }

  /** Read from the server for the first time. @param {Promise<void>} opened */
  connect(opened) {
    this.#contact = this.#connect(opened);
  }

  /** @param {Promise<void>} opened */
  async #connect(opened) {
    await opened;
    const { settings, wake, stop } = this.#context;
    for (let attempt = 0; attempt <= settings.retries; attempt += 1) {
      try {
        this.#attempt = this.fetch();
        await this.#attempt;
        this.#contactError = null;
        break;
      } catch (error) {
        this.#attempt = null;
        this.#contactError = error;
        if (!isLost(error) || this.#copy !== null || attempt === settings.retries) break;
        await wake.wait(pauseAfter(attempt, settings), stop);
      }
    }
    this.#contacted = true;
    this.#attempt = null;
  }

  /** Have a copy; the first read is not made twice. */
  async require() {
    if (this.#copy === null) await (this.#attempt ?? this.fetch());
  }

  /** The first answer of the server has come, or its lack is known. */
  get contact() {
    return this.#contact;
  }

  close() {
    if (this.#keeping !== null) clearTimeout(this.#keeping);
  }

  /* reading */

  /** @returns {Promise<any>} the documents with what is not sent yet; copy it before you hand it out */
  async data() {
    if (!this.#contacted) {
      const known = this.#copy !== null;
      const wait = globalThis.navigator?.onLine === false ? 0 : this.#context.settings.patience;
      await (known ? Promise.race([this.#contact, sleep(wait)]) : this.#contact);
    }
    if (this.#copy === null) {
      if (this.#contactError !== null) {
        const error = this.#contactError;
        this.#contactError = null; // the next one asks again
        throw error;
      }
      await this.require();
    }
    return this.view();
  }

  get copy() {
    return this.#copy;
  }

  /** @returns {boolean} a commit is known that the copy does not have */
  get behind() {
    return this.#copy === null || this.#wanted > this.#copy.revision;
  }

  /** @returns {number} the newest revision that is known */
  get newest() {
    return this.behind ? this.#wanted : this.#copy?.revision ?? 0;
  }

  /** @returns {boolean} the copy was the server's state a moment ago */
  get isRecent() {
    return !this.behind && Math.abs(Date.now() - this.#readAt) < FRESH;
  }

  /** @returns {any} the documents with what is not sent yet */
  view() {
    if (this.#view === null && this.#copy !== null) {
      const waiting = this.#context.waiting();
      this.#view = waiting.length > 0 ? copy(this.#copy.data) : this.#copy.data;
      for (const entry of waiting) {
        try {
          applyWrite(this.#view, entry.path, JSON.parse(entry.body));
        } catch {
          // A guess must not keep anybody from reading.
        }
      }
    }
    return this.#view;
  }

  /** Make the view again when it is asked for. */
  forgetView() {
    this.#view = null;
  }

  /* another copy */

  /** @param {boolean} [lost] the server lost what the copy has: do not compare it with that */
  async fetch(lost = false) {
    const { transport, link, stop } = this.#context;
    const known = this.#copy;
    const before = known?.revision ?? -1;
    const wanted = this.#wanted;
    const etag = lost ? null : known?.etag ?? null;
    const envelope = await transport.read(GET_ALL, etag, stop);
    this.#readAt = Date.now();
    link.reached();
    if (envelope.unchanged === true) {
      if (this.#wanted === wanted) this.#wanted = Math.max(0, before);
      this.#context.changed(null, null);
      return;
    }
    const fresh = copyOf(envelope);
    // An answer with less than was known when it was asked for is another database.
    const older = known !== null && (fresh.revision < before || fresh.epoch !== known.epoch);
    if (this.#wanted === wanted) this.#wanted = fresh.revision;
    this.#adopt(fresh, lost || older);
  }

  /** @param {Copy} fresh @param {boolean} reset */
  #adopt(fresh, reset) {
    const known = this.#copy;
    if (!reset && known !== null && fresh.revision < known.revision) return;
    const changed = known === null || reset || fresh.revision > known.revision;
    this.#copy = fresh;
    if (reset) {
      this.#later = [];
      this.#wanted = fresh.revision;
    }
    this.forgetView();
    this.#context.moved();
    if (this.#context.leading()) this.#context.post({ type: 'copy', copy: fresh, reset });
    this.keepSoon();
    const later = this.#later;
    this.#later = [];
    if (changed) this.#context.changed(reset ? 'reset' : 'feed', null);
    if (later.length > 0) this.absorb(later, fresh.cursor);
    this.#context.changed(null, null);
  }

  /** Take over the copy of the tab that leads. @param {Copy} theirs @param {boolean} reset */
  adoptFrom(theirs, reset) {
    if (reset || theirs.epoch === this.#copy?.epoch) this.#adopt(theirs, reset);
  }

  /** Store the copy a moment later, once for all that happens until then. */
  keepSoon() {
    const { leading, save, scope } = this.#context;
    if (!leading() || this.#keeping !== null) return;
    this.#keeping = setTimeout(() => {
      this.#keeping = null;
      const fresh = this.#copy;
      void save().catch(() => {});
      if (fresh === null || this.behind) return;
      void this.#storage.keep(scope, fresh).catch(() => {});
    }, 1000);
  }

  /* keeping up */

  /** @param {Commit[]} commits of the feed @param {string} cursor where they end */
  absorb(commits, cursor) {
    /** @type {Commit['changes']} */
    const changes = [];
    for (const commit of commits) {
      const known = this.#copy;
      if (known !== null && commit.revision <= known.revision) continue;
      const next = known !== null && !this.behind && commit.revision === known.revision + 1;
      if (next && applyCommit(known.data, commit)) {
        known.revision = commit.revision;
        known.etag = null;
        changes.push(...commit.changes);
        continue;
      }
      this.#later = [...this.#later.slice(-500), commit];
      this.#wanted = Math.max(this.#wanted, commit.revision);
    }
    if (this.behind) this.#catchUp();
    else if (this.#copy !== null) this.#copy.cursor = cursor;
    if (changes.length === 0) return;
    this.#wanted = Math.max(this.#wanted, this.#copy?.revision ?? 0);
    this.#context.moved();
    this.keepSoon();
    this.#context.changed('feed', changes);
  }

  /** Have at least a revision before long. @param {number} revision */
  want(revision) {
    this.#wanted = Math.max(this.#wanted, revision);
    if (this.behind) this.#catchUp();
  }

  /** Read the copy again, once for all that was missed. */
  #catchUp() {
    this.#refetching ??= this.#refetch().finally(() => {
      this.#refetching = null;
      this.#context.changed(null, null);
    });
  }

  async #refetch() {
    const { leading, link, settings, stop, wake } = this.#context;
    for (let failures = 0; this.behind && !stop.aborted; ) {
      // The tab that leads reads for all; the others only when it does not.
      await wake.wait(leading() ? 100 : 1000, stop);
      if (!this.behind || stop.aborted) return;
      try {
        await this.fetch();
        failures = 0;
      } catch (error) {
        link.failed(error);
        await wake.wait(pauseAfter(failures, settings, error), stop);
        failures += 1;
      }
    }
  }
}
