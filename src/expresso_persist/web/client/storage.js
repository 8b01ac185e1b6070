/** Where the outbox and the local copy survive a reload. */

import { isObject, sleep } from './values.js';
/** @import { Entry, OutboxStorage } from './types.js' */

const OUTBOX_PREFIX = 'expresso_persist_outbox:';

const DATABASE = 'expresso-persist';
export const LEASE = 6000;
export const TRAIL = ' trail'; // beside the copy, under the scope's name and this

/** @param {IDBRequest<any>} request @returns {Promise<any>} */
const answerOf = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** @param {any} lease @param {string} owner @param {number} now also when the clock went back */
const isHeld = (lease, owner, now) =>
  isObject(lease) && lease.owner !== owner && lease.until > now && lease.until <= now + 2 * LEASE;

/** IndexedDB, shared by all tabs of the origin. */
class IndexedDbStorage {
  kind = /** @type {const} */ ('indexeddb');
  /** @type {Promise<IDBDatabase> | null} */ #database = null;

  /** @returns {Promise<IDBDatabase>} */
  #open() {
    this.#database ??= new Promise((resolve, reject) => {
      const request = indexedDB.open(DATABASE, 2);
      const late = setTimeout(() => reject(new Error('IndexedDB does not answer.')), 5000);
      request.onupgradeneeded = ({ oldVersion }) => {
        if (oldVersion < 1) {
          const outbox = request.result.createObjectStore('outbox', {
            keyPath: 'seq',
            autoIncrement: true,
          });
          outbox.createIndex('scope', 'scope');
          outbox.createIndex('id', ['scope', 'id'], { unique: true });
          request.result.createObjectStore('copies', { keyPath: 'scope' });
          request.result.createObjectStore('leases', { keyPath: 'name' });
        }
        const acknowledged = request.result.createObjectStore('acknowledged', {
          keyPath: ['scope', 'id'],
        });
        acknowledged.createIndex('scope', 'scope');
      };
      request.onerror = () => reject(request.error);
      request.onsuccess = () => {
        clearTimeout(late);
        const database = request.result;
        const forget = () => {
          this.#database = null;
          database.close();
        };
        database.onversionchange = forget;
        database.onclose = forget; // the browser dropped it, as iPads do in the background
        resolve(database);
      };
    });
    this.#database.catch(() => (this.#database = null));
    return this.#database;
  }

  /**
   * @template T
   * @param {string[]} stores
   * @param {IDBTransactionMode} mode
   * @param {(transaction: IDBTransaction) => Promise<T>} work waits for nothing but its requests
   * @returns {Promise<T>} once it is on the disk
   */
  async #run(stores, mode, work) {
    for (let again = true; ; again = false) {
      const database = await this.#open();
      try {
        const transaction = database.transaction(stores, mode, { durability: 'strict' });
        const stored = new Promise((resolve, reject) => {
          transaction.oncomplete = resolve;
          transaction.onabort = () => reject(transaction.error);
        });
        stored.catch(() => {});
        const result = await work(transaction);
        await stored;
        return result;
      } catch (error) {
        const gone = error instanceof DOMException && error.name === 'InvalidStateError';
        if (!gone || !again) throw error;
        this.#database = null;
      }
    }
  }

  async ready() {
    await this.#open();
  }

  /** @param {string} scope */
  entries(scope) {
    return this.#run(['outbox'], 'readonly', (transaction) =>
      answerOf(transaction.objectStore('outbox').index('scope').getAll(scope)),
    );
  }

  /** @param {Entry} entry */
  async add({ seq: _, ...entry }) {
    return Number(
      await this.#run(['outbox'], 'readwrite', (transaction) =>
        answerOf(transaction.objectStore('outbox').add(entry)),
      ),
    );
  }

  /** @param {string} scope @param {string} id @param {(entry: Entry) => Entry | null} edit */
  edit(scope, id, edit) {
    return this.#run(['outbox'], 'readwrite', async (transaction) => {
      const outbox = transaction.objectStore('outbox');
      const entry = await answerOf(outbox.index('id').get([scope, id]));
      if (entry === undefined) return;
      const edited = edit(entry);
      await answerOf(edited === null ? outbox.delete(entry.seq) : outbox.put(edited));
    });
  }

  /** @param {string} scope */
  async copy(scope) {
    const found = await this.#run(['copies'], 'readonly', (transaction) =>
      answerOf(transaction.objectStore('copies').get(scope)),
    );
    return found?.copy ?? null;
  }

  /** @param {string} scope @param {any} copy */
  async keep(scope, copy) {
    await this.#run(['copies'], 'readwrite', (transaction) =>
      answerOf(transaction.objectStore('copies').put({ scope, copy })),
    );
  }

  /** @param {string} scope @returns {Promise<Entry[]>} */
  acknowledged(scope) {
    return this.#run(['acknowledged'], 'readonly', (transaction) =>
      answerOf(transaction.objectStore('acknowledged').index('scope').getAll(scope)),
    );
  }

  /** @param {string} scope @param {string[]} ids */
  file(scope, ids) {
    return this.#run(['outbox', 'acknowledged'], 'readwrite', async (transaction) => {
      const outbox = transaction.objectStore('outbox');
      for (const id of ids) {
        const entry = await answerOf(outbox.index('id').get([scope, id]));
        if (entry?.state !== 'acked') continue;
        await answerOf(transaction.objectStore('acknowledged').put(entry));
        await answerOf(outbox.delete(entry.seq));
      }
    });
  }

  /** @param {string} scope @param {Entry[]} entries @param {string[]} [gone] */
  move(scope, entries, gone = []) {
    return this.#run(['outbox', 'acknowledged'], 'readwrite', async (transaction) => {
      const outbox = transaction.objectStore('outbox');
      const acknowledged = transaction.objectStore('acknowledged');
      for (const id of [...entries.map((entry) => entry.id), ...gone]) {
        const seq = await answerOf(outbox.index('id').getKey([scope, id]));
        if (seq !== undefined) await answerOf(outbox.delete(seq));
        await answerOf(acknowledged.delete([scope, id]));
      }
      for (const entry of entries) {
        await answerOf((entry.state === 'acked' ? acknowledged : outbox).put(entry));
      }
    });
  }

  /** @param {string} scope */
  forget(scope) {
    return this.#run(['copies'], 'readwrite', async (transaction) => {
      const copies = transaction.objectStore('copies');
      await answerOf(copies.delete(scope));
      await answerOf(copies.delete(IDBKeyRange.bound(`${scope} /`, `${scope} /\uffff`)));
    });
  }

  /** @param {string} name @param {string} owner */
  lease(name, owner) {
    return this.#run(['leases'], 'readwrite', async (transaction) => {
      const leases = transaction.objectStore('leases');
      const now = Date.now();
      if (isHeld(await answerOf(leases.get(name)), owner, now)) return false;
      await answerOf(leases.put({ name, owner, until: now + LEASE }));
      return true;
    });
  }
}

