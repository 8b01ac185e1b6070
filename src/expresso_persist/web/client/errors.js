/** What every failure is thrown as. */

/** @import { Problem } from './types.js' */

/** What the server, or the way to it, refused; `message` is a sentence for people. */
export class ExpressoPersistError extends Error {
  /**
   * @param {string} message
   * @param {object} [facts]
   * @param {number} [facts.status] HTTP status; 0 when no answer arrived.
   * @param {string} [facts.code] Stable name of the problem, such as `unauthorized` or `network`.
   * @param {Problem[]} [facts.details]
   * @param {number | null} [facts.retryAfter] Seconds after which trying again may help.
   * @param {any} [facts.data] What the server added, such as the current value.
   * @param {unknown} [facts.cause]
   */
  constructor(message, facts = {}) {
    super(message);
    this.name = 'ExpressoPersistError';
    this.status = facts.status ?? 0;
    this.code = facts.code ?? 'error';
    this.details = facts.details ?? [];
    this.retryAfter = facts.retryAfter ?? null;
    this.data = facts.data ?? null;
    /** @type {unknown} */
    this.cause = facts.cause;
    /** @type {string | null} name of the refused write, for `retryParked()` and its like */
    this.parked = null;
  }
}
