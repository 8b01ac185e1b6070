/** Who hears how it goes. */

import { callAll } from './values.js';
/** @import { Status } from './types.js' */

/** Calls listeners when the status changes, and has the browser ask before unsent writes are left. */
export class StatusNotifier {
  /** @type {Set<(status: Status) => void>} */ #listeners = new Set();
  #notified = '';
  #warnOnClose;
  #warning = false;

  /** @param {boolean} warnOnClose */
  constructor(warnOnClose) {
    this.#warnOnClose = warnOnClose;
  }

  /** @param {(status: Status) => void} listener @returns {() => void} ends it */
  add(listener) {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** @param {Status} status */
  notify(status) {
    const text = JSON.stringify({ ...status, oldestPendingAge: null });
    this.#warn(this.#warnOnClose && status.pending > 0);
    if (text === this.#notified) return;
    this.#notified = text;
    callAll(this.#listeners, status);
  }

  close() {
    this.#warn(false);
  }

  /** @param {boolean} on only while it is needed: such pages are slower to come back to */
  #warn(on) {
    if (on === this.#warning) return;
    this.#warning = on;
    if (on) globalThis.addEventListener?.('beforeunload', askBeforeClosing);
    else globalThis.removeEventListener?.('beforeunload', askBeforeClosing);
  }
}

/** @param {Event} event */
function askBeforeClosing(event) {
  event.preventDefault();
  event.returnValue = true; // what Safari goes by
}
