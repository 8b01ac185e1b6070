/** The local copy and the outbox, in one of the open tabs for all. */

import { Parts } from './parts.js';
import { StatusNotifier } from './status.js';
import { MemoryStorage, openStorage } from './storage.js';
import { callAll } from './values.js';
/** @import { Change, Commit, LiveSettings, OutboxStorage, Parked, Status, Transport, WriteOptions, Written } from './types.js' */

const ALIVE = 2500;

/** What the application may ask of the live client; starts its parts, and brings them news. */
export class Live {
  /** @type {string} */ #scope;
  /** @type {Parts} */ #parts;
  #stop = new AbortController();
  /** @type {Promise<void> | null} */ #starting = null;
  /** @type {OutboxStorage} */ #storage = new MemoryStorage();
  /** @type {Set<(change: Change) => void>} */ #changeListeners = new Set();
  /** @type {StatusNotifier} */ #statusListeners;

  /** @param {string} scope @param {Transport} transport @param {LiveSettings} settings */
  constructor(scope, transport, settings) {
    this.#scope = scope;
    this.#statusListeners = new StatusNotifier(settings.warnOnClose);
    this.#parts = new Parts({
      ...{ scope, transport, settings, stop: this.#stop.signal },
      started: () => this.start(),
      changed: (reason, changes) => this.#changed(reason, changes),
      linkChanged: () => {
        if (this.#parts.leader.leading) this.#postAlive();
        this.#notifyStatus();
      },
      lead: (lost) => this.#lead(lost),
    });
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
    const opened = this.#open();
    this.#parts.replica.connect(opened);
    await opened;
    const { signal } = this.#stop;
    const listen = (/** @type {any} */ target, /** @type {string} */ name, /** @type {() => void} */ act) =>
      target?.addEventListener?.(name, act, { signal });
    listen(globalThis, 'online', () => this.#wake());
    listen(globalThis, 'offline', () => this.#offline());
    listen(globalThis, 'pageshow', () => this.#wake());
    listen(globalThis.document, 'visibilitychange', () => {
      if (globalThis.document.visibilityState === 'visible') this.#wake();
    });
    void this.#parts.leader.run();
    this.#parts.tabs.post({ type: 'who' }); // the next sign of life may take a while
    this.#notifyStatus();
  }

  async #open() {
    this.#storage = await openStorage();
    this.#parts.recovery.open(this.#storage);
    this.#parts.leader.open(this.#storage);
    this.#parts.tabs.open((message) => this.#receive(message));
    await this.#parts.outbox.open(this.#storage);
    await this.#parts.replica.open(this.#storage);
  }

  /** What the tab that leads does for all. @param {AbortSignal} lost */
  async #lead(lost) {
    await this.#parts.recovery.load();
    await this.#parts.outbox.load();
    this.#parts.replica.keepSoon();
    this.#postAlive();
    const pulse = setInterval(() => this.#postAlive(), ALIVE);
    try {
      await Promise.all([this.#parts.sender.run(lost), this.#parts.feed.follow(lost)]);
    } finally {
      clearInterval(pulse);
    }
  }

  /** End everything in this tab; what is not sent stays in the outbox. @param {boolean} forget */
  async stop(forget) {
    this.#stop.abort();
    this.#parts.leader.resign();
    this.#parts.feed.cut();
    this.#parts.replica.close();
    this.#statusListeners.close();
    this.#parts.tabs.close();
    await this.#starting?.catch(() => {});
    if (forget) await this.#storage.forget(this.#scope).catch(() => {});
  }

  /* reading */

  /** @returns {Promise<any>} the documents with what is not sent yet; copy it before you hand it out */
  async data() {
    await this.start();
    return this.#parts.replica.data();
  }

  /** Ask the server now. */
  async refresh() {
    await this.start();
    await this.#parts.replica.fetch();
    return this.#parts.replica.view();
  }

  /** @returns {{data: any, view: any, revision: number, epoch: string, caughtUp: boolean} | null} */
  peek() {
    const { copy } = this.#parts.replica;
    if (copy === null) return null;
    const { data, revision, epoch } = copy;
    return { data, view: this.#parts.replica.view(), revision, epoch, caughtUp: this.status().caughtUp };
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

  /** @returns {boolean} the copy is the server's state, or was a moment ago */
  isFresh() {
    const { online, caughtUp } = this.status();
    return caughtUp || (online && this.#parts.replica.isRecent);
  }

  /* writing */

  /** @param {string} path @param {string} body @param {WriteOptions} options @returns {Promise<Written>} */
  async write(path, body, options) {
    return this.#parts.outbox.write(path, body, options);
  }

  /** @returns {Parked[]} */
  parked() {
    return this.#parts.outbox.entries.parked();
  }

  /** @param {string} id @param {string} [body] another one @returns {Promise<Written>} */
  async unpark(id, body) {
    await this.start();
    return this.#parts.outbox.unpark(id, body);
  }

  /** @param {string} id */
  async discard(id) {
    await this.start();
    await this.#parts.outbox.discard(id);
  }

  /** @returns {Promise<Parked[]>} the writes that another store took */
  async setAside() {
    const entries = await this.#parts.recovery.aside(await this.#epoch());
    return entries.map(({ id, path, body, at }) => ({ id, path, body: JSON.parse(body), at, error: null }));
  }

  /** @param {string[] | undefined} ids all where left out @param {boolean} send or drop them */
  async resolveSetAside(ids, send) {
    await this.#parts.recovery.resolveAside(await this.#epoch(), ids, send);
  }

  /** @returns {Promise<string | null>} of this store */
  async #epoch() {
    await this.start();
    await this.#parts.replica.contact; // until then the copy may be that of the other store
    return this.#parts.replica.copy?.epoch ?? null;
  }

  /* how it goes */

  /** @param {(change: Change) => void} listener */
  onChange(listener) {
    this.#changeListeners.add(listener);
    return () => void this.#changeListeners.delete(listener);
  }

  /** @param {(status: Status) => void} listener */
  onStatus(listener) {
    return this.#statusListeners.add(listener);
  }

  /** @param {Change['reason'] | null} reason @param {Commit['changes'] | null} changes */
  #changed(reason, changes) {
    this.#parts.replica.forgetView();
    const revision = this.#parts.replica.copy?.revision ?? null;
    if (reason !== null) callAll(this.#changeListeners, { reason, changes, revision });
    this.#notifyStatus();
  }

  /** @returns {Status} */
  status() {
    const { settled, ...figures } = this.#parts.outbox.figures();
    const { online, caughtUp, ...link } = this.#parts.link.state;
    const isOnline = online === true;
    return {
      ...figures,
      ...link,
      online: isOnline,
      caughtUp: isOnline && caughtUp && settled && !this.#parts.replica.behind,
    };
  }

  #notifyStatus() {
    this.#statusListeners.notify(this.status());
  }

  /* the other tabs, and the browser */

  #postAlive() {
    this.#parts.tabs.post({ type: 'alive', link: this.#parts.link.state, revision: this.#parts.replica.newest });
  }

  /** @param {any} message of another tab */
  #receive(message) {
    const { leading } = this.#parts.leader;
    if (message.type === 'alive' && !leading) this.#follow(message);
    else if (message.type === 'who' && leading) this.#postAlive();
    else if (message.type === 'commits' && !leading) this.#parts.replica.absorb(message.commits, message.cursor);
    else if (message.type === 'copy' && !leading) this.#parts.replica.adoptFrom(message.copy, message.reset);
    else if (message.type === 'set-aside') this.#parts.link.update({ setAside: message.count });
    else if (message.type === 'signed-in') this.#parts.leader.hurry();
    else this.#parts.outbox.receive(message);
  }

  /** @param {any} alive from the tab that leads */
  #follow({ from, link, revision }) {
    if (this.#parts.leader.sawAlive(from)) this.#parts.outbox.postVolatile();
    this.#parts.link.update(link);
    this.#parts.replica.want(revision); // a tab that slept may have missed messages
  }

  /** There is another token, or the network is back, or people look at the page again. */
  #wake() {
    this.#parts.feed.cutIfStale();
    this.#parts.leader.hurry();
    this.#parts.wake.notify();
    this.#parts.outbox.ready.notify();
    const before = this.#parts.outbox.entries.summary();
    void this.#parts.outbox.load().then(() => {
      if (this.#parts.outbox.entries.summary() !== before) this.#changed('write', null);
    });
  }

  #offline() {
    this.#parts.link.update({ online: false, caughtUp: false });
    this.#parts.feed.cut();
  }

  signedIn() {
    this.#parts.tabs.post({ type: 'signed-in' });
    this.#parts.feed.cut(); // it goes on with the new token
    this.#wake();
  }
}
