/** Starting, stopping, and how it goes. */

import { copy } from './values.js';
/** @import { Connection } from './connection.js' */
/** @import { Change, JsonObject, Parked, ServiceOptions, Status, Written } from './types.js' */

/** @type {Status} */
const NOT_STARTED = {
  online: false,
  pending: 0,
  parked: 0,
  oldestPendingAge: null,
  lastServerAck: null,
  setAside: 0,
  caughtUp: false,
  signInNeeded: false,
  feed: 'off',
  storage: 'memory',
  durable: false,
};

/** The live client and its outbox, as applications see them. */
export class LiveControl {
  /** @type {Connection} */ #connection;

  /** @param {Connection} connection */
  constructor(connection) {
    this.#connection = connection;
  }

  /** Change how the service works; what is left out stays. @param {ServiceOptions} options */
  configure(options) {
    this.#connection.configure(options);
    return this;
  }

  /** Use this bearer token from now on; null goes back to looking for one. @param {string | null} token */
  setToken(token) {
    return this.configure({ token });
  }

  get baseUrl() {
    return this.#connection.options.baseUrl;
  }

  /**
   * From now on keep a local copy fresh, and keep writes until the server has them.
   * @param {ServiceOptions} [options]
   * @returns {Promise<void>} once the writes of earlier visits are there; needs no network
   */
  async start(options) {
    if (options !== undefined) this.configure(options);
    await this.#connection.start();
  }

  /**
   * Go back to one request per call in this tab. Unsent writes stay in the outbox.
   * @param {{forget?: boolean}} [options] `forget`: also delete the local copy, when somebody
   *   signs out; the outbox is never deleted
   */
  async stop(options = {}) {
    await this.#connection.stop(options.forget ?? false);
  }

  /**
   * Call a listener when what the readers answer has changed; starts the feed.
   * @param {(change: Change) => void} listener
   * @returns {() => void} ends it
   */
  onChange(listener) {
    this.#connection.changeListeners.add(listener);
    void this.start();
    return () => void this.#connection.changeListeners.delete(listener);
  }

  /**
   * Call a listener when {@link status} has changed in more than the age.
   * @param {(status: Status) => void} listener
   * @returns {() => void} ends it
   */
  onStatus(listener) {
    this.#connection.statusListeners.add(listener);
    return () => void this.#connection.statusListeners.delete(listener);
  }

  /** @returns {Status} */
  status() {
    return this.#connection.live?.status() ?? { ...NOT_STARTED };
  }

  /** @returns {Parked[]} the writes that the server refused, in the order they were made */
  parked() {
    return copy(this.#connection.live?.parked() ?? []);
  }

  /** Send a refused write again as it is. @param {string} id @returns {Promise<Written>} */
  async retryParked(id) {
    return this.#connection.started.unpark(id);
  }

  /**
   * Send a refused write with another body, in its old place.
   * @param {string} id
   * @param {JsonObject} body
   * @returns {Promise<Written>}
   */
  async editParked(id, body) {
    return this.#connection.started.unpark(id, JSON.stringify(body));
  }

  /** Let go of a refused write. @param {string} id */
  async discardParked(id) {
    await this.#connection.started.discard(id);
  }

  /**
   * The writes that another store acknowledged, which stood at this address before. Whether this
   * one should have them people decide: it may have been filled from a backup that has them.
   * @returns {Promise<Parked[]>}
   */
  async setAside() {
    return copy(await this.#connection.started.setAside());
  }

  /** Send them to this store. @param {string[]} [ids] all where left out */
  async sendSetAside(ids) {
    await this.#connection.started.resolveSetAside(ids, true);
  }

  /** Let go of them. @param {string[]} [ids] all where left out */
  async discardSetAside(ids) {
    await this.#connection.started.resolveSetAside(ids, false);
  }
}