/** localStorage, where IndexedDB is not to be had; only for what is not sent yet. */
class LocalStorageStorage {
  kind = /** @type {const} */ ('localstorage');

  ready() {
    const probe = `${OUTBOX_PREFIX}probe`;
    localStorage.setItem(probe, '1');
    localStorage.removeItem(probe);
  }

  /** @param {string} scope */
  async entries(scope) {
    return this.#all('entry', scope);
  }

  /** @param {string} scope */
  async acknowledged(scope) {
    return this.#all('acknowledged', scope);
  }

  /** @param {string} store @param {string} scope */
  #all(store, scope) {
    /** @type {Entry[]} */
    const found = [];
    for (let index = 0; index < localStorage.length; index += 1) {
      const name = localStorage.key(index) ?? '';
      if (!name.startsWith(`${OUTBOX_PREFIX}${store}:`)) continue;
      const entry = JSON.parse(localStorage.getItem(name) ?? 'null');
      if (entry?.scope === scope) found.push(entry);
    }
    return found;
  }

  /** @param {Entry} entry */
  async add(entry) {
    const others = [...this.#all('entry', entry.scope), ...this.#all('acknowledged', entry.scope)];
    const seqs = others.map((other) => other.seq);
    const seq = Math.max(0, ...seqs) + 1;
    localStorage.setItem(this.#name(entry.scope, entry.id), JSON.stringify({ ...entry, seq }));
    return seq;
  }

  /** @param {string} scope @param {string} id @param {(entry: Entry) => Entry | null} edit */
  async edit(scope, id, edit) {
    const name = this.#name(scope, id);
    const text = localStorage.getItem(name);
    if (text === null) return;
    const edited = edit(JSON.parse(text));
    if (edited === null) localStorage.removeItem(name);
    else localStorage.setItem(name, JSON.stringify(edited));
  }

  /** @param {string} scope @returns {Promise<any>} */
  async copy(scope) {
    return JSON.parse(localStorage.getItem(`${OUTBOX_PREFIX}copy:${scope}`) ?? 'null');
  }

  /** @param {string} scope @param {any} copy Documents have no room here. */
  async keep(scope, copy) {
    if (scope.endsWith(TRAIL)) {
      localStorage.setItem(`${OUTBOX_PREFIX}copy:${scope}`, JSON.stringify(copy));
    }
  }

  async forget() {}

  /** @param {string} scope @param {string[]} ids */
  async file(scope, ids) {
    const acked = (await this.entries(scope)).filter(({ state }) => state === 'acked');
    await this.move(scope, acked.filter(({ id }) => ids.includes(id)));
  }

  /** @param {string} scope @param {Entry[]} entries @param {string[]} [gone] */
  async move(scope, entries, gone = []) {
    for (const entry of entries) {
      const store = entry.state === 'acked' ? 'acknowledged' : 'entry';
      localStorage.setItem(this.#name(scope, entry.id, store), JSON.stringify(entry));
      // After the other is there: a tab killed in between leaves it twice, and sends it once more.
      const other = store === 'entry' ? 'acknowledged' : 'entry';
      localStorage.removeItem(this.#name(scope, entry.id, other));
    }
    for (const id of gone) {
      localStorage.removeItem(this.#name(scope, id, 'entry'));
      localStorage.removeItem(this.#name(scope, id, 'acknowledged'));
    }
  }

  /** @param {string} name @param {string} owner Two may hold it for a moment; see `Live`. */
  async lease(name, owner) {
    const place = `${OUTBOX_PREFIX}lease:${name}`;
    const now = Date.now();
    if (isHeld(JSON.parse(localStorage.getItem(place) ?? 'null'), owner, now)) return false;
    localStorage.setItem(place, JSON.stringify({ owner, until: now + LEASE }));
    await sleep(20);
    return JSON.parse(localStorage.getItem(place) ?? 'null')?.owner === owner;
  }

  /** @param {string} scope @param {string} id @param {string} [store] */
  #name(scope, id, store = 'entry') {
    return `${OUTBOX_PREFIX}${store}:${scope}:${id}`;
  }
}

/** Nothing survives the page. */
export class MemoryStorage {
  kind = /** @type {const} */ ('memory');
  /** @returns {Promise<Entry[]>} */
  async entries() {
    return [];
  }
  /** @returns {Promise<number>} */
  async add() {
    throw new Error('This browser keeps nothing.');
  }
  async edit() {}
  async copy() {
    return null;
  }
  async keep() {}
  async forget() {}
  /** @returns {Promise<Entry[]>} */
  async acknowledged() {
    return [];
  }
  async file() {}
  async move() {}
  async lease() {
    return true;
  }
}

/** @returns {Promise<OutboxStorage>} the best that this browser has */
export async function openStorage() {
  for (const store of [new IndexedDbStorage(), new LocalStorageStorage()]) {
    try {
      await store.ready();
      return store;
    } catch {
      // Private mode, a full disk, a policy: the next one.
    }
  }
  return new MemoryStorage();
}
