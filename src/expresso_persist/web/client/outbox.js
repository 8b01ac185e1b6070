/** The writes that the server does not have yet, and those that it refused. */

import { Entries } from './entries.js';
import { ExpressoPersistError } from './errors.js';
import { Outcomes } from './outcomes.js';
import { Signal } from './signal.js';
import { MemoryStorage } from './storage.js';
import { randomKey, sleep } from './values.js';
/** @import { Commit, Copy, Entry, OutboxStorage, Parked, Refusal, WriteOptions, Written } from './types.js' */

const UNSENT = {
  revision: null,
  data: null,
  pending: true,
  message: 'Kept on this device; it is sent as soon as the server can be reached.',
};

/**
 * What an outbox asks of its surroundings.
 *
 * @typedef {object} OutboxContext
 * @property {string} scope
 * @property {number} patience Milliseconds until a write answers that it is not sent yet.
 * @property {() => Promise<void>} started The storage is open.
 * @property {() => Copy | null} copy It says which acknowledged writes are done.
 * @property {() => boolean} offline
 * @property {(message: {type: string, [part: string]: any}) => void} post To the other tabs.
 * @property {(reason: 'write' | 'refused' | null) => void} changed With null, nothing but the status.
 * @property {() => void} acked The server took a write.
 */

/** Entries in the order of all tabs: in memory, and in the storage that outlives the page. */
export class Outbox {
  entries = new Entries();
  /** Notified when there may be something to send. */
  ready = new Signal();
  /** @type {OutboxContext} */ #context;
  /** @type {OutboxStorage} */ #storage = new MemoryStorage();
  #outcomes = new Outcomes();

  /** @param {OutboxContext} context */
  constructor(context) {
    this.#context = context;
  }

  /** @param {OutboxStorage} storage */
  async open(storage) {
    this.#storage = storage;
    await this.load();
  }

  /** Read what other tabs or an earlier page left in the storage. */
  async load() {
    const { scope } = this.#context;
    const missing = await this.entries.merge((known) =>
      this.#storage.entries(scope).catch(() => known),
    );
    for (const id of missing) {
      const entry = this.entries.get(id);
      if (entry === undefined) this.entries.notSaved(id);
      else await this.#save(entry);
    }
    this.forgetDone();
    this.#context.changed(null);
  }

  /** What a status says of it. */
  figures() {
    const { kind } = this.#storage;
    const { kept, ...figures } = this.entries.figures(this.#context.copy());
    return { ...figures, storage: kind, durable: kind !== 'memory' && kept };
  }

  /** Drop what the local copy has. */
  forgetDone() {
    this.entries.forgetDone(this.#context.copy());
  }

  /* what callers do with it */

  /**
   * @param {string} path
   * @param {string} body
   * @param {WriteOptions} options
   * @returns {Promise<Written>}
   */
  async write(path, body, options) {
    const id = options.idempotencyKey ?? randomKey();
    const known = this.entries.get(id);
    if (known !== undefined) return this.#again(known, path, body);
    const { scope } = this.#context;
    /** @type {Entry} */
    const entry = {
      ...{ scope, id, key: id, path, body, ifMatch: options.ifMatch ?? null, at: Date.now() },
      ...{ seq: Number.MAX_SAFE_INTEGER, state: 'queued', error: null, revision: null, cursor: null },
    };
    this.entries.make(entry);
    const outcome = this.#outcomes.of(id);
    this.#context.changed('write');
    await this.#context.started();
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
    return this.#patiently(this.#outcomes.of(known.id));
  }

  /** @param {Entry} entry */
  async #save(entry) {
    try {
      entry.seq = await this.#storage.add(entry);
      this.entries.saved(entry.id, true);
    } catch (error) {
      if (error instanceof DOMException && error.name === 'ConstraintError') {
        this.entries.notSaved(entry.id);
        await this.load(); // another tab has it, or had it
        return;
      }
      // Full, or taken away: held in memory, sent all the same, and `durable` says so.
      entry.seq = this.entries.placeAtEnd();
      this.entries.saved(entry.id, false);
    }
    this.#context.post({ type: 'queued', entry, volatile: this.entries.isVolatile(entry.id) });
    this.ready.notify();
    this.#context.changed(null);
  }

  /** @param {Promise<any>} outcome @returns {Promise<any>} it, or that it will take longer */
  async #patiently(outcome) {
    const patience = this.#context.offline() ? 0 : this.#context.patience;
    return Promise.race([outcome, sleep(patience).then(() => ({ ...UNSENT }))]);
  }

  /** Answer the callers who wait that it takes longer. */
  resolvePending() {
    for (const id of this.#outcomes.ids()) {
      if (this.entries.isQueued(id)) this.#outcomes.resolve(id, { ...UNSENT });
    }
  }

