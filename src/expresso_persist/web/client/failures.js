/** What kind of failure it is, and what follows from it. */

import { ExpressoPersistError } from './errors.js';
import { isObject } from './values.js';

export const RETRIED_STATUSES = new Set([502, 503, 504]);
export const NO_STREAM = 300_000;

/** @param {string | null} header @returns {number | null} seconds */
function retryAfterOf(header) {
  if (header === null) return null;
  const seconds = /^\d+$/.test(header.trim())
    ? Number(header)
    : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : null;
}

/**
 * Turn a response into its envelope, or throw what it says.
 * @param {Response} response
 * @returns {Promise<any>}
 */
export async function envelopeOf(response) {
  const retryAfter = retryAfterOf(response.headers.get('Retry-After'));
  const isJson = /\bjson\b/i.test(response.headers.get('Content-Type') ?? '');
  /** @type {any} */
  let envelope;
  if (isJson) {
    const text = await response.text();
    try {
      envelope = JSON.parse(text);
    } catch (cause) {
      // Half an answer is a lost connection: the caller may repeat the request.
      throw new ExpressoPersistError('The answer of the server arrived incomplete.', {
        code: 'network',
        cause,
      });
    }
  }
  if (response.ok && isObject(envelope) && envelope.success === true) return envelope;
  if (isObject(envelope) && typeof envelope.error === 'string') {
    throw new ExpressoPersistError(envelope.error, {
      status: response.status,
      code: typeof envelope.code === 'string' ? envelope.code : `http_${response.status}`,
      details: Array.isArray(envelope.details) ? /** @type {any} */ (envelope.details) : [],
      retryAfter,
      data: envelope.data ?? null,
    });
  }
  if (response.ok) {
    throw new ExpressoPersistError(
      'Something other than the Expresso server answered, such as the sign-in page of this ' +
        'network. Sign in to the network or check the address, then try again.',
      { status: response.status, code: 'not_an_answer' },
    );
  }
  throw new ExpressoPersistError(
    response.status === 404
      ? 'There is no Expresso server at this address (404). Check the base URL.'
      : `The server could not answer (${response.status}). Try again in a moment.`,
    { status: response.status, code: `http_${response.status}`, retryAfter },
  );
}

/** @param {unknown} error @returns {number} */
export const statusOf = (error) => (error instanceof ExpressoPersistError ? error.status : 0);

/** @param {unknown} error @returns {boolean} whether not the server but something else answered */
export const isStranger = (error) =>
  error instanceof ExpressoPersistError && error.code.startsWith('http_');

/** @param {unknown} error @returns {boolean} whether the way to the server failed */
export const isLost = (error) => {
  const status = statusOf(error);
  return status === 0 || RETRIED_STATUSES.has(status);
};

/**
 * @param {unknown} error
 * @returns {error is ExpressoPersistError} whether the server read a write and will not have it
 */
export function isRefusal(error) {
  if (!(error instanceof ExpressoPersistError)) return false;
  const { status, code } = error;
  if (status === 413) return true;
  if (status < 400 || status >= 500 || isStranger(error)) return false;
  if (code === 'busy' || code === 'timeline_lost') return false;
  return ![401, 408, 425, 429].includes(status);
}

/** @param {unknown} error @returns {number | null} milliseconds without a stream; null when the fault is another one */
export function streamPause(error) {
  if (!(error instanceof ExpressoPersistError)) return null;
  const { status, code, retryAfter } = error;
  if (code === 'no_stream' || [404, 405, 406, 426, 501].includes(status)) return NO_STREAM;
  if (code === 'too_many_streams' || status === 429) return Math.max(30, retryAfter ?? 0) * 1000;
  return null;
}

const LONGEST = 600; // seconds; a client that is asked for a longer pause is asked again

/**
 * @param {number} failures so far, without this one
 * @param {{retryDelay: number, maxRetryDelay: number}} settings
 * @param {unknown} [error]
 * @returns {number} milliseconds to wait before the next attempt
 */
export function pauseAfter(failures, { retryDelay, maxRetryDelay }, error) {
  const asked = error instanceof ExpressoPersistError ? error.retryAfter : null;
  if (asked !== null) return Math.min(asked, LONGEST) * 1000 * (1 + Math.random() / 4);
  return Math.min(maxRetryDelay, retryDelay * 2 ** failures) * (0.5 + Math.random() / 2);
}
