/** The local copy and the outbox, in one of the open tabs for all. */

import { Acknowledged } from './acknowledged.js';
import { cursorOf, isDone, partsOf, revisionOf } from './cursor.js';
import { ExpressoPersistError } from './errors.js';
import { NO_STREAM, isLost, isRefusal, isStranger, statusOf, streamPause } from './failures.js';
import { CHANGES, GET_ALL, STREAM } from './paths.js';
import { applyCommit, applyWrite } from './projection.js';
import { Signal } from './signal.js';
import { EventParser } from './sse.js';
import { LEASE, MemoryStorage, openStorage } from './storage.js';
import { callAll, copy, randomKey, sleep } from './values.js';
/** @import { Change, Commit, Copy, Transport, Entry, Link, LiveSettings, Parked, Refusal, OutboxStorage, Status, WriteOptions, Written } from './types.js' */

/** How long an answer counts as fresh, in milliseconds. */
export const FRESH = 300_000;
const ALIVE = 2500;
const SILENCE = 10_000;
const STREAM_SILENCE = 45_000; // three signs of life
const STREAM_STALE = 20_000;
const FIRST_BYTE = 10_000;

const LONG_POLL = 25;
const HOLD = 1000;
const GIVE_UP = 20;
const LONGEST = 600; // seconds; whoever asks for a longer pause is asked again
const UNSENT = { revision: null, data: null, pending: true };
const UNSENT_MESSAGE = 'Kept on this device; it is sent as soon as the server can be reached.';

/**
 * Keeps the local copy fresh and sends what is in the outbox, in one of the tabs for all.
 *
 * Which tab leads is a matter of courtesy, not of safety: when two send at the same time,
 * the idempotency key made with the write lets the server apply it once.
 */
export class Live {
  /** @type {Transport} */ #transport;
  /** @type {string} */ #scope;
  /** @type {LiveSettings} */ #settings;
  #me = randomKey();
  #stop = new AbortController();
  /** @type {Promise<void> | null} */ #starting = null;
  /** @type {OutboxStorage} */ #storage = new MemoryStorage();
  /** @type {BroadcastChannel | null} */ #channel = null;

  /** @type {Map<string, Entry>} */ #entries = new Map();
  /** @type {Set<string>} entries that are about to be stored */ #saving = new Set();
  /** @type {Set<string>} entries that nothing but this page's memory holds */ #volatile = new Set();
  /** @type {Set<string>} entries that this page made */ #mine = new Set();
  /** @type {Set<string>} entries that are done with, lest an old message brings them back */ #settled = new Set();
  /** @type {Map<string, {resolve: (answer: any) => void, reject: (error: any) => void, promise: Promise<any>}>} */
  #outcomes = new Map();
  /** @type {Promise<void> | null} the request that is underway, and what follows from it */
  #sending = null;

  /** @type {Copy | null} */ #copy = null;
  /** @type {any} the copy with what is not sent yet, or null before it is asked for */ #view = null;
  /** @type {Commit[]} from the feed, waiting for the copy */ #later = [];
  #wanted = 0;
  /** When the copy was last read from the server; the feed keeps it fresh from then on. */
  #readAt = -Infinity;
  /** @type {Promise<void> | null} */ #refetching = null;
  /** @type {Promise<void>} the first answer of the server, or the lack of it */ #contact = Promise.resolve();
  #contacted = false;
  /** @type {unknown} */ #contactError = null;
  /** @type {ReturnType<typeof setTimeout> | null} */ #keeping = null;

  #leading = false;
  #steal = false;
  #leader = '';
  #lastAlive = 0;
  /** @type {AbortController | null} */ #lead = null;
  /** @type {AbortController | null} */ #streaming = null;
  #lastChunk = 0;
  #sendSignal = new Signal();
  #feedSignal = new Signal();
  #signInSignal = new Signal();
  /** @type {Link} */
  #link = { online: null, caughtUp: false, feed: 'off', signInNeeded: false, lastServerAck: null, setAside: 0 };
  /** @type {Acknowledged} of the tab that leads */ #acknowledged;
  /** @type {Promise<void> | null} */ #healing = null;

  /** @type {Set<(change: Change) => void>} */ #changeListeners = new Set();
  /** @type {Set<(status: Status) => void>} */ #statusListeners = new Set();
  #notifiedStatus = '';
  #warning = false;

  /** @param {string} scope @param {Transport} transport @param {LiveSettings} settings */
  constructor(scope, transport, settings) {
    this.#scope = scope;
    this.#transport = transport;
    this.#settings = settings;
    this.#acknowledged = new Acknowledged(this.#storage, scope, settings);
  }

  get scope() {
    return this.#scope;
  }

  /** @returns {Promise<void>} once entries and copy of an earlier visit are there */
  start() {
    this.#starting ??= this.#begin();
    return this.#starting;
  }