  /**
   * Send a refused write again.
   * @param {string} id
   * @param {string} [body] another one: then it is another write, with a key of its own
   * @returns {Promise<Written>}
   */
  async unpark(id, body) {
    const parked = this.#parkedEntry(id);
    const edits = body === undefined ? {} : { body, key: randomKey(), ifMatch: null };
    /** @type {Entry} People decided: it is offered no more, but sent. */
    const entry = { ...parked, ...edits, state: 'queued', error: null, cursor: null, base: null, lost: null };
    this.entries.set(entry);
    const outcome = this.#outcomes.of(id);
    this.#context.changed('write');
    await this.#edit(id, () => entry);
    this.#context.post({ type: 'queued', entry });
    this.ready.notify();
    return this.#patiently(outcome);
  }

  /** @param {string} id of a refused write */
  async discard(id) {
    this.#parkedEntry(id);
    this.#discarded(id);
    await this.#edit(id, (entry) => (entry.state === 'parked' ? null : entry));
    this.#context.post({ type: 'discarded', id });
  }

  /** @param {string} id @returns {Entry} */
  #parkedEntry(id) {
    const entry = this.entries.get(id);
    if (entry?.state === 'parked') return entry;
    throw new ExpressoPersistError('There is no refused write of this name any more.', {
      code: 'not_found',
    });
  }

  /** @param {string} id @param {(entry: Entry) => Entry | null} edit */
  async #edit(id, edit) {
    try {
      await this.#storage.edit(this.#context.scope, id, edit);
    } catch {
      // The storage went away. Memory has it; a repetition after a reload does no harm.
    }
  }

  /* what becomes of them */

  /** The server took a write. @param {string} id @param {Partial<Entry>} taken @param {Written} answer */
  async acknowledge(id, taken, answer) {
    const cursor = taken.cursor ?? null;
    await this.#edit(id, (stored) => ({ ...stored, ...taken }));
    this.#context.post({ type: 'acked', id, answer, cursor });
    this.#acked(id, answer, cursor);
  }

  /** @param {string} id @param {Written} answer @param {string | null} cursor */
  #acked(id, answer, cursor) {
    const entry = this.entries.get(id);
    this.entries.settle(id);
    this.#outcomes.resolve(id, answer);
    if (entry === undefined) return;
    this.entries.set({ ...entry, state: 'acked', revision: answer.revision, cursor });
    this.forgetDone();
    this.#context.acked();
  }

  /** The server refused a write. @param {string} id @param {ExpressoPersistError} fault */
  async park(id, { message, code, status, details, data }) {
    const error = { message, code, status, details, data };
    await this.#edit(id, (stored) => ({ ...stored, state: 'parked', error }));
    this.#context.post({ type: 'parked', id, error });
    this.#refused(id, error);
  }

  /** @param {string} id @param {Refusal} refusal */
  #refused(id, refusal) {
    const entry = this.entries.get(id);
    const error = new ExpressoPersistError(refusal.message, refusal);
    error.parked = id;
    if (entry !== undefined) this.entries.set({ ...entry, state: 'parked', error: refusal });
    this.#outcomes.reject(id, error);
    this.#context.changed('refused');
  }

  /** @param {string} id */
  #discarded(id) {
    this.entries.discard(id);
    this.#context.changed(null);
  }

  /** Send writes again that are stored as queued. @param {Entry[]} entries */
  offer(entries) {
    if (entries.length === 0) return;
    this.#offered(entries);
    this.#context.post({ type: 'offered', entries });
  }

  /** @param {Entry[]} entries */
  #offered(entries) {
    for (const entry of entries) this.entries.reopen(entry);
    this.#context.changed('write');
    this.ready.notify();
  }

  /** Offer what was refused because something was missing that has come now. @param {Commit[]} commits */
  async offerAgain(commits) {
    if (!commits.some(({ changes }) => changes.some(({ before }) => before === null))) return;
    const waiting = this.entries.inOrder().filter(
      ({ state, cursor, error }) => state === 'parked' && cursor != null && error?.status === 404,
    );
    /** @type {Entry[]} */
    const entries = waiting.map((entry) => ({ ...entry, state: 'queued', error: null }));
    for (const entry of entries) await this.#edit(entry.id, () => entry);
    this.offer(entries);
  }

  /* the other tabs */

  /** Tell another tab that leads now what no storage holds. */
  postVolatile() {
    for (const entry of this.entries.volatile()) {
      this.#context.post({ type: 'queued', entry, volatile: true });
    }
  }

  /** @param {any} message of another tab */
  receive(message) {
    switch (message.type) {
      case 'queued':
        if (this.entries.isSettled(message.entry.id)) return;
        this.entries.set(message.entry);
        if (message.volatile) this.entries.setVolatile(message.entry.id);
        this.ready.notify();
        this.#context.changed('write');
        return;
      case 'offered':
        this.#offered(message.entries);
        return;
      case 'acked':
        this.#acked(message.id, message.answer, message.cursor ?? null);
        return;
      case 'parked':
        if (this.entries.get(message.id) === undefined) void this.load(); // it came while they were read
        this.#refused(message.id, message.error);
        return;
      case 'discarded':
        this.#discarded(message.id);
        return;
      default:
    }
  }
}
