/** What the tests of the client's parts have in common: a server in memory, and an IndexedDB. */

import { ExpressoPersistError } from '../../src/expresso_persist/web/client/errors.js';
import { Link } from '../../src/expresso_persist/web/client/link.js';
import { openStorage } from '../../src/expresso_persist/web/client/storage.js';

export const SETTINGS = {
  ...{ retries: 0, retryDelay: 5, maxRetryDelay: 10, patience: 50, pollInterval: 5, warnOnClose: false },
  ...{ keepDays: 7, keepWrites: 100, keepBytes: 1_000_000 },
};
export const SETTING = '/api/inventory/settings/update';

let scopes = 0;
export const newScope = () => `scope ${(scopes += 1)}`;

/** The IndexedDB of the browser, with the connections that a page would have. */
export const storage = () => openStorage();

/** @param {() => unknown} met */
export async function until(met) {
  for (const end = Date.now() + 5000; !(await met()); ) {
    if (Date.now() > end) throw new Error(`It does not come true: ${met}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export const lost = () => new ExpressoPersistError('No way to the server.', { code: 'network' });
export const refused = (code = 'conflict', status = 409) =>
  new ExpressoPersistError('The server refuses it.', { status, code });

export const newLink = () => new Link({ changed() {}, back() {}, refused() {} });

/** Settings, and a commit for each change of one; it answers like the real one. */
export class Server {
  epoch = 'store';
  commits = [];
  /** Called with each request; what it throws is the answer. */
  before = (_path, _body) => {};
  requests = [];
  /** The streams that are open, as writers of text. */
  streams = null;

  get revision() {
    return this.commits.length;
  }

  cursor(revision = this.revision) {
    return `${this.epoch}.${revision}.${this.commits[revision - 1]?.hash ?? 0}`;
  }

  get settings() {
    return Object.fromEntries(this.commits.map(({ changes: [{ key, after }] }) => [key[0], after]));
  }

  commit(key, value) {
    const before = this.settings[key] ?? null;
    const changes = [{ kind: 'setting', key: [key], before, after: value }];
    const revision = this.revision + 1;
    this.commits.push({ revision, actor: 'a', source: 'api', hash: `${Math.random()}`.slice(2, 10), changes });
    return revision;
  }

  async #request(path, body) {
    this.requests.push(path);
    await this.before(path, body);
  }

  async read(path, etag) {
    await this.#request(path);
    const { revision } = this;
    if (path.endsWith('get-all')) {
      if (etag === `"${revision}"`) return { unchanged: true };
      const data = { settings: this.settings };
      return { revision, etag: `"${revision}"`, cursor: this.cursor(), data };
    }
    const since = new URL(path, 'http://server').searchParams.get('since');
    const known = since === 'now' ? revision : Number(since.split('.')[1]);
    const reset = since !== 'now' && since !== this.cursor(known);
    return { data: { commits: this.commits.slice(known), cursor: this.cursor(), has_more: false, reset } };
  }

  async send(entry) {
    await this.#request(entry.path, entry);
    const before = this.cursor();
    const { key, value } = JSON.parse(entry.body);
    const revision = this.commit(key, value);
    return { revision, message: 'Saved.', data: null, cursor: this.cursor(), before };
  }

  async stream(path, signal) {
    await this.#request(path);
    if (this.streams === null) throw new ExpressoPersistError('There is none.', { code: 'no_stream' });
    const { readable, writable } = new TransformStream();
    const writer = writable.getWriter();
    signal.addEventListener('abort', () => void writer.abort(signal.reason).catch(() => {}));
    this.streams.push((text) => writer.write(new TextEncoder().encode(text)));
    return { body: readable };
  }
}
