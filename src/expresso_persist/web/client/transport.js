/** Requests to the server. */

import { ExpressoPersistError } from './errors.js';
import { RETRIED_STATUSES, envelopeOf } from './failures.js';
import { stored } from './page-storage.js';
import { ADJUST } from './paths.js';
import { adjustment } from './projection.js';
import { sleep } from './values.js';
/** @import { Entry, Fetch, Options } from './types.js' */

const TOKEN_KEY = 'expresso_persist_token';
const LEGACY_TOKEN_KEY = 'coffee_system_token';

/**
 * What a request consists of.
 *
 * @typedef {object} RequestParts
 * @property {boolean} [anonymous] Send no token.
 * @property {string} [body]
 * @property {string | null} [etag]
 * @property {string} [idempotencyKey]
 * @property {number} [ifMatch]
 * @property {string | null} [since] The newest position that the client knows.
 * @property {string | null} [acknowledged] Where the server took this write before.
 * @property {string | null} [lost] The oldest position before it that the server has not.
 * @property {AbortSignal} [signal]
 * @property {number} [timeout] Milliseconds.
 * @property {number} [retries]
 * @property {Fetch} [fetch]
 */

/** @param {RequestParts} parts @param {string | null} token @returns {{[name: string]: string}} */
function headersOf(parts, token) {
  const values = {
    Accept: 'application/json',
    'Content-Type': parts.body === undefined ? null : 'application/json',
    Authorization: token ? `Bearer ${token}` : null,
    'If-None-Match': parts.etag,
    'Idempotency-Key': parts.idempotencyKey,
    'If-Match': parts.ifMatch === undefined ? null : `"${parts.ifMatch}"`,
    'Expresso-Since': parts.since,
    'Expresso-Acknowledged': parts.acknowledged,
    'Expresso-Lost': parts.acknowledged ? parts.lost : null,
  };
  return Object.fromEntries(Object.entries(values).flatMap(([name, value]) => (value ? [[name, value]] : [])));
}

/** By `fetch`, with the token of the page, another attempt where that may help. */
export class HttpTransport {
  /** @type {Options} */ #options;
  /** @type {Promise<string | null> | null} */ #refreshing = null;

  /** @param {Options} options shared with who may change them */
  constructor(options) {
    this.#options = options;
  }

  /** @param {string} path @param {string | null} etag @param {AbortSignal} signal @param {number} [timeout] */
  read(path, etag, signal, timeout) {
    return this.request('GET', path, { etag, signal, timeout, retries: 0 });
  }

  /** @param {Entry} entry @param {string | null} since */
  send({ path, body, key, ifMatch, cursor, lost }, since) {
    return this.request('POST', path, {
      body: path === ADJUST ? JSON.stringify(adjustment(JSON.parse(body))) : body,
      idempotencyKey: key,
      ifMatch: ifMatch ?? undefined,
      since,
      acknowledged: cursor ?? null,
      lost: lost ?? null,
      retries: 0,
    });
  }

