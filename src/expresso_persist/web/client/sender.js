/** Sends what is in the outbox, one write after the other. */

import { ExpressoPersistError } from './errors.js';
import { isRefusal, pauseAfter, statusOf } from './failures.js';
import { Signal } from './signal.js';
/** @import { Link } from './link.js' */
/** @import { Outbox } from './outbox.js' */
/** @import { Recovery } from './recovery.js' */
/** @import { Entry, LiveSettings, Transport } from './types.js' */

const GIVE_UP = 20;

/**
 * What a sender asks of its surroundings.
 *
 * @typedef {object} SenderContext
 * @property {LiveSettings} settings
 * @property {Transport} transport
 * @property {Link} link
 * @property {Outbox} outbox
 * @property {Recovery} recovery
 * @property {() => Promise<boolean>} holds Whether it is still this tab's turn to send.
 * @property {() => void} resign
 */

/** In the tab that leads: each write is sent until the server takes or refuses it. */
export class Sender {
  /** @type {SenderContext} */ #context;
  /** @type {Promise<void> | null} */ #sending = null;

  /** @param {SenderContext} context */
  constructor(context) {
    this.#context = context;
  }

  /** @returns {Promise<void> | null} the request that is underway, and what follows from it */
  get sending() {
    return this.#sending;
  }

  /** @param {AbortSignal} lost */
  async run(lost) {
    const { holds, link, outbox, resign, settings } = this.#context;
    for (let failures = 0; !lost.aborted; ) {
      const entry = outbox.entries.next();
      if (entry === undefined) {
        await outbox.ready.wait(60_000, lost);
        continue;
      }
      if (!(await holds())) return resign();
      const fault = await this.#try(entry);
      if (fault === null) {
        failures = 0;
        continue;
      }
      failures += 1;
      if (statusOf(fault) === 500 && failures >= GIVE_UP && fault instanceof ExpressoPersistError) {
        await outbox.park(entry.id, fault); // a write that the server stumbles over, again and again
        failures = 0;
        continue;
      }
      link.failed(fault);
      if (lost.aborted) return undefined;
      outbox.resolvePending();
      const asked = fault instanceof ExpressoPersistError && fault.retryAfter !== null;
      // A pause that the server asked for is not cut short.
      await (asked ? new Signal() : outbox.ready).wait(pauseAfter(failures - 1, settings, fault), lost);
    }
    return undefined;
  }

  /** @param {Entry} entry @returns {Promise<unknown>} why it is to be sent again, or null */
  async #try(entry) {
    /** @type {unknown} */
    let fault = null;
    this.#sending = this.#send(entry).catch((error) => {
      fault = error;
    });
    await this.#sending;
    this.#sending = null;
    return fault;
  }

  /** @param {Entry} entry */
  async #send(entry) {
    const { link, outbox, recovery, transport } = this.#context;
    const since = entry.base ?? recovery.acknowledged.position;
    let kept = true;
    try {
      const envelope = await transport.send(entry, since);
      const { revision, message, data, cursor = null, before = null } = envelope;
      const answer = { revision, message: message ?? '', data: data ?? null };
      /** @type {Partial<Entry>} */
      const taken = { state: 'acked', revision, cursor, before, since, ackedAt: Date.now(), base: null, lost: null };
      link.reached();
      link.update({ lastServerAck: Date.now() });
      await outbox.acknowledge(entry.id, taken, answer);
      kept = recovery.acknowledged.took({ ...entry, ...taken });
    } catch (error) {
      if (error instanceof ExpressoPersistError && error.code === 'timeline_lost') {
        await recovery.heal(); // what was lost goes first; then this
      }
      if (!isRefusal(error)) throw error;
      link.reached();
      await outbox.park(entry.id, error);
    }
    if (!kept) await recovery.heal();
  }
}
