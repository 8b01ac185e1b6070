/** Whether the server can be reached. */

import { isStranger, statusOf } from './failures.js';
import { sameJson } from './values.js';
/** @import { LinkState } from './types.js' */

/**
 * What this tab knows about the server: by its own requests, or from the tab that leads.
 *
 * @typedef {object} LinkListener
 * @property {(now: LinkState) => void} changed
 * @property {() => void} back The server answers again.
 * @property {() => void} refused It does not accept the token.
 */
export class Link {
  /** @type {LinkState} */
  #state = { online: null, caughtUp: false, feed: 'off', signInNeeded: false, lastServerAck: null, setAside: 0 };
  /** @type {LinkListener} */ #listener;

  /** @param {LinkListener} listener */
  constructor(listener) {
    this.#listener = listener;
  }

  get state() {
    return this.#state;
  }

  /** @returns {boolean} whether it is known that nothing can be sent now */
  get offline() {
    return this.#state.online === false || globalThis.navigator?.onLine === false;
  }

  /** @param {Partial<LinkState>} facts */
  update(facts) {
    const now = { ...this.#state, ...facts };
    if (sameJson(now, this.#state)) return;
    this.#state = now;
    this.#listener.changed(now);
  }

  /** The server answered. */
  reached() {
    const back = this.#state.online === false;
    this.update({ online: true, signInNeeded: false });
    if (back) this.#listener.back();
  }

  /** @param {unknown} error of a request */
  failed(error) {
    const status = statusOf(error);
    if (status === 401) {
      this.update({ signInNeeded: true, caughtUp: false });
      this.#listener.refused();
    } else this.update({ online: status >= 400 && status < 500 && !isStranger(error) });
  }
}