  async #begin() {
    this.#contact = this.#firstContact(
      (async () => {
        this.#storage = await openStorage();
        if (typeof BroadcastChannel === 'function') {
          this.#channel = new BroadcastChannel(`expresso-persist ${this.#scope}`);
          this.#channel.onmessage = ({ data }) => this.#heard(data);
        }
        await this.#loadEntries();
        this.#copy ??= await this.#storage.copy(this.#scope).catch(() => null);
        this.#view = null;
      })(),
    );
    await this.#loaded;
    const { signal } = this.#stop;
    const listen = (/** @type {any} */ target, /** @type {string} */ name, /** @type {() => void} */ act) =>
      target?.addEventListener?.(name, act, { signal });
    listen(globalThis, 'online', () => this.#wake());
    listen(globalThis, 'offline', () => this.#offline());
    listen(globalThis, 'pageshow', () => this.#wake());
    listen(globalThis.document, 'visibilitychange', () => {
      if (globalThis.document.visibilityState === 'visible') this.#wake();
    });
    void this.#leadership();
    this.#post({ type: 'who' }); // the next sign of life may take a while
    this.#tellStatus();
  }

  /** @type {Promise<void>} */ #loaded = Promise.resolve();

  /** @param {Promise<void>} loaded */
  async #firstContact(loaded) {
    this.#loaded = loaded;
    await loaded;
    for (let attempt = 0; attempt <= this.#settings.retries; attempt += 1) {
      try {
        await this.#fetchCopy();
        this.#contactError = null;
        break;
      } catch (error) {
        this.#contactError = error;
        if (!isLost(error) || this.#copy !== null || attempt === this.#settings.retries) break;
        await this.#feedSignal.wait(this.#pause(attempt), this.#stop.signal);
      }
    }
    this.#contacted = true;
  }

  /** End everything in this tab; what is not sent stays in the outbox. @param {boolean} forget */
  async stop(forget) {
    this.#stop.abort();
    this.#lead?.abort();
    this.#streaming?.abort();
    if (this.#keeping !== null) clearTimeout(this.#keeping);
    this.#warn(false);
    this.#channel?.close();
    await this.#starting?.catch(() => {});
    if (forget) await this.#storage.forget(this.#scope).catch(() => {});
  }

  /* reading */

  /** @returns {Promise<any>} the documents with what is not sent yet; copy it before you hand it out */
  async data() {
    await this.start();
    if (!this.#contacted) {
      const known = this.#copy !== null;
      const wait = globalThis.navigator?.onLine === false ? 0 : this.#settings.patience;
      await (known ? Promise.race([this.#contact, sleep(wait)]) : this.#contact);
    }
    if (this.#copy === null) {
      if (this.#contactError !== null) {
        const error = this.#contactError;
        this.#contactError = null; // the next one asks again
        throw error;
      }
      await this.#fetchCopy();
    }
    return this.#viewed();
  }

  /** Ask the server now. */
  async refresh() {
    await this.start();
    await this.#fetchCopy();
    return this.#viewed();
  }

  /** @returns {{data: any, view: any, revision: number, epoch: string, caughtUp: boolean} | null} */
  peek() {
    if (this.#copy === null) return null;
    const { data, revision, epoch } = this.#copy;
    return { data, view: this.#viewed(), revision, epoch, caughtUp: this.status().caughtUp };
  }

  /** @param {string} name @returns {Promise<any>} what {@link keepAnswer} kept */
  async keptAnswer(name) {
    await this.start();
    return this.#storage.copy(`${this.#scope} ${name}`).catch(() => null);
  }

  /** @param {string} name @param {any} answer */
  keepAnswer(name, answer) {
    void this.#storage.keep(`${this.#scope} ${name}`, answer).catch(() => {});
  }

  #viewed() {
    if (this.#view === null && this.#copy !== null) {
      const waiting = this.#inOrder().filter(
        (entry) => entry.state !== 'parked' && !isDone(entry, this.#copy),
      );
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

  #inOrder() {
    return [...this.#entries.values()].sort((a, b) => a.seq - b.seq);
  }

  /** @param {(change: Change) => void} listener */
  onChange(listener) {
    this.#changeListeners.add(listener);
    return () => void this.#changeListeners.delete(listener);
  }

  /** @param {(status: Status) => void} listener */
  onStatus(listener) {
    this.#statusListeners.add(listener);
    return () => void this.#statusListeners.delete(listener);
  }

  /** @param {Change['reason']} reason @param {Commit['changes'] | null} changes */
  #tell(reason, changes) {
    this.#view = null;
    callAll(this.#changeListeners, { reason, changes, revision: this.#copy?.revision ?? null });
    this.#tellStatus();
  }

  /** @returns {Status} */
  status() {
    const entries = [...this.#entries.values()];
    const queued = entries.filter((entry) => entry.state === 'queued');
    const oldest = Math.min(...queued.map((entry) => entry.at));
    const link = this.#link;
    const behind =
      this.#behind() || // or the copy does not have yet what the server took
      entries.some((entry) => entry.state === 'acked' && !isDone(entry, this.#copy));
    const unkept = entries.some(({ id, state }) => state !== 'acked' && this.#volatile.has(id));
    return {
      online: link.online === true,
      pending: queued.length,
      parked: entries.filter((entry) => entry.state === 'parked').length,
      oldestPendingAge: queued.length > 0 ? Math.max(0, Date.now() - oldest) : null,
      lastServerAck: link.lastServerAck,
      setAside: link.setAside,
      caughtUp: link.online === true && link.caughtUp && !behind,
      signInNeeded: link.signInNeeded,
      feed: link.feed,
      storage: this.#storage.kind,
      durable: this.#storage.kind !== 'memory' && !unkept,
    };
  }

  #tellStatus() {
    const status = this.status();
    const notified = JSON.stringify({ ...status, oldestPendingAge: null });
    this.#warn(this.#settings.warnOnClose && status.pending > 0);
    if (notified === this.#notifiedStatus) return;
    this.#notifiedStatus = notified;
    callAll(this.#statusListeners, status);
  }

  /** @param {boolean} on only while it is needed: such pages are slower to come back to */
  #warn(on) {
    if (on === this.#warning) return;
    this.#warning = on;
    if (on) globalThis.addEventListener?.('beforeunload', askBeforeClosing);
    else globalThis.removeEventListener?.('beforeunload', askBeforeClosing);
  }

  /** @param {Partial<Link>} link */
  #linked(link) {
    const before = JSON.stringify(this.#link);
    this.#link = { ...this.#link, ...link };
    if (JSON.stringify(this.#link) === before) return;
    if (this.#link.online === false) this.#resolvePending();
    if (this.#leading) this.#postAlive();
    this.#tellStatus();
  }

  /* writing */

  /**
   * @param {string} path
   * @param {string} body
   * @param {WriteOptions} options
   * @returns {Promise<Written>}
   */
  async write(path, body, options) {
    const id = options.idempotencyKey ?? randomKey();
    const known = this.#entries.get(id);
    if (known !== undefined) return this.#again(known, path, body);
    /** @type {Entry} */
    const entry = {
      scope: this.#scope,
      id,
      key: id,
      path,
      body,
      ifMatch: options.ifMatch ?? null,
      at: Date.now(),
      seq: Number.MAX_SAFE_INTEGER,
      state: 'queued',
      error: null,
      revision: null,
      cursor: null,
    };
    this.#entries.set(id, entry);
    this.#mine.add(id);
    this.#saving.add(id);
    const outcome = this.#outcome(id);
    this.#tell('write', null);
    await this.start();
    await this.#save(entry);
    return this.#patiently(outcome);
  }

  /** @param {Entry} known @param {string} path @param {string} body @returns {Promise<Written>} */
  #again(known, path, body) {
    if (known.path !== path || known.body !== body) {
      throw new ExpressoPersistError('This idempotency key stands for another write.', {
        status: 422,
        code: 'idempotency_mismatch',
      });
    }
    return this.#patiently(this.#outcome(known.id));
  }

  /** @param {Entry} entry */
  async #save(entry) {
    try {
      entry.seq = await this.#storage.add(entry);
      this.#volatile.delete(entry.id);
    } catch (error) {
      if (error instanceof DOMException && error.name === 'ConstraintError') {
        this.#saving.delete(entry.id);
        await this.#loadEntries(); // another tab has it, or had it
        return;
      }
      // Full, or taken away: held in memory, sent all the same, and `durable` says so.
      const last = this.#inOrder().filter((other) => other.seq < Number.MAX_SAFE_INTEGER).at(-1);
      entry.seq = (last?.seq ?? 0) + 1e-6;
      this.#volatile.add(entry.id);
    }
    this.#saving.delete(entry.id);
    this.#post({ type: 'queued', entry, volatile: this.#volatile.has(entry.id) });
    this.#sendSignal.notify();
    this.#tellStatus();
  }

  /** @param {string} id @returns {Promise<any>} settled when the server has taken or refused it */
  #outcome(id) {
    const known = this.#outcomes.get(id);
    if (known !== undefined) return known.promise;
    /** @type {any} */
    const outcome = {};
    outcome.promise = new Promise((resolve, reject) => Object.assign(outcome, { resolve, reject }));
    outcome.promise.catch(() => {}); // perhaps nobody waits for it any more
    this.#outcomes.set(id, outcome);
    return outcome.promise;
  }

  /** @param {Promise<any>} outcome @returns {Promise<any>} it, or that it will take longer */
  async #patiently(outcome) {
    const offline = this.#link.online === false || globalThis.navigator?.onLine === false;
    const unsent = { ...UNSENT, message: UNSENT_MESSAGE };
    return Promise.race([outcome, sleep(offline ? 0 : this.#settings.patience).then(() => unsent)]);
  }

  /** Nobody shall wait for what takes longer. */
  #resolvePending() {
    for (const [id, outcome] of this.#outcomes) {
      if (this.#entries.get(id)?.state !== 'queued' || this.#saving.has(id)) continue;
      this.#outcomes.delete(id);
      outcome.resolve({ ...UNSENT, message: UNSENT_MESSAGE });
    }
  }

  /** @returns {Parked[]} */
  parked() {
    return this.#inOrder()
      .filter((entry) => entry.state === 'parked')
      .map(({ id, path, body, at, error }) => ({ id, path, body: JSON.parse(body), at, error }));
  }

  /**
   * @param {string} id
   * @param {string} [body] another one: then it is another write, with a key of its own
   * @returns {Promise<Written>}
   */
  async unpark(id, body) {
    await this.start();
    const parked = this.#parkedEntry(id);
    const edits = body === undefined ? {} : { body, key: randomKey(), ifMatch: null };
    /** @type {Entry} People decided: it is offered no more, but sent. */
    const entry = { ...parked, ...edits, state: 'queued', error: null, cursor: null, base: null, lost: null };
    this.#entries.set(id, entry);
    const outcome = this.#outcome(id);
    this.#tell('write', null);
    await this.#edit(id, () => entry);
    this.#post({ type: 'queued', entry });
    this.#sendSignal.notify();
    return this.#patiently(outcome);
  }

  /** @param {string} id */
  async discard(id) {
    await this.start();
    this.#parkedEntry(id);
    this.#settled.add(id);
    this.#entries.delete(id);
    this.#volatile.delete(id);
    await this.#edit(id, (entry) => (entry.state === 'parked' ? null : entry));
    this.#post({ type: 'discarded', id });
    this.#tellStatus();
  }

  /** @param {string} id @returns {Entry} */
  #parkedEntry(id) {
    const entry = this.#entries.get(id);
    if (entry?.state === 'parked') return entry;
    throw new ExpressoPersistError('There is no refused write of this name any more.', {
      code: 'not_found',
    });
  }

  /** @param {string} id @param {(entry: Entry) => Entry | null} edit */
  async #edit(id, edit) {
    try {
      await this.#storage.edit(this.#scope, id, edit);
    } catch {
      // The storage went away. Memory has it; a repetition after a reload does no harm.
    }
  }

  async #loadEntries() {
    const known = new Map(this.#entries);
    const before = [...known.values()].filter((entry) => !this.#saving.has(entry.id));
    /** @type {Entry[]} */
    const stored = await this.#storage.entries(this.#scope).catch(() => before);
    for (const entry of stored) {
      // What changed while the disk was read is newer than what was read.
      const same = this.#entries.get(entry.id) === known.get(entry.id);
      if (same && !this.#settled.has(entry.id) && !this.#saving.has(entry.id)) {
        this.#entries.set(entry.id, entry);
      }
    }
    const ids = new Set(stored.map((entry) => entry.id));
    for (const { id, state } of before) {
      if (ids.has(id) || this.#volatile.has(id) || state === 'acked') continue;
      const entry = this.#entries.get(id);
      if (entry !== undefined && state === 'queued' && this.#mine.has(id)) {
        // Sent by another tab while this one slept, or evicted with all that the browser kept.
        this.#saving.add(id);
        await this.#save(entry);
      } else if (entry === known.get(id)) this.#entries.delete(id);
    }
    this.#forgetDone();
    this.#view = null;
    this.#tellStatus();
  }

  /* the copy */

  /** @returns {boolean} the copy is the server's state, or was a moment ago */
  isFresh() {
    const { online, caughtUp } = this.status();
    return caughtUp || (online && !this.#behind() && Math.abs(Date.now() - this.#readAt) < FRESH);
  }

  #behind() {
    return this.#copy === null || this.#wanted > this.#copy.revision;
  }

  /** @param {boolean} [lost] the server lost what the copy has: do not compare it with that */
  async #fetchCopy(lost = false) {
    const known = this.#copy;
    const before = known?.revision ?? -1;
    const wanted = this.#wanted;
    const etag = lost ? null : known?.etag ?? null;
    const envelope = await this.#transport.read(GET_ALL, etag, this.#stop.signal);
    this.#readAt = Date.now();
    this.#reached();
    if (envelope.unchanged === true) {
      if (this.#wanted === wanted) this.#wanted = Math.max(0, before);
      this.#tellStatus();
      return;
    }
    const cursor = envelope.cursor ?? cursorOf(envelope.etag ?? '') ?? `.${envelope.revision}.`;
    const { epoch, revision } = partsOf(cursor);
    const fresh = { data: envelope.data ?? {}, cursor, epoch, revision, etag: envelope.etag ?? null };
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
    this.#forgetDone();
    this.#view = null;
    if (this.#leading) this.#post({ type: 'copy', copy: fresh, reset });
    this.#keepSoon();
    const later = this.#later;
    this.#later = [];
    if (changed) this.#tell(reset ? 'reset' : 'feed', null);
    if (later.length > 0) this.#absorb(later, fresh.cursor);
    this.#tellStatus();
  }

  #forgetDone() {
    for (const entry of this.#entries.values()) {
      if (isDone(entry, this.#copy)) {
        this.#entries.delete(entry.id);
        this.#volatile.delete(entry.id);
        this.#mine.delete(entry.id);
      }
    }
  }

  #keepSoon() {
    if (!this.#leading || this.#keeping !== null) return;
    this.#keeping = setTimeout(() => {
      this.#keeping = null;
      const fresh = this.#copy;
      void this.#acknowledged.save().catch(() => {});
      if (fresh === null || this.#behind()) return;
      void this.#storage.keep(this.#scope, fresh).catch(() => {});
    }, 1000);
  }

  /** @param {Commit[]} commits @param {string} cursor where they end */
  #absorb(commits, cursor) {
    /** @type {Commit['changes']} */
    const changes = [];
    for (const commit of commits) {
      const known = this.#copy;
      if (known !== null && commit.revision <= known.revision) continue;
      const next = known !== null && !this.#behind() && commit.revision === known.revision + 1;
      if (next && applyCommit(known.data, commit)) {
        known.revision = commit.revision;
        known.etag = null;
        changes.push(...commit.changes);
        continue;
      }
      this.#later = [...this.#later.slice(-500), commit];
      this.#wanted = Math.max(this.#wanted, commit.revision);
    }
    if (this.#behind()) this.#catchUp();
    else if (this.#copy !== null) this.#copy.cursor = cursor;
    if (changes.length === 0) return;
    this.#wanted = Math.max(this.#wanted, this.#copy?.revision ?? 0);
    this.#forgetDone();
    this.#keepSoon();
    this.#tell('feed', changes);
  }

  /** Read the copy anew, once for all that was missed. */
  #catchUp() {
    this.#refetching ??= this.#refetch().finally(() => {
      this.#refetching = null;
      this.#tellStatus();
    });
  }

  async #refetch() {
    for (let failures = 0; this.#behind() && !this.#stop.signal.aborted; ) {
      // The tab that leads reads for all; the others only when it does not.
      await this.#feedSignal.wait(this.#leading ? 100 : 1000, this.#stop.signal);
      if (!this.#behind() || this.#stop.signal.aborted) return;
      try {
        await this.#fetchCopy();
        failures = 0;
      } catch (error) {
        this.#failed(error);
        await this.#feedSignal.wait(this.#pause(failures, error), this.#stop.signal);
        failures += 1;
      }
    }
  }

  /* one tab for all */

  async #leadership() {
    while (!this.#stop.signal.aborted) {
      const turn = this.#takeTurn(async (lost) => {
        const over = new AbortController();
        const end = () => over.abort();
        lost.addEventListener('abort', end);
        this.#lead = over;
        this.#leading = true;
        this.#leader = this.#me;
        this.#acknowledged = new Acknowledged(this.#storage, this.#scope, this.#settings);
        await this.#acknowledged.load();
        await this.#loadEntries();
        this.#keepSoon();
        this.#postAlive();
        const pulse = setInterval(() => this.#postAlive(), ALIVE);
        await Promise.all([this.#sendAll(over.signal), this.#follow(over.signal)]);
        clearInterval(pulse);
        this.#leading = false;
        this.#lead = null;
      });
      await turn.catch((error) => {
        this.#leading = false;
        setTimeout(() => {
          throw error; // reported as an error of the page; the next turn begins afresh
        });
      });
      // Another tab may have the token that this one lacks: it gets the turn meanwhile.
      const wait = this.#link.signInNeeded ? 5000 + Math.random() * 5000 : 50;
      await this.#signInSignal.wait(wait, this.#stop.signal);
    }
  }

  /** @param {(lost: AbortSignal) => Promise<void>} work */
  async #takeTurn(work) {
    const lost = new AbortController();
    const locks = globalThis.navigator?.locks;
    const end = () => lost.abort();
    this.#stop.signal.addEventListener('abort', end);
    try {
      if (this.#channel === null) await work(lost.signal);
      else if (locks === undefined) await this.#takeLease(work, lost);
      else await this.#takeLock(locks, work, lost);
    } finally {
      this.#stop.signal.removeEventListener('abort', end);
      lost.abort();
    }
  }

  /** @param {LockManager} locks @param {(lost: AbortSignal) => Promise<void>} work @param {AbortController} lost */
  async #takeLock(locks, work, lost) {
    const waiting = new AbortController();
    const endWaiting = () => waiting.abort();
    lost.signal.addEventListener('abort', endWaiting);
    /** @type {Promise<void>} */
    let working = Promise.resolve();
    let begun = false;
    const begin = () => {
      begun = true;
      working = work(lost.signal);
      return working;
    };
    // The tab that leads may be frozen by the browser. One that people look at does not wait.
    this.#lastAlive = Date.now();
    const watch = setInterval(() => {
      const seen = globalThis.document?.visibilityState !== 'hidden';
      if (begun || !seen || Math.abs(Date.now() - this.#lastAlive) < SILENCE) return;
      this.#steal = true;
      waiting.abort();
    }, 1000);
    const steal = this.#steal;
    this.#steal = false;
    try {
      const how = steal ? { steal } : { signal: waiting.signal };
      await locks.request(`expresso-persist ${this.#scope}`, how, begin);
    } catch {
      // Taken by a tab that people look at, or this one is to take it.
    } finally {
      clearInterval(watch);
      lost.abort();
      await working.catch(() => {});
    }
  }

  /** Without Web Locks, as on plain http. @param {(lost: AbortSignal) => Promise<void>} work @param {AbortController} lost */
  async #takeLease(work, lost) {
    const nobody = new Signal();
    while (!(await this.#renew())) {
      await nobody.wait(1000 + Math.random() * 500, lost.signal);
      if (lost.signal.aborted) return;
    }
    const renewal = setInterval(async () => {
      if (!(await this.#renew())) lost.abort();
    }, LEASE / 3);
    try {
      await work(lost.signal);
    } finally {
      clearInterval(renewal);
    }
  }

  async #renew() {
    // A storage that does not answer keeps nobody from sending.
    return this.#storage.lease(`lead ${this.#scope}`, this.#me).catch(() => true);
  }

  /** @param {object} message */
  #post(message) {
    if (!this.#stop.signal.aborted) this.#channel?.postMessage({ from: this.#me, ...message });
  }

  #postAlive() {
    const revision = this.#behind() ? this.#wanted : this.#copy?.revision ?? 0;
    this.#post({ type: 'alive', link: this.#link, revision });
  }

  /** @param {any} message of another tab */
  #heard(message) {
    if (this.#stop.signal.aborted) return;
    switch (message.type) {
      case 'alive':
        if (this.#leading) return;
        this.#lastAlive = Date.now();
        if (this.#leader !== message.from) {
          this.#leader = message.from;
          for (const id of this.#volatile) {
            this.#post({ type: 'queued', entry: this.#entries.get(id), volatile: true });
          }
        }
        this.#linked(message.link);
        // A tab that slept may have missed messages.
        this.#wanted = Math.max(this.#wanted, message.revision);
        if (this.#behind()) this.#catchUp();
        return;
      case 'queued':
        if (this.#settled.has(message.entry.id)) return;
        this.#entries.set(message.entry.id, message.entry);
        if (message.volatile) this.#volatile.add(message.entry.id);
        this.#sendSignal.notify();
        this.#tell('write', null);
        return;
      case 'offered':
        this.#offered(message.entries);
        return;
      case 'acked':
        this.#acked(message.id, message.answer, message.cursor ?? null);
        return;
      case 'parked':
        if (!this.#entries.has(message.id)) void this.#loadEntries(); // it came while they were read
        this.#refused(message.id, message.error);
        return;
      case 'discarded':
        this.#settled.add(message.id);
        this.#entries.delete(message.id);
        this.#volatile.delete(message.id);
        this.#tellStatus();
        return;
      case 'set-aside':
        this.#linked({ setAside: message.count });
        return;
      case 'who':
        if (this.#leading) this.#postAlive();
        return;
      case 'commits':
        if (!this.#leading) this.#absorb(message.commits, message.cursor);
        return;
      case 'copy':
        if (!this.#leading && (message.reset || message.copy.epoch === this.#copy?.epoch)) {
          this.#adopt(message.copy, message.reset);
        }
        return;
      case 'signed-in':
        this.#signInSignal.notify();
        return;
      default:
    }
  }

  /** There is another token, or the network is back, or people look at the page again. */
  #wake() {
    // After a sleep the timers have slept too, and the connection is rarely alive.
    if (Math.abs(Date.now() - this.#lastChunk) > STREAM_STALE) this.#streaming?.abort();
    this.#signInSignal.notify();
    this.#feedSignal.notify();
    this.#sendSignal.notify();
    const before = this.#summary();
    void this.#loadEntries().then(() => {
      if (this.#summary() !== before) this.#tell('write', null);
    });
  }

  /** @returns {string} */
  #summary() {
    return JSON.stringify(this.#inOrder().map(({ id, key, state }) => [id, key, state]));
  }

  #offline() {
    this.#linked({ online: false, caughtUp: false });
    this.#streaming?.abort();
  }

  signedIn() {
    this.#post({ type: 'signed-in' });
    this.#streaming?.abort(); // it goes on with the new token
    this.#wake();
  }

  /* sending */

  /** @param {AbortSignal} lost */
  async #sendAll(lost) {
    for (let failures = 0; !lost.aborted; ) {
      const entry = this.#inOrder().find(
        (candidate) => candidate.state === 'queued' && !this.#saving.has(candidate.id),
      );
      if (entry === undefined) {
        await this.#sendSignal.wait(60_000, lost);
        continue;
      }
      const unlocked = this.#channel !== null && globalThis.navigator?.locks === undefined;
      if (unlocked && !(await this.#renew())) return this.#lead?.abort();
      /** @type {unknown} */
      let fault = null;
      this.#sending = this.#sendOne(entry).catch((error) => {
        fault = error;
      });
      await this.#sending;
      this.#sending = null;
      if (fault === null) {
        failures = 0;
        continue;
      }
      failures += 1;
      if (statusOf(fault) === 500 && failures >= GIVE_UP && fault instanceof ExpressoPersistError) {
        await this.#park(entry, fault); // a write that the server stumbles over, again and again
        failures = 0;
        continue;
      }
      this.#failed(fault);
      if (lost.aborted) return undefined;
      this.#resolvePending();
      const asked = fault instanceof ExpressoPersistError && fault.retryAfter !== null;
      // A pause that the server asked for is not cut short.
      await (asked ? new Signal() : this.#sendSignal).wait(this.#pause(failures - 1, fault), lost);
    }
    return undefined;
  }

  /** @param {Entry} entry */
  async #sendOne(entry) {
    const since = entry.base ?? this.#acknowledged.position;
    let kept = true;
    try {
      const envelope = await this.#transport.send(entry, since);
      const { revision, message, data, cursor = null, before = null } = envelope;
      const answer = { revision, message: message ?? '', data: data ?? null };
      /** @type {Partial<Entry>} */
      const taken = { state: 'acked', revision, cursor, before, since, ackedAt: Date.now(), base: null, lost: null };
      this.#reached();
      this.#linked({ lastServerAck: Date.now() });
      await this.#edit(entry.id, (stored) => ({ ...stored, ...taken }));
      this.#post({ type: 'acked', id: entry.id, answer, cursor });
      this.#acked(entry.id, answer, cursor);
      kept = this.#acknowledged.took({ ...entry, ...taken });
    } catch (error) {
      if (error instanceof ExpressoPersistError && error.code === 'timeline_lost') {
        await this.#heal(); // what was lost goes first; then this
      }
      if (!isRefusal(error)) throw error;
      this.#reached();
      await this.#park(entry, error);
    }
    if (!kept) await this.#heal();
  }

  /** @param {Entry} entry @param {ExpressoPersistError} fault */
  async #park(entry, fault) {
    const { message, code, status, details, data } = fault;
    const error = { message, code, status, details, data };
    await this.#edit(entry.id, (stored) => ({ ...stored, state: 'parked', error }));
    this.#post({ type: 'parked', id: entry.id, error });
    this.#refused(entry.id, error);
  }

  /** @param {string} id @param {Written} answer @param {string | null} cursor */
  #acked(id, answer, cursor) {
    const entry = this.#entries.get(id);
    this.#settled.add(id);
    this.#outcomes.get(id)?.resolve(answer);
    this.#outcomes.delete(id);
    if (entry === undefined) return;
    this.#entries.set(id, { ...entry, state: 'acked', revision: answer.revision, cursor });
    this.#forgetDone();
    this.#view = null;
    this.#keepSoon();
    this.#feedSignal.notify(); // where the feed is polled
    this.#tellStatus();
  }

  /** @param {string} id @param {Refusal} refusal */
  #refused(id, refusal) {
    const entry = this.#entries.get(id);
    const error = new ExpressoPersistError(refusal.message, refusal);
    error.parked = id;
    if (entry !== undefined) this.#entries.set(id, { ...entry, state: 'parked', error: refusal });
    this.#outcomes.get(id)?.reject(error);
    this.#outcomes.delete(id);
    this.#tell('refused', null);
  }

  /* what the server lost */

  /** Put what the server lost back into the outbox; one at a time. */
  #heal() {
    this.#healing ??= this.#healed().finally(() => {
      this.#healing = null;
    });
    return this.#healing;
  }

  async #healed() {
    const { signal } = this.#stop;
    const { epoch, offers } = await this.#acknowledged.heal(async (since) => {
      const path = `${CHANGES}?since=${encodeURIComponent(since)}&limit=1`;
      return (await this.#transport.read(path, null, signal)).data;
    });
    const aside = await this.#acknowledged.aside(epoch);
    this.#linked({ setAside: aside.length });
    this.#offered(offers);
    if (offers.length > 0) this.#post({ type: 'offered', entries: offers });
    this.#keepSoon();
  }

  /** @param {Entry[]} entries that are offered again */
  #offered(entries) {
    if (entries.length === 0) return;
    for (const entry of entries) {
      this.#settled.delete(entry.id);
      this.#entries.set(entry.id, entry);
    }
    this.#tell('write', null);
    this.#sendSignal.notify();
  }

  /** What was refused because something was missing, which has come now. @param {Commit[]} commits */
  async #offerAgain(commits) {
    if (!commits.some(({ changes }) => changes.some(({ before }) => before === null))) return;
    const waiting = this.#inOrder().filter(
      ({ state, cursor, error }) => state === 'parked' && cursor != null && error?.status === 404,
    );
    const entries = waiting.map((entry) => ({
      ...entry,
      state: /** @type {const} */ ('queued'),
      error: null,
    }));
    if (entries.length === 0) return;
    for (const entry of entries) await this.#edit(entry.id, () => entry);
    this.#offered(entries);
    this.#post({ type: 'offered', entries });
  }

  /** @returns {Promise<Entry[]>} the writes that another store took */
  async #otherStores() {
    await this.start();
    await this.#contact; // until then the copy may be that of the other store
    const epoch = this.#copy?.epoch ?? null;
    if (epoch === null) return [];
    return new Acknowledged(this.#storage, this.#scope, this.#settings).aside(epoch);
  }

  /** @returns {Promise<Parked[]>} */
  async setAside() {
    return (await this.#otherStores()).map(({ id, path, body, at }) => ({
      id,
      path,
      body: JSON.parse(body),
      at,
      error: null,
    }));
  }

  /** @param {string[] | undefined} ids all where left out @param {boolean} send or let go of them */
  async resolveSetAside(ids, send) {
    const all = await this.#otherStores();
    const chosen = all.filter(({ id }) => ids === undefined || ids.includes(id));
    if (send) {
      const entries = chosen.map((entry) => ({
        ...entry,
        state: /** @type {const} */ ('queued'),
        cursor: null,
        revision: null,
      }));
      await this.#storage.move(this.#scope, entries);
      this.#offered(entries);
      this.#post({ type: 'offered', entries });
    } else await this.#storage.move(this.#scope, [], chosen.map(({ id }) => id));
    this.#linked({ setAside: all.length - chosen.length });
    this.#post({ type: 'set-aside', count: all.length - chosen.length });
  }

  /* following */

  /** @param {AbortSignal} lost */
  async #follow(lost) {
    let failures = 0;
    let streamAt = 0;
    let waitAt = 0;
    let cursor = '';
    let brief = 0;
    while (!lost.aborted) {
      try {
        if (this.#copy === null) await this.#fetchCopy();
        cursor = cursor || (await this.#followFrom(/** @type {Copy | null} */ (this.#copy)?.cursor ?? ''));
        cursor = await this.#page(cursor, 0, lost);
        failures = 0;
        if (lost.aborted) return;
        if (Date.now() >= streamAt) {
          const began = Date.now();
          try {
            cursor = await this.#stream(cursor, lost);
            brief = Date.now() - began < 3000 ? brief + 1 : 0;
            if (brief >= 3) streamAt = Date.now() + 60_000;
            // Many who were cut at once do not come back at once.
            await this.#feedSignal.wait(Math.min(3000, 200 * 2 ** brief) * (0.5 + Math.random()), lost);
          } catch (error) {
            const pause = streamPause(error);
            if (pause === null) throw error;
            streamAt = Date.now() + pause * (0.75 + Math.random() / 2);
          }
        } else if (Date.now() >= waitAt) {
          const began = Date.now();
          this.#linked({ feed: 'long-poll', online: true, caughtUp: true });
          const after = await this.#page(cursor, LONG_POLL, lost);
          if (after === cursor && Date.now() - began < 1000) waitAt = Date.now() + NO_STREAM;
          cursor = after;
        } else {
          this.#linked({ feed: 'poll', online: true, caughtUp: true });
          const { pollInterval } = this.#settings;
          await this.#feedSignal.wait(pollInterval * (0.75 + Math.random() / 2), lost);
        }
      } catch (error) {
        if (lost.aborted) return;
        this.#linked({ caughtUp: false });
        this.#failed(error);
        await this.#feedSignal.wait(this.#pause(failures, error), lost);
        failures += 1;
      }
    }
  }

  /** @param {string} copied the cursor of the copy @returns {Promise<string>} where to follow from */
  async #followFrom(copied) {
    const from = this.#acknowledged.from(copied);
    if (from === null) {
      await this.#heal();
      this.#acknowledged.begin(copied);
      return copied;
    }
    // The tab that led before may have come further than the copy.
    this.#wanted = Math.max(this.#wanted, revisionOf(from));
    if (this.#behind()) this.#catchUp();
    const aside = await this.#acknowledged.aside(partsOf(from).epoch);
    this.#linked({ setAside: aside.length });
    return from;
  }

  /**
   * Read what came after a cursor, to the end.
   * @param {string} cursor
   * @param {number} wait seconds that the server may wait for something
   * @param {AbortSignal} lost
   */
  async #page(cursor, wait, lost) {
    for (let more = true; more && !lost.aborted; wait = 0) {
      const since = encodeURIComponent(cursor);
      const path = `${CHANGES}?since=${since}&limit=500${wait > 0 ? `&wait=${wait}` : ''}`;
      const timeout = wait > 0 ? (wait + 15) * 1000 : undefined;
      const { ahead } = this.#acknowledged; // what is taken while this is read may not be in it
      const { data } = await this.#transport.read(path, null, lost, timeout);
      if (lost.aborted) return cursor;
      this.#reached();
      // It ends before what the server took: that is lost, and nothing has taken its place yet.
      if (data.reset === true || (data.has_more !== true && ahead > revisionOf(data.cursor))) {
        cursor = await this.#reset();
        continue;
      }
      await this.#take(data.commits, data.cursor);
      cursor = data.cursor;
      more = data.has_more === true;
    }
    return cursor;
  }

  /** @returns {Promise<string>} where to go on */
  async #reset() {
    this.#linked({ caughtUp: false });
    await this.#heal();
    await this.#fetchCopy(true);
    const cursor = /** @type {Copy | null} */ (this.#copy)?.cursor ?? '';
    this.#acknowledged.begin(cursor);
    return cursor;
  }

  /** @param {Commit[]} commits @param {string} cursor */
  async #take(commits, cursor) {
    if (commits.length === 0) return;
    // The commit of a write may come before the answer to it. Its guess is to go first.
    if (this.#sending !== null) await Promise.race([this.#sending, sleep(HOLD)]);
    if (!this.#acknowledged.passed(commits, cursor)) {
      await this.#heal();
      this.#acknowledged.passed(commits, cursor);
    }
    this.#keepSoon();
    this.#absorb(commits, cursor);
    if (this.#leading) this.#post({ type: 'commits', commits, cursor });
    await this.#offerAgain(commits);
  }

  /** @param {string} cursor @param {AbortSignal} lost @returns {Promise<string>} where it ended */
  async #stream(cursor, lost) {
    const streaming = new AbortController();
    const end = () => streaming.abort();
    lost.addEventListener('abort', end);
    this.#streaming = streaming;
    this.#lastChunk = Date.now();
    let begun = false;
    let held = false;
    let timer = setTimeout(() => {
      held = true;
      end();
    }, FIRST_BYTE);
    try {
      const since = encodeURIComponent(cursor);
      const response = await this.#transport.stream(`${STREAM}?since=${since}`, streaming.signal);
      const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
      const parser = new EventParser();
      for (;;) {
        const { done, value } = (await reader?.read()) ?? { done: true, value: undefined };
        if (done || lost.aborted) return cursor;
        clearTimeout(timer);
        timer = setTimeout(end, STREAM_SILENCE);
        this.#lastChunk = Date.now();
        this.#reached();
        if (!begun) this.#linked({ feed: 'stream', caughtUp: true });
        begun = true;
        /** @type {Commit[]} */
        let commits = [];
        for (const { event, id, data } of parser.push(value)) {
          if (event === 'commit') {
            commits.push(data);
            cursor = id ?? cursor;
          } else if (event === 'reset') {
            commits = [];
            cursor = await this.#reset();
            this.#linked({ caughtUp: true });
          } else if (event === 'end') {
            await this.#take(commits, cursor);
            return cursor;
          }
        }
        await this.#take(commits, cursor);
      }
    } catch (error) {
      if (error instanceof ExpressoPersistError) throw error;
      if (held) {
        throw new ExpressoPersistError('Something on the way holds the stream back.', {
          code: 'no_stream',
          cause: error,
        });
      }
      return cursor; // cut; what was missed is read from the cursor
    } finally {
      clearTimeout(timer);
      lost.removeEventListener('abort', end);
      this.#streaming = null;
      streaming.abort();
    }
  }

  /* how it goes */

  #reached() {
    const back = this.#link.online === false;
    this.#linked({ online: true, signInNeeded: false });
    if (back) this.#sendSignal.notify();
  }

  /** @param {unknown} error */
  #failed(error) {
    const status = statusOf(error);
    if (status === 401) {
      this.#linked({ signInNeeded: true, caughtUp: false });
      this.#resolvePending();
      this.#lead?.abort();
    } else this.#linked({ online: status >= 400 && status < 500 && !isStranger(error) });
  }

  /** @param {number} failures @param {unknown} [error] @returns {number} milliseconds */
  #pause(failures, error) {
    const asked = error instanceof ExpressoPersistError ? error.retryAfter : null;
    if (asked !== null) return Math.min(asked, LONGEST) * 1000 * (1 + Math.random() / 4);
    const { retryDelay, maxRetryDelay } = this.#settings;
    return Math.min(maxRetryDelay, retryDelay * 2 ** failures) * (0.5 + Math.random() / 2);
  }
}

/** @param {Event} event */
function askBeforeClosing(event) {
  event.preventDefault();
  event.returnValue = true; // what Safari goes by
}