  /**
   * Send, and send again with the same key when the way to the server failed.
   * @param {'GET' | 'POST'} method
   * @param {string} path
   * @param {RequestParts} parts
   * @returns {Promise<any>} the envelope, with `etag` or `unchanged` added
   */
  async request(method, path, parts) {
    const options = this.#options;
    const token = parts.anonymous ? null : await this.currentToken();
    const headers = headersOf(parts, token);
    // no-store: this module keeps the answers itself, and must see the 304.
    /** @type {RequestInit} */
    const init = { method, headers, cache: 'no-store', credentials: 'same-origin' };
    if (parts.signal !== undefined) init.signal = parts.signal;
    if (parts.body !== undefined) init.body = parts.body;
    const send = parts.fetch ?? options.fetch;
    const retries = parts.retries ?? options.retries;
    let refreshed = parts.anonymous ?? false;
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.#attempt(send, options.baseUrl + path, init, parts.timeout ?? options.timeout);
      } catch (error) {
        if (!(error instanceof ExpressoPersistError)) throw error;
        if (error.status === 401 && !refreshed) {
          refreshed = true;
          const fresh = await this.#freshToken(token, error);
          if (fresh === null) throw error;
          headers.Authorization = `Bearer ${fresh}`;
          attempt -= 1;
          continue;
        }
        if (attempt >= retries) throw error;
        await sleep(this.#pause(attempt, error));
      }
    }
  }

  /** @param {number} attempt @param {ExpressoPersistError} error thrown again where repeating does not help */
  #pause(attempt, error) {
    const passing = ['network', 'timeout', 'busy'].includes(error.code);
    if (!passing && !RETRIED_STATUSES.has(error.status)) throw error;
    const { maxRetryDelay, retryDelay } = this.#options;
    const backoff = retryDelay * 2 ** attempt * (0.75 + Math.random() / 2);
    const wait = error.retryAfter === null ? backoff : error.retryAfter * 1000;
    if (wait > maxRetryDelay) throw error; // its retryAfter says when
    return wait;
  }

  /**
   * @param {Fetch} send
   * @param {string} url
   * @param {RequestInit} init
   * @param {number} timeout
   * @returns {Promise<any>}
   */
  async #attempt(send, url, init, timeout) {
    const abort = new AbortController();
    const end = () => abort.abort();
    const timer = setTimeout(end, timeout);
    init.signal?.addEventListener('abort', end);
    if (init.signal?.aborted) end();
    try {
      const response = await send(url, { ...init, signal: abort.signal });
      if (response.status === 304) return { unchanged: true };
      const envelope = await envelopeOf(response);
      envelope.etag = response.headers.get('ETag');
      return envelope;
    } catch (cause) {
      if (cause instanceof ExpressoPersistError) throw cause;
      throw abort.signal.aborted
        ? new ExpressoPersistError('The server did not answer in time.', { code: 'timeout', cause })
        : new ExpressoPersistError(
            'The server cannot be reached. Check that it runs and that this device is online.',
            { code: 'network', cause },
          );
    } finally {
      clearTimeout(timer);
      init.signal?.removeEventListener('abort', end);
    }
  }

  /**
   * Open the feed.
   * @param {string} path
   * @param {AbortSignal} signal
   * @returns {Promise<Response>}
   */
  async stream(path, signal) {
    for (let refreshed = false; ; refreshed = true) {
      const token = await this.currentToken();
      /** @type {{[name: string]: string}} */
      const headers = { Accept: 'text/event-stream' };
      if (token) headers.Authorization = `Bearer ${token}`;
      const { baseUrl, fetch: send } = this.#options;
      const response = await send(baseUrl + path, {
        headers,
        signal,
        cache: 'no-store',
        credentials: 'same-origin',
      });
      const type = response.headers.get('Content-Type') ?? '';
      if (response.ok && /^text\/event-stream\b/i.test(type)) return response;
      try {
        await envelopeOf(response);
      } catch (error) {
        const refused = error instanceof ExpressoPersistError && error.status === 401;
        if (!refused || refreshed) throw error;
        if ((await this.#freshToken(token, error)) === null) throw error;
        continue;
      }
      throw new ExpressoPersistError('The server has no stream.', { code: 'no_stream' });
    }
  }

  /**
   * Another token in place of a refused one, asked for once however many requests need it.
   * @param {string | null} refused
   * @param {ExpressoPersistError} error
   * @returns {Promise<string | null>} null when there is none
   */
  async #freshToken(refused, error) {
    const options = this.#options;
    const hook = options.onUnauthorized;
    if (hook === null) return null;
    const current = await this.currentToken();
    if (current !== null && current !== refused) return current; // renewed meanwhile
    this.#refreshing ??= (async () => {
      const given = (await hook(error)) ?? null;
      if (given !== null && options.getToken === null) options.token = given;
      return given ?? this.currentToken();
    })().finally(() => {
      this.#refreshing = null;
    });
    const fresh = await this.#refreshing;
    return fresh === refused ? null : fresh;
  }

  /** @returns {Promise<string | null>} the bearer token of the page */
  async currentToken() {
    const { token, getToken } = this.#options;
    if (token !== null) return token;
    if (getToken !== null) return (await getToken()) ?? null;
    return stored('sessionStorage', TOKEN_KEY) ?? stored('localStorage', LEGACY_TOKEN_KEY);
  }
}
