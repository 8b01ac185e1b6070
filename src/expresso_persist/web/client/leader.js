/** One of the open tabs sends and follows the feed for all. */

import { Signal } from './signal.js';
import { LEASE, MemoryStorage } from './storage.js';
/** @import { Tabs } from './tabs.js' */
/** @import { OutboxStorage } from './types.js' */

const SILENCE = 10_000;

/**
 * What a leader asks of its surroundings.
 *
 * @typedef {object} LeaderContext
 * @property {string} scope
 * @property {string} me Name of this tab.
 * @property {Tabs} tabs
 * @property {AbortSignal} stop
 * @property {(lost: AbortSignal) => Promise<void>} work What the tab that leads does, until it is lost.
 * @property {() => boolean} signInNeeded Whether another tab may have the token that this one lacks.
 */

/**
 * Takes turns with the other tabs: by Web Locks, or by a lease in the storage.
 *
 * Which tab leads is a matter of courtesy, not of safety: when two send at the same time,
 * the idempotency key made with the write lets the server apply it once.
 */
export class Leader {
  /** @type {LeaderContext} */ #context;
  /** @type {OutboxStorage} */ #storage = new MemoryStorage();
  #leading = false;
  #steal = false;
  #name = '';
  #lastAlive = 0;
  /** @type {AbortController | null} */ #turn = null;
  #signIn = new Signal();

  /** @param {LeaderContext} context */
  constructor(context) {
    this.#context = context;
  }

  /** @param {OutboxStorage} storage */
  open(storage) {
    this.#storage = storage;
  }

  /** @returns {boolean} whether it is this tab */
  get leading() {
    return this.#leading;
  }

  /** Try at once, instead of leaving the turn to others a while longer. */
  hurry() {
    this.#signIn.notify();
  }

  /** Give the turn to another tab. */
  resign() {
    this.#turn?.abort();
  }

  /** @param {string} tab that leads @returns {boolean} whether it is another one than before */
  sawAlive(tab) {
    this.#lastAlive = Date.now();
    const other = this.#name !== tab;
    this.#name = tab;
    return other;
  }

  /** @returns {Promise<boolean>} whether the turn is still this tab's, renewed where it has to be */
  async holds() {
    if (this.#context.tabs.alone || globalThis.navigator?.locks !== undefined) return true;
    return this.#renew();
  }

  /** Lead whenever it is this tab's turn. */
  async run() {
    const { signInNeeded, stop } = this.#context;
    while (!stop.aborted) {
      await this.#takeTurn((lost) => this.#lead(lost)).catch((error) => {
        setTimeout(() => {
          throw error; // reported as an error of the page; the next turn begins afresh
        });
      });
      // Another tab may have the token that this one lacks: it gets the turn meanwhile.
      await this.#signIn.wait(signInNeeded() ? 5000 + Math.random() * 5000 : 50, stop);
    }
  }

  /** @param {AbortSignal} lost */
  async #lead(lost) {
    if (lost.aborted) return; // it was, while the turn came
    const turn = new AbortController();
    lost.addEventListener('abort', () => turn.abort());
    this.#turn = turn;
    this.#leading = true;
    this.#name = this.#context.me;
    try {
      await this.#context.work(turn.signal);
    } finally {
      this.#leading = false;
      this.#turn = null;
    }
  }

  /** @param {(lost: AbortSignal) => Promise<void>} work */
  async #takeTurn(work) {
    const { stop, tabs } = this.#context;
    const lost = new AbortController();
    const locks = globalThis.navigator?.locks;
    const end = () => lost.abort();
    stop.addEventListener('abort', end);
    try {
      if (tabs.alone) await work(lost.signal);
      else if (locks === undefined) await this.#takeLease(work, lost);
      else await this.#takeLock(locks, work, lost);
    } finally {
      stop.removeEventListener('abort', end);
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
      await locks.request(`expresso-persist ${this.#context.scope}`, how, begin);
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
    const pause = new Signal();
    while (!(await this.#renew())) {
      await pause.wait(1000 + Math.random() * 500, lost.signal);
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
    const { me, scope } = this.#context;
    // A storage that does not answer keeps no tab from sending.
    return this.#storage.lease(`lead ${scope}`, me).catch(() => true);
  }
}
