/** What the server took and lost goes back into the outbox. */

import { Acknowledged } from './acknowledged.js';
import { CHANGES } from './paths.js';
import { MemoryStorage } from './storage.js';
/** @import { Link } from './link.js' */
/** @import { Entry, LiveSettings, OutboxStorage, Transport } from './types.js' */

/**
 * What a recovery asks of its surroundings.
 *
 * @typedef {object} RecoveryContext
 * @property {string} scope
 * @property {LiveSettings} settings
 * @property {Transport} transport
 * @property {Link} link
 * @property {AbortSignal} stop
 * @property {(entries: Entry[]) => void} offer Send them again.
 * @property {() => void} keepSoon Store the positions before long.
 * @property {(message: {type: string, [part: string]: any}) => void} post To the other tabs.
 */

/** Finds what the server lost, one search at a time; and keeps apart what another store took. */
export class Recovery {
  /** @type {RecoveryContext} */ #context;
  /** @type {OutboxStorage} */ #storage = new MemoryStorage();
  /** @type {Acknowledged} of the tab that leads */ #acknowledged;
  /** @type {Promise<void> | null} */ #healing = null;

  /** @param {RecoveryContext} context */
  constructor(context) {
    this.#context = context;
    this.#acknowledged = this.#fresh();
  }

  #fresh() {
    return new Acknowledged(this.#storage, this.#context.scope, this.#context.settings);
  }

  /** @param {OutboxStorage} storage */
  open(storage) {
    this.#storage = storage;
  }

  /** Begin a turn with what an earlier page, or another tab, left. */
  async load() {
    this.#acknowledged = this.#fresh();
    await this.#acknowledged.load();
  }

  /** @returns {Acknowledged} as it is in this turn */
  get acknowledged() {
    return this.#acknowledged;
  }

  /** Put what the server lost back into the outbox. */
  heal() {
    this.#healing ??= this.#heal().finally(() => {
      this.#healing = null;
    });
    return this.#healing;
  }

  async #heal() {
    const { keepSoon, offer, stop, transport } = this.#context;
    const { epoch, offers } = await this.#acknowledged.heal(async (since) => {
      const path = `${CHANGES}?since=${encodeURIComponent(since)}&limit=1`;
      return (await transport.read(path, null, stop)).data;
    });
    await this.countAside(epoch);
    offer(offers);
    keepSoon();
  }

  /** @param {string} epoch */
  async countAside(epoch) {
    const aside = await this.#acknowledged.aside(epoch);
    this.#context.link.update({ setAside: aside.length });
  }

  /** @param {string | null} epoch of this store @returns {Promise<Entry[]>} the writes that another one took */
  async aside(epoch) {
    return epoch === null ? [] : this.#fresh().aside(epoch);
  }

  /**
   * @param {string | null} epoch of this store
   * @param {string[] | undefined} ids all where left out
   * @param {boolean} send or drop them
   */
  async resolveAside(epoch, ids, send) {
    const { link, offer, post, scope } = this.#context;
    const all = await this.aside(epoch);
    const chosen = all.filter(({ id }) => ids === undefined || ids.includes(id));
    if (send) {
      /** @type {Entry[]} */
      const entries = chosen.map((entry) => ({ ...entry, state: 'queued', cursor: null, revision: null }));
      await this.#storage.move(scope, entries);
      offer(entries);
    } else await this.#storage.move(scope, [], chosen.map(({ id }) => id));
    const count = all.length - chosen.length;
    link.update({ setAside: count });
    post({ type: 'set-aside', count });
  }
}
