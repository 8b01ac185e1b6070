/** How the service reaches what it reads and writes: by the live client, or by one request per call. */

import { ExpressoPersistError } from './errors.js';
import { isLost } from './failures.js';
import { Live } from './live.js';
import { defaultOptions, setOptions } from './options.js';
import { stored } from './page-storage.js';
import { GET_ALL } from './paths.js';
import { withUnsent } from './projection.js';
import { FRESH } from './replica.js';
import { HttpTransport } from './transport.js';
import { callAll, randomKey } from './values.js';
/** @import { Change, ServiceOptions, Status, WriteOptions, Written } from './types.js' */

const DEVICE_KEY = 'expresso_persist_device_id';

/** One server, for one person. */
export class Connection {
  options = defaultOptions();
  transport = new HttpTransport(this.options);
  /** @type {Live | null} */ live = null;
  /** @type {number | null} when all was last read, without a local copy */ #loadedAt = null;
  /** @type {Set<(change: Change) => void>} */ changeListeners = new Set();
  /** @type {Set<(status: Status) => void>} */ statusListeners = new Set();
  /** @type {Map<string, {token: string | null, etag: string | null, data: any}>} */
  #answers = new Map();
  /** @type {Map<string, {token: string | null, answer: Promise<any>}>} */
  #reading = new Map();

  /** @param {ServiceOptions} options */
  configure(options) {
    setOptions(this.options, options);
    this.forget();
    if (this.live !== null && this.live.scope !== this.#scope()) {
      void this.stop(false).then(() => this.start()); // another server, or another person
    } else if (options.token !== undefined || options.getToken !== undefined) {
      this.live?.signedIn();
    }
  }

  async start() {
    if (this.live === null) {
      const live = new Live(this.#scope(), this.transport, { ...this.options });
      this.live = live;
      live.onChange((change) => callAll(this.changeListeners, change));
      live.onStatus((status) => callAll(this.statusListeners, status));
    }
    await this.live.start();
  }

  /** @param {boolean} forget also the local copy */
  async stop(forget) {
    const live = this.live;
    this.live = null;
    this.forget();
    await live?.stop(forget);
  }

  /** @returns {Live} */
  get started() {
    if (this.live !== null) return this.live;
    throw new ExpressoPersistError('Call start() first.', { code: 'not_started' });
  }

  #scope() {
    const { baseUrl, user } = this.options;
    const origin = globalThis.location?.origin ?? '';
    const server = baseUrl.startsWith('/') ? origin + baseUrl : baseUrl || origin;
    return `${server} ${user}`;
  }

  /** Forget what was read. */
  forget() {
    this.#answers = new Map();
    this.#reading = new Map();
  }

  async refresh() {
    this.forget();
    await this.live?.refresh();
  }

  /** @returns {boolean} whether what was read is fresh: at most five minutes old, or kept fresh */
  isFresh() {
    if (this.live !== null) return this.live.isFresh();
    return this.#loadedAt !== null && Math.abs(Date.now() - this.#loadedAt) < FRESH;
  }

  /** @param {string | null} [deviceId] @returns {Promise<any>} */
  async documents(deviceId) {
    const device = deviceId ?? this.options.deviceId ?? stored('localStorage', DEVICE_KEY);
    const path =
      '/api/migration/documents' + (device ? `?device_id=${encodeURIComponent(device)}` : '');
    const live = this.live;
    if (live === null) return this.read(path);
    return withUnsent(await this.#liveDocuments(live, path), live.peek());
  }

  /** @param {Live} live @param {string} path @returns {Promise<any>} */
  async #liveDocuments(live, path) {
    await live.start();
    const known = this.#answers.get(path);
    const now = live.peek();
    const current =
      now?.caughtUp === true && known?.data.epoch === now.epoch && known.data.revision >= now.revision;
    if (known !== undefined && current) return known.data;
    try {
      const documents = await this.read(path);
      live.keepAnswer(path, documents);
      return documents;
    } catch (error) {
      const kept = isLost(error) ? known?.data ?? (await live.keptAnswer(path)) : null;
      if (kept === null) throw error;
      return kept; // without a network, what was last read
    }
  }

  /**
   * The only way in. The server is always asked, but an unchanged answer is not sent again;
   * callers that ask at the same time share one request.
   * @param {string} path
   * @returns {Promise<any>} shared: copy it before you hand it out
   */
  async read(path) {
    if (path === GET_ALL && this.live !== null) return this.live.data();
    const token = await this.transport.currentToken();
    const underway = this.#reading.get(path);
    if (underway !== undefined && underway.token === token) return underway.answer;
    const answer = this.#ask(path, token).finally(() => {
      if (this.#reading.get(path)?.answer === answer) this.#reading.delete(path);
    });
    this.#reading.set(path, { token, answer });
    return answer;
  }

  /** @param {string} path @param {string | null} token @returns {Promise<any>} */
  async #ask(path, token) {
    const known = this.#answers.get(path);
    const etag = known !== undefined && known.token === token ? known.etag : null;
    const answers = this.#answers;
    const envelope = await this.transport.request('GET', path, { etag });
    if (path === GET_ALL) this.#loadedAt = Date.now();
    if (envelope.unchanged === true && known !== undefined) return known.data;
    answers.set(path, { token, etag: envelope.etag, data: envelope.data ?? null });
    return envelope.data ?? null;
  }

  /**
   * The only way out: through the outbox, if there is one.
   * @param {string} path
   * @param {object} body
   * @param {WriteOptions} [options]
   * @returns {Promise<Written>}
   */
  async write(path, body, options = {}) {
    // A function cannot be kept over a reload, so a request with its own `fetch` goes at once.
    if (this.live === null || options.fetch !== undefined) {
      return this.writeNow(path, body, options);
    }
    return this.live.write(path, JSON.stringify(body), options);
  }

  /**
   * @param {string} path
   * @param {object} body
   * @param {WriteOptions} [options]
   * @returns {Promise<Written>}
   */
  async writeNow(path, body, options = {}) {
    try {
      const envelope = await this.transport.request('POST', path, {
        body: JSON.stringify(body),
        idempotencyKey: options.idempotencyKey ?? randomKey(),
        ifMatch: options.ifMatch,
        timeout: options.timeout,
        fetch: options.fetch,
      });
      return {
        revision: envelope.revision,
        message: envelope.message ?? '',
        data: envelope.data ?? null,
      };
    } finally {
      this.#reading.clear(); // a read that began before this write must not answer after it
    }
  }
}
