/* eslint-disable */
// Made from client/*.js; edit those.

// client/errors.js
var ExpressoPersistError = class extends Error {
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
    this.name = "ExpressoPersistError";
    this.status = facts.status ?? 0;
    this.code = facts.code ?? "error";
    this.details = facts.details ?? [];
    this.retryAfter = facts.retryAfter ?? null;
    this.data = facts.data ?? null;
    this.cause = facts.cause;
    this.parked = null;
  }
};

// client/values.js
var copy = (value) => JSON.parse(JSON.stringify(value));
var own = (object, member) => object !== null && typeof object === "object" && Object.prototype.hasOwnProperty.call(object, member) ? object[member] : void 0;
var isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
var sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
function randomKey() {
  if (typeof globalThis.crypto.randomUUID === "function") return globalThis.crypto.randomUUID();
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
function setOwn(object, member, value) {
  Object.defineProperty(object, member, {
    value,
    writable: true,
    enumerable: true,
    configurable: true
  });
}
function child(object, member) {
  if (!isObject(own(object, member)) && !Array.isArray(own(object, member))) {
    setOwn(object, member, {});
  }
  return object[member];
}
var sameJson = (a, b) => JSON.stringify(a) === JSON.stringify(b);
var plus = (a, b) => Number((a + b).toPrecision(15));
function callAll(listeners, value) {
  for (const listener of [...listeners]) {
    try {
      listener(value);
    } catch (error) {
      setTimeout(() => {
        throw error;
      });
    }
  }
}

// client/failures.js
var RETRIED_STATUSES = /* @__PURE__ */ new Set([502, 503, 504]);
var NO_STREAM = 3e5;
function retryAfterOf(header) {
  if (header === null) return null;
  const seconds = /^\d+$/.test(header.trim()) ? Number(header) : (Date.parse(header) - Date.now()) / 1e3;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : null;
}
async function envelopeOf(response) {
  const retryAfter = retryAfterOf(response.headers.get("Retry-After"));
  const isJson = /\bjson\b/i.test(response.headers.get("Content-Type") ?? "");
  let envelope;
  if (isJson) {
    const text = await response.text();
    try {
      envelope = JSON.parse(text);
    } catch (cause) {
      throw new ExpressoPersistError("The answer of the server arrived incomplete.", {
        code: "network",
        cause
      });
    }
  }
  if (response.ok && isObject(envelope) && envelope.success === true) return envelope;
  if (isObject(envelope) && typeof envelope.error === "string") {
    throw new ExpressoPersistError(envelope.error, {
      status: response.status,
      code: typeof envelope.code === "string" ? envelope.code : `http_${response.status}`,
      details: Array.isArray(envelope.details) ? (
        /** @type {any} */
        envelope.details
      ) : [],
      retryAfter,
      data: envelope.data ?? null
    });
  }
  if (response.ok) {
    throw new ExpressoPersistError(
      "Something other than the Expresso server answered, such as the sign-in page of this network. Sign in to the network or check the address, then try again.",
      { status: response.status, code: "not_an_answer" }
    );
  }
  throw new ExpressoPersistError(
    response.status === 404 ? "There is no Expresso server at this address (404). Check the base URL." : `The server could not answer (${response.status}). Try again in a moment.`,
    { status: response.status, code: `http_${response.status}`, retryAfter }
  );
}
var statusOf = (error) => error instanceof ExpressoPersistError ? error.status : 0;
var isStranger = (error) => error instanceof ExpressoPersistError && error.code.startsWith("http_");
var isLost = (error) => {
  const status = statusOf(error);
  return status === 0 || RETRIED_STATUSES.has(status);
};
function isRefusal(error) {
  if (!(error instanceof ExpressoPersistError)) return false;
  const { status, code } = error;
  if (status === 413) return true;
  if (status < 400 || status >= 500 || isStranger(error)) return false;
  if (code === "busy" || code === "timeline_lost") return false;
  return ![401, 408, 425, 429].includes(status);
}
function streamPause(error) {
  if (!(error instanceof ExpressoPersistError)) return null;
  const { status, code, retryAfter } = error;
  if (code === "no_stream" || [404, 405, 406, 426, 501].includes(status)) return NO_STREAM;
  if (code === "too_many_streams" || status === 429) return Math.max(30, retryAfter ?? 0) * 1e3;
  return null;
}
var LONGEST = 600;
function pauseAfter(failures, { retryDelay, maxRetryDelay }, error) {
  const asked = error instanceof ExpressoPersistError ? error.retryAfter : null;
  if (asked !== null) return Math.min(asked, LONGEST) * 1e3 * (1 + Math.random() / 4);
  return Math.min(maxRetryDelay, retryDelay * 2 ** failures) * (0.5 + Math.random() / 2);
}

// client/cursor.js
function partsOf(cursor) {
  const [epoch = "", revision = "0", hash = ""] = cursor.split(".");
  return { epoch, revision: Number(revision), hash };
}
function cursorOf(etag) {
  const [, epoch, revision, hash] = /^(?:W\/)?"(.+)-(\d+)-([0-9a-f]+)"$/.exec(etag) ?? [];
  return hash === void 0 ? null : `${epoch}.${revision}.${hash}`;
}
var revisionOf = (cursor) => partsOf(cursor).revision;
var isOf = (entry, epoch) => entry.cursor == null || partsOf(entry.cursor).epoch === epoch;
var isDone = (entry, copy2) => entry.state === "acked" && copy2 !== null && (!isOf(entry, copy2.epoch) || (entry.revision ?? 0) <= copy2.revision);

// client/paths.js
var GET_ALL = "/api/inventory/get-all";
var CHANGES = "/api/inventory/changes";
var STREAM = "/api/inventory/stream";
var ADJUST = "/api/inventory/adjust";

// client/sse.js
var EventParser = class {
  #rest = "";
  /** @type {{event: string, id: string | null, data: string[]}} */
  #next = { event: "message", id: null, data: [] };
  /** Milliseconds after which the server wants to be asked again. */
  retry = 2e3;
  /** @param {string} text @returns {{event: string, id: string | null, data: any}[]} */
  push(text) {
    const events = [];
    const lines = (this.#rest + text).split(/\r?\n/);
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (line === "") {
        const { event, id, data } = this.#next;
        if (data.length > 0) events.push({ event, id, data: parsed(data.join("\n")) });
        this.#next = { event: "message", id: null, data: [] };
      } else if (field === "event") this.#next.event = value;
      else if (field === "id") this.#next.id = value;
      else if (field === "data") this.#next.data.push(value);
      else if (field === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
    }
    return events;
  }
};
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ExpressoPersistError("The feed of the server arrived damaged.", {
      code: "network",
      cause
    });
  }
}

// client/feed.js
var STREAM_SILENCE = 45e3;
var STREAM_STALE = 2e4;
var FIRST_BYTE = 1e4;
var BRIEF = 3e3;
var LONG_POLL = 25;
var HOLD = 1e3;
var Feed = class {
  /** @type {FeedContext} */
  #context;
  /** @type {AbortController | null} */
  #streaming = null;
  #lastChunk = 0;
  #streamAt = 0;
  #waitAt = 0;
  /** Streams in a row that ended at once. */
  #brief = 0;
  /** @param {FeedContext} context */
  constructor(context) {
    this.#context = context;
  }
  /** End the stream that is open; another one is begun where it ended. */
  cut() {
    this.#streaming?.abort();
  }
  /** After a sleep the timers have slept too, and the connection is rarely alive. */
  cutIfStale() {
    if (Math.abs(Date.now() - this.#lastChunk) > STREAM_STALE) this.cut();
  }
  /** @param {AbortSignal} lost */
  async follow(lost) {
    const { link, replica, settings, wake } = this.#context;
    this.#streamAt = 0;
    this.#waitAt = 0;
    this.#brief = 0;
    let failures = 0;
    let cursor = "";
    while (!lost.aborted) {
      try {
        await replica.require();
        cursor = cursor || await this.#followFrom(this.#copied());
        cursor = await this.#page(cursor, 0, lost);
        failures = 0;
        if (lost.aborted) return;
        cursor = await this.#wait(cursor, lost);
      } catch (error) {
        if (lost.aborted) return;
        link.update({ caughtUp: false });
        link.failed(error);
        await wake.wait(pauseAfter(failures, settings, error), lost);
        failures += 1;
      }
    }
  }
  #copied() {
    return this.#context.replica.copy?.cursor ?? "";
  }
  /** @param {string} copied the cursor of the copy @returns {Promise<string>} where to follow from */
  async #followFrom(copied) {
    const { recovery, replica } = this.#context;
    const from = recovery.acknowledged.from(copied);
    if (from === null) {
      await recovery.heal();
      recovery.acknowledged.begin(copied);
      return copied;
    }
    replica.want(revisionOf(from));
    await recovery.countAside(partsOf(from).epoch);
    return from;
  }
  /** Wait for something new, in the best way that works. @param {string} cursor @param {AbortSignal} lost */
  async #wait(cursor, lost) {
    const { link, settings, wake } = this.#context;
    if (Date.now() >= this.#streamAt) return this.#tryStream(cursor, lost);
    if (Date.now() >= this.#waitAt) {
      const began = Date.now();
      link.update({ feed: "long-poll", online: true, caughtUp: true });
      const after = await this.#page(cursor, LONG_POLL, lost);
      if (after === cursor && Date.now() - began < 1e3) this.#waitAt = Date.now() + NO_STREAM;
      return after;
    }
    link.update({ feed: "poll", online: true, caughtUp: true });
    await wake.wait(settings.pollInterval * (0.75 + Math.random() / 2), lost);
    return cursor;
  }
  /** @param {string} cursor @param {AbortSignal} lost */
  async #tryStream(cursor, lost) {
    const began = Date.now();
    try {
      cursor = await this.#stream(cursor, lost);
      this.#brief = Date.now() - began < BRIEF ? this.#brief + 1 : 0;
      if (this.#brief >= 3) this.#streamAt = Date.now() + 6e4;
      const pause = Math.min(3e3, 200 * 2 ** this.#brief) * (0.5 + Math.random());
      await this.#context.wake.wait(pause, lost);
    } catch (error) {
      const pause = streamPause(error);
      if (pause === null) throw error;
      this.#streamAt = Date.now() + pause * (0.75 + Math.random() / 2);
    }
    return cursor;
  }
  /**
   * Read what came after a cursor, to the end.
   * @param {string} cursor
   * @param {number} wait seconds that the server may wait for something
   * @param {AbortSignal} lost
   */
  async #page(cursor, wait, lost) {
    const { link, recovery, transport } = this.#context;
    for (let more = true; more && !lost.aborted; wait = 0) {
      const since = encodeURIComponent(cursor);
      const path = `${CHANGES}?since=${since}&limit=500${wait > 0 ? `&wait=${wait}` : ""}`;
      const timeout = wait > 0 ? (wait + 15) * 1e3 : void 0;
      const { ahead } = recovery.acknowledged;
      const { data } = await transport.read(path, null, lost, timeout);
      if (lost.aborted) return cursor;
      link.reached();
      if (data.reset === true || data.has_more !== true && ahead > revisionOf(data.cursor)) {
        cursor = await this.#reset();
        continue;
      }
      await this.#take(data.commits, data.cursor);
      cursor = data.cursor;
      more = data.has_more === true;
    }
    return cursor;
  }
  /** @returns {Promise<string>} where to go on */
  async #reset() {
    const { link, recovery, replica } = this.#context;
    link.update({ caughtUp: false });
    await recovery.heal();
    await replica.fetch(true);
    const cursor = this.#copied();
    recovery.acknowledged.begin(cursor);
    return cursor;
  }
  /** @param {Commit[]} commits @param {string} cursor */
  async #take(commits, cursor) {
    if (commits.length === 0) return;
    const { arrived, recovery, replica, sending } = this.#context;
    const underway = sending();
    if (underway !== null) await Promise.race([underway, sleep(HOLD)]);
    if (!recovery.acknowledged.passed(commits, cursor)) {
      await recovery.heal();
      recovery.acknowledged.passed(commits, cursor);
    }
    replica.keepSoon();
    replica.absorb(commits, cursor);
    await arrived(commits, cursor);
  }
  /** @param {string} since @param {AbortSignal} lost @returns {Promise<string>} where it ended */
  async #stream(since, lost) {
    const { link, transport } = this.#context;
    const place = { cursor: since };
    const streaming = new AbortController();
    const end = () => streaming.abort();
    lost.addEventListener("abort", end);
    this.#streaming = streaming;
    this.#lastChunk = Date.now();
    let begun = false;
    let held2 = false;
    let timer = setTimeout(() => {
      held2 = true;
      end();
    }, FIRST_BYTE);
    try {
      const path = `${STREAM}?since=${encodeURIComponent(since)}`;
      const response = await transport.stream(path, streaming.signal);
      const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
      const parser = new EventParser();
      for (let open = true; open; ) {
        const { done, value } = await reader?.read() ?? { done: true, value: void 0 };
        if (done || lost.aborted) break;
        clearTimeout(timer);
        timer = setTimeout(end, STREAM_SILENCE);
        this.#lastChunk = Date.now();
        link.reached();
        if (!begun) link.update({ feed: "stream", caughtUp: true });
        begun = true;
        open = await this.#events(parser.push(value), place);
      }
      return place.cursor;
    } catch (error) {
      if (error instanceof ExpressoPersistError) throw error;
      if (!held2) return place.cursor;
      throw new ExpressoPersistError("Something on the way holds the stream back.", {
        code: "no_stream",
        cause: error
      });
    } finally {
      clearTimeout(timer);
      lost.removeEventListener("abort", end);
      this.#streaming = null;
      streaming.abort();
    }
  }
  /**
   * @param {{event: string, id: string | null, data: any}[]} events
   * @param {{cursor: string}} place moved to where they end
   * @returns {Promise<boolean>} whether the stream goes on
   */
  async #events(events, place) {
    let commits = [];
    for (const { event, id, data } of events) {
      if (event === "commit") {
        commits.push(data);
        place.cursor = id ?? place.cursor;
      } else if (event === "reset") {
        commits = [];
        place.cursor = await this.#reset();
        this.#context.link.update({ caughtUp: true });
      } else if (event === "end") {
        await this.#take(commits, place.cursor);
        return false;
      }
    }
    await this.#take(commits, place.cursor);
    return true;
  }
};

// client/signal.js
var Signal = class {
  /** @type {Set<() => void>} */
  #waiting = /* @__PURE__ */ new Set();
  notify() {
    for (const wake of [...this.#waiting]) wake();
  }
  /** @param {number} milliseconds @param {AbortSignal} signal @returns {Promise<void>} */
  wait(milliseconds, signal) {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        signal.removeEventListener("abort", wake);
        resolve();
      };
      const timer = setTimeout(wake, milliseconds);
      this.#waiting.add(wake);
      signal.addEventListener("abort", wake);
      if (signal.aborted) wake();
    });
  }
};

// client/storage.js
var OUTBOX_PREFIX = "expresso_persist_outbox:";
var DATABASE = "expresso-persist";
var LEASE = 6e3;
var TRAIL = " trail";
var answerOf = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});
var isHeld = (lease, owner, now) => isObject(lease) && lease.owner !== owner && lease.until > now && lease.until <= now + 2 * LEASE;
var IndexedDbStorage = class {
  kind = (
    /** @type {const} */
    "indexeddb"
  );
  /** @type {Promise<IDBDatabase> | null} */
  #database = null;
  /** @returns {Promise<IDBDatabase>} */
  #open() {
    this.#database ??= new Promise((resolve, reject) => {
      const request = indexedDB.open(DATABASE, 2);
      const late = setTimeout(() => reject(new Error("IndexedDB does not answer.")), 5e3);
      request.onupgradeneeded = ({ oldVersion }) => {
        if (oldVersion < 1) {
          const outbox = request.result.createObjectStore("outbox", {
            keyPath: "seq",
            autoIncrement: true
          });
          outbox.createIndex("scope", "scope");
          outbox.createIndex("id", ["scope", "id"], { unique: true });
          request.result.createObjectStore("copies", { keyPath: "scope" });
          request.result.createObjectStore("leases", { keyPath: "name" });
        }
        const acknowledged = request.result.createObjectStore("acknowledged", {
          keyPath: ["scope", "id"]
        });
        acknowledged.createIndex("scope", "scope");
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
        database.onclose = forget;
        resolve(database);
      };
    });
    this.#database.catch(() => this.#database = null);
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
        const transaction = database.transaction(stores, mode, { durability: "strict" });
        const stored2 = new Promise((resolve, reject) => {
          transaction.oncomplete = resolve;
          transaction.onabort = () => reject(transaction.error);
        });
        stored2.catch(() => {
        });
        const result = await work(transaction);
        await stored2;
        return result;
      } catch (error) {
        const gone = error instanceof DOMException && error.name === "InvalidStateError";
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
    return this.#run(
      ["outbox"],
      "readonly",
      (transaction) => answerOf(transaction.objectStore("outbox").index("scope").getAll(scope))
    );
  }
  /** @param {Entry} entry */
  async add({ seq: _, ...entry }) {
    return Number(
      await this.#run(
        ["outbox"],
        "readwrite",
        (transaction) => answerOf(transaction.objectStore("outbox").add(entry))
      )
    );
  }
  /** @param {string} scope @param {string} id @param {(entry: Entry) => Entry | null} edit */
  edit(scope, id, edit) {
    return this.#run(["outbox"], "readwrite", async (transaction) => {
      const outbox = transaction.objectStore("outbox");
      const entry = await answerOf(outbox.index("id").get([scope, id]));
      if (entry === void 0) return;
      const edited = edit(entry);
      await answerOf(edited === null ? outbox.delete(entry.seq) : outbox.put(edited));
    });
  }
  /** @param {string} scope */
  async copy(scope) {
    const found = await this.#run(
      ["copies"],
      "readonly",
      (transaction) => answerOf(transaction.objectStore("copies").get(scope))
    );
    return found?.copy ?? null;
  }
  /** @param {string} scope @param {any} copy */
  async keep(scope, copy2) {
    await this.#run(
      ["copies"],
      "readwrite",
      (transaction) => answerOf(transaction.objectStore("copies").put({ scope, copy: copy2 }))
    );
  }
  /** @param {string} scope @returns {Promise<Entry[]>} */
  acknowledged(scope) {
    return this.#run(
      ["acknowledged"],
      "readonly",
      (transaction) => answerOf(transaction.objectStore("acknowledged").index("scope").getAll(scope))
    );
  }
  /** @param {string} scope @param {string[]} ids */
  file(scope, ids) {
    return this.#run(["outbox", "acknowledged"], "readwrite", async (transaction) => {
      const outbox = transaction.objectStore("outbox");
      for (const id of ids) {
        const entry = await answerOf(outbox.index("id").get([scope, id]));
        if (entry?.state !== "acked") continue;
        await answerOf(transaction.objectStore("acknowledged").put(entry));
        await answerOf(outbox.delete(entry.seq));
      }
    });
  }
  /** @param {string} scope @param {Entry[]} entries @param {string[]} [gone] */
  move(scope, entries, gone = []) {
    return this.#run(["outbox", "acknowledged"], "readwrite", async (transaction) => {
      const outbox = transaction.objectStore("outbox");
      const acknowledged = transaction.objectStore("acknowledged");
      for (const id of [...entries.map((entry) => entry.id), ...gone]) {
        const seq = await answerOf(outbox.index("id").getKey([scope, id]));
        if (seq !== void 0) await answerOf(outbox.delete(seq));
        await answerOf(acknowledged.delete([scope, id]));
      }
      for (const entry of entries) {
        await answerOf((entry.state === "acked" ? acknowledged : outbox).put(entry));
      }
    });
  }
  /** @param {string} scope */
  forget(scope) {
    return this.#run(["copies"], "readwrite", async (transaction) => {
      const copies = transaction.objectStore("copies");
      await answerOf(copies.delete(scope));
      await answerOf(copies.delete(IDBKeyRange.bound(`${scope} /`, `${scope} /￿`)));
    });
  }
  /** @param {string} name @param {string} owner */
  lease(name, owner) {
    return this.#run(["leases"], "readwrite", async (transaction) => {
      const leases = transaction.objectStore("leases");
      const now = Date.now();
      if (isHeld(await answerOf(leases.get(name)), owner, now)) return false;
      await answerOf(leases.put({ name, owner, until: now + LEASE }));
      return true;
    });
  }
};
var LocalStorageStorage = class {
  kind = (
    /** @type {const} */
    "localstorage"
  );
  ready() {
    const probe = `${OUTBOX_PREFIX}probe`;
    localStorage.setItem(probe, "1");
    localStorage.removeItem(probe);
  }
  /** @param {string} scope */
  async entries(scope) {
    return this.#all("entry", scope);
  }
  /** @param {string} scope */
  async acknowledged(scope) {
    return this.#all("acknowledged", scope);
  }
  /** @param {string} store @param {string} scope */
  #all(store, scope) {
    const found = [];
    for (let index = 0; index < localStorage.length; index += 1) {
      const name = localStorage.key(index) ?? "";
      if (!name.startsWith(`${OUTBOX_PREFIX}${store}:`)) continue;
      const entry = JSON.parse(localStorage.getItem(name) ?? "null");
      if (entry?.scope === scope) found.push(entry);
    }
    return found;
  }
  /** @param {Entry} entry */
  async add(entry) {
    const others = [...this.#all("entry", entry.scope), ...this.#all("acknowledged", entry.scope)];
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
    return JSON.parse(localStorage.getItem(`${OUTBOX_PREFIX}copy:${scope}`) ?? "null");
  }
  /** @param {string} scope @param {any} copy Documents have no room here. */
  async keep(scope, copy2) {
    if (scope.endsWith(TRAIL)) {
      localStorage.setItem(`${OUTBOX_PREFIX}copy:${scope}`, JSON.stringify(copy2));
    }
  }
  async forget() {
  }
  /** @param {string} scope @param {string[]} ids */
  async file(scope, ids) {
    const acked = (await this.entries(scope)).filter(({ state }) => state === "acked");
    await this.move(scope, acked.filter(({ id }) => ids.includes(id)));
  }
  /** @param {string} scope @param {Entry[]} entries @param {string[]} [gone] */
  async move(scope, entries, gone = []) {
    for (const entry of entries) {
      const store = entry.state === "acked" ? "acknowledged" : "entry";
      localStorage.setItem(this.#name(scope, entry.id, store), JSON.stringify(entry));
      const other = store === "entry" ? "acknowledged" : "entry";
      localStorage.removeItem(this.#name(scope, entry.id, other));
    }
    for (const id of gone) {
      localStorage.removeItem(this.#name(scope, id, "entry"));
      localStorage.removeItem(this.#name(scope, id, "acknowledged"));
    }
  }
  /** @param {string} name @param {string} owner Two may hold it for a moment; see `Live`. */
  async lease(name, owner) {
    const place = `${OUTBOX_PREFIX}lease:${name}`;
    const now = Date.now();
    if (isHeld(JSON.parse(localStorage.getItem(place) ?? "null"), owner, now)) return false;
    localStorage.setItem(place, JSON.stringify({ owner, until: now + LEASE }));
    await sleep(20);
    return JSON.parse(localStorage.getItem(place) ?? "null")?.owner === owner;
  }
  /** @param {string} scope @param {string} id @param {string} [store] */
  #name(scope, id, store = "entry") {
    return `${OUTBOX_PREFIX}${store}:${scope}:${id}`;
  }
};
var MemoryStorage = class {
  kind = (
    /** @type {const} */
    "memory"
  );
  /** @returns {Promise<Entry[]>} */
  async entries() {
    return [];
  }
  /** @returns {Promise<number>} */
  async add() {
    throw new Error("This browser keeps nothing.");
  }
  async edit() {
  }
  async copy() {
    return null;
  }
  async keep() {
  }
  async forget() {
  }
  /** @returns {Promise<Entry[]>} */
  async acknowledged() {
    return [];
  }
  async file() {
  }
  async move() {
  }
  async lease() {
    return true;
  }
};
async function openStorage() {
  for (const store of [new IndexedDbStorage(), new LocalStorageStorage()]) {
    try {
      await store.ready();
      return store;
    } catch {
    }
  }
  return new MemoryStorage();
}

// client/leader.js
var SILENCE = 1e4;
var Leader = class {
  /** @type {LeaderContext} */
  #context;
  /** @type {OutboxStorage} */
  #storage = new MemoryStorage();
  #leading = false;
  #steal = false;
  #name = "";
  #lastAlive = 0;
  /** @type {AbortController | null} */
  #turn = null;
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
    if (this.#context.tabs.alone || globalThis.navigator?.locks !== void 0) return true;
    return this.#renew();
  }
  /** Lead whenever it is this tab's turn. */
  async run() {
    const { signInNeeded, stop } = this.#context;
    while (!stop.aborted) {
      await this.#takeTurn((lost) => this.#lead(lost)).catch((error) => {
        setTimeout(() => {
          throw error;
        });
      });
      await this.#signIn.wait(signInNeeded() ? 5e3 + Math.random() * 5e3 : 50, stop);
    }
  }
  /** @param {AbortSignal} lost */
  async #lead(lost) {
    if (lost.aborted) return;
    const turn = new AbortController();
    lost.addEventListener("abort", () => turn.abort());
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
    stop.addEventListener("abort", end);
    try {
      if (tabs.alone) await work(lost.signal);
      else if (locks === void 0) await this.#takeLease(work, lost);
      else await this.#takeLock(locks, work, lost);
    } finally {
      stop.removeEventListener("abort", end);
      lost.abort();
    }
  }
  /** @param {LockManager} locks @param {(lost: AbortSignal) => Promise<void>} work @param {AbortController} lost */
  async #takeLock(locks, work, lost) {
    const waiting = new AbortController();
    const endWaiting = () => waiting.abort();
    lost.signal.addEventListener("abort", endWaiting);
    let working = Promise.resolve();
    let begun = false;
    const begin = () => {
      begun = true;
      working = work(lost.signal);
      return working;
    };
    this.#lastAlive = Date.now();
    const watch = setInterval(() => {
      const seen = globalThis.document?.visibilityState !== "hidden";
      if (begun || !seen || Math.abs(Date.now() - this.#lastAlive) < SILENCE) return;
      this.#steal = true;
      waiting.abort();
    }, 1e3);
    const steal = this.#steal;
    this.#steal = false;
    try {
      const how = steal ? { steal } : { signal: waiting.signal };
      await locks.request(`expresso-persist ${this.#context.scope}`, how, begin);
    } catch {
    } finally {
      clearInterval(watch);
      lost.abort();
      await working.catch(() => {
      });
    }
  }
  /** Without Web Locks, as on plain http. @param {(lost: AbortSignal) => Promise<void>} work @param {AbortController} lost */
  async #takeLease(work, lost) {
    const pause = new Signal();
    while (!await this.#renew()) {
      await pause.wait(1e3 + Math.random() * 500, lost.signal);
      if (lost.signal.aborted) return;
    }
    const renewal = setInterval(async () => {
      if (!await this.#renew()) lost.abort();
    }, LEASE / 3);
    try {
      await work(lost.signal);
    } finally {
      clearInterval(renewal);
    }
  }
  async #renew() {
    const { me, scope } = this.#context;
    return this.#storage.lease(`lead ${scope}`, me).catch(() => true);
  }
};

// client/link.js
var Link = class {
  /** @type {LinkState} */
  #state = { online: null, caughtUp: false, feed: "off", signInNeeded: false, lastServerAck: null, setAside: 0 };
  /** @type {LinkListener} */
  #listener;
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
};

// client/entries.js
var Entries = class {
  /** @type {Map<string, Entry>} */
  #known = /* @__PURE__ */ new Map();
  /** @type {Set<string>} about to be stored */
  #saving = /* @__PURE__ */ new Set();
  /** @type {Set<string>} nothing but the memory of a page holds them */
  #volatile = /* @__PURE__ */ new Set();
  /** @type {Set<string>} made by this page */
  #mine = /* @__PURE__ */ new Set();
  /** @type {Set<string>} done with, lest an old message brings them back */
  #settled = /* @__PURE__ */ new Set();
  /** @param {string} id */
  get(id) {
    return this.#known.get(id);
  }
  /** @param {Entry} entry */
  set(entry) {
    this.#known.set(entry.id, entry);
  }
  /** @param {Entry} entry a new write of this page */
  make(entry) {
    this.set(entry);
    this.#mine.add(entry.id);
    this.#saving.add(entry.id);
  }
  /** @param {string} id @param {boolean} kept whether the storage has it */
  saved(id, kept) {
    this.#saving.delete(id);
    if (kept) this.#volatile.delete(id);
    else this.#volatile.add(id);
  }
  /** It is in the storage already, from another tab. @param {string} id */
  notSaved(id) {
    this.#saving.delete(id);
  }
  /** @param {string} id */
  setVolatile(id) {
    this.#volatile.add(id);
  }
  /** @param {string} id */
  isVolatile(id) {
    return this.#volatile.has(id);
  }
  /** @param {string} id */
  isSettled(id) {
    return this.#settled.has(id);
  }
  /** @param {string} id */
  settle(id) {
    this.#settled.add(id);
  }
  /** @param {Entry} entry that is sent again */
  reopen(entry) {
    this.#settled.delete(entry.id);
    this.set(entry);
  }
  /** @param {string} id */
  discard(id) {
    this.settle(id);
    this.#known.delete(id);
    this.#volatile.delete(id);
  }
  /** @param {string} id @returns {boolean} whether it waits in the storage for its turn */
  isQueued(id) {
    return this.#known.get(id)?.state === "queued" && !this.#saving.has(id);
  }
  /** @returns {Entry[]} */
  inOrder() {
    return [...this.#known.values()].sort((a, b) => a.seq - b.seq);
  }
  /** @returns {Entry | undefined} the next to send */
  next() {
    return this.inOrder().find(({ id }) => this.isQueued(id));
  }
  /** @returns {number} a place after all others, where the storage gives none */
  placeAtEnd() {
    const last = this.inOrder().filter(({ seq }) => seq < Number.MAX_SAFE_INTEGER).at(-1);
    return (last?.seq ?? 0) + 1e-6;
  }
  /** @param {Copy | null} copy @returns {Entry[]} those whose effect the local copy does not have yet */
  waiting(copy2) {
    return this.inOrder().filter((entry) => entry.state !== "parked" && !isDone(entry, copy2));
  }
  /** @returns {Parked[]} */
  parked() {
    return this.inOrder().filter((entry) => entry.state === "parked").map(({ id, path, body, at, error }) => ({ id, path, body: JSON.parse(body), at, error }));
  }
  /** @returns {Entry[]} */
  volatile() {
    return [...this.#volatile].flatMap((id) => this.#known.get(id) ?? []);
  }
  /** @returns {string} equal as long as the same writes are in the same states */
  summary() {
    return JSON.stringify(this.inOrder().map(({ id, key, state }) => [id, key, state]));
  }
  /**
   * What a status says of them. `settled`: the local copy has all that the server took.
   * @param {Copy | null} copy
   */
  figures(copy2) {
    const entries = [...this.#known.values()];
    const queued = entries.filter((entry) => entry.state === "queued");
    const oldest = Math.min(...queued.map((entry) => entry.at));
    return {
      pending: queued.length,
      parked: entries.filter((entry) => entry.state === "parked").length,
      oldestPendingAge: queued.length > 0 ? Math.max(0, Date.now() - oldest) : null,
      kept: entries.every(({ id, state }) => state === "acked" || !this.#volatile.has(id)),
      settled: entries.every((entry) => entry.state !== "acked" || isDone(entry, copy2))
    };
  }
  /** Drop what the local copy has. @param {Copy | null} copy */
  forgetDone(copy2) {
    for (const entry of this.#known.values()) {
      if (!isDone(entry, copy2)) continue;
      this.#known.delete(entry.id);
      this.#volatile.delete(entry.id);
      this.#mine.delete(entry.id);
    }
  }
  /**
   * Take over what the storage has.
   * @param {(known: Entry[]) => Promise<Entry[]>} read
   * @returns {Promise<string[]>} ids of this page that the storage lacks, to be stored again
   */
  async merge(read) {
    const known = new Map(this.#known);
    const before = [...known.values()].filter((entry) => !this.#saving.has(entry.id));
    const stored2 = await read(before);
    for (const entry of stored2) {
      const same = this.#known.get(entry.id) === known.get(entry.id);
      if (same && !this.#settled.has(entry.id) && !this.#saving.has(entry.id)) this.set(entry);
    }
    const ids = new Set(stored2.map((entry) => entry.id));
    const missing = [];
    for (const { id, state } of before) {
      if (ids.has(id) || this.#volatile.has(id) || state === "acked") continue;
      const entry = this.#known.get(id);
      if (entry !== void 0 && state === "queued" && this.#mine.has(id)) {
        this.#saving.add(id);
        missing.push(id);
      } else if (entry === known.get(id)) this.#known.delete(id);
    }
    return missing;
  }
};

// client/outcomes.js
var Outcomes = class {
  /** @type {Map<string, {resolve: (answer: any) => void, reject: (error: any) => void, promise: Promise<any>}>} */
  #open = /* @__PURE__ */ new Map();
  /** @param {string} id @returns {Promise<any>} settled when the server has taken or refused it */
  of(id) {
    const known = this.#open.get(id);
    if (known !== void 0) return known.promise;
    const outcome = {};
    outcome.promise = new Promise((resolve, reject) => Object.assign(outcome, { resolve, reject }));
    outcome.promise.catch(() => {
    });
    this.#open.set(id, outcome);
    return outcome.promise;
  }
  /** @param {string} id @param {any} answer */
  resolve(id, answer) {
    this.#open.get(id)?.resolve(answer);
    this.#open.delete(id);
  }
  /** @param {string} id @param {unknown} error */
  reject(id, error) {
    this.#open.get(id)?.reject(error);
    this.#open.delete(id);
  }
  /** @returns {string[]} the ids of those that are not settled */
  ids() {
    return [...this.#open.keys()];
  }
};

// client/outbox.js
var UNSENT = {
  revision: null,
  data: null,
  pending: true,
  message: "Kept on this device; it is sent as soon as the server can be reached."
};
var Outbox = class {
  entries = new Entries();
  /** Notified when there may be something to send. */
  ready = new Signal();
  /** @type {OutboxContext} */
  #context;
  /** @type {OutboxStorage} */
  #storage = new MemoryStorage();
  #outcomes = new Outcomes();
  /** @param {OutboxContext} context */
  constructor(context) {
    this.#context = context;
  }
  /** @param {OutboxStorage} storage */
  async open(storage) {
    this.#storage = storage;
    await this.load();
  }
  /** Read what other tabs or an earlier page left in the storage. */
  async load() {
    const { scope } = this.#context;
    const missing = await this.entries.merge(
      (known) => this.#storage.entries(scope).catch(() => known)
    );
    for (const id of missing) {
      const entry = this.entries.get(id);
      if (entry === void 0) this.entries.notSaved(id);
      else await this.#save(entry);
    }
    this.forgetDone();
    this.#context.changed(null);
  }
  /** What a status says of it. */
  figures() {
    const { kind } = this.#storage;
    const { kept, ...figures } = this.entries.figures(this.#context.copy());
    return { ...figures, storage: kind, durable: kind !== "memory" && kept };
  }
  /** Drop what the local copy has. */
  forgetDone() {
    this.entries.forgetDone(this.#context.copy());
  }
  /* what callers do with it */
  /**
   * @param {string} path
   * @param {string} body
   * @param {WriteOptions} options
   * @returns {Promise<Written>}
   */
  async write(path, body, options) {
    const id = options.idempotencyKey ?? randomKey();
    const known = this.entries.get(id);
    if (known !== void 0) return this.#again(known, path, body);
    const { scope } = this.#context;
    const entry = {
      ...{ scope, id, key: id, path, body, ifMatch: options.ifMatch ?? null, at: Date.now() },
      ...{ seq: Number.MAX_SAFE_INTEGER, state: "queued", error: null, revision: null, cursor: null }
    };
    this.entries.make(entry);
    const outcome = this.#outcomes.of(id);
    this.#context.changed("write");
    await this.#context.started();
    await this.#save(entry);
    return this.#patiently(outcome);
  }
  /** @param {Entry} known @param {string} path @param {string} body @returns {Promise<Written>} */
  #again(known, path, body) {
    if (known.path !== path || known.body !== body) {
      throw new ExpressoPersistError("This idempotency key stands for another write.", {
        status: 422,
        code: "idempotency_mismatch"
      });
    }
    return this.#patiently(this.#outcomes.of(known.id));
  }
  /** @param {Entry} entry */
  async #save(entry) {
    try {
      entry.seq = await this.#storage.add(entry);
      this.entries.saved(entry.id, true);
    } catch (error) {
      if (error instanceof DOMException && error.name === "ConstraintError") {
        this.entries.notSaved(entry.id);
        await this.load();
        return;
      }
      entry.seq = this.entries.placeAtEnd();
      this.entries.saved(entry.id, false);
    }
    this.#context.post({ type: "queued", entry, volatile: this.entries.isVolatile(entry.id) });
    this.ready.notify();
    this.#context.changed(null);
  }
  /** @param {Promise<any>} outcome @returns {Promise<any>} it, or that it will take longer */
  async #patiently(outcome) {
    const patience = this.#context.offline() ? 0 : this.#context.patience;
    return Promise.race([outcome, sleep(patience).then(() => ({ ...UNSENT }))]);
  }
  /** Answer the callers who wait that it takes longer. */
  resolvePending() {
    for (const id of this.#outcomes.ids()) {
      if (this.entries.isQueued(id)) this.#outcomes.resolve(id, { ...UNSENT });
    }
  }
  /**
   * Send a refused write again.
   * @param {string} id
   * @param {string} [body] another one: then it is another write, with a key of its own
   * @returns {Promise<Written>}
   */
  async unpark(id, body) {
    const parked = this.#parkedEntry(id);
    const edits = body === void 0 ? {} : { body, key: randomKey(), ifMatch: null };
    const entry = { ...parked, ...edits, state: "queued", error: null, cursor: null, base: null, lost: null };
    this.entries.set(entry);
    const outcome = this.#outcomes.of(id);
    this.#context.changed("write");
    await this.#edit(id, () => entry);
    this.#context.post({ type: "queued", entry });
    this.ready.notify();
    return this.#patiently(outcome);
  }
  /** @param {string} id of a refused write */
  async discard(id) {
    this.#parkedEntry(id);
    this.#discarded(id);
    await this.#edit(id, (entry) => entry.state === "parked" ? null : entry);
    this.#context.post({ type: "discarded", id });
  }
  /** @param {string} id @returns {Entry} */
  #parkedEntry(id) {
    const entry = this.entries.get(id);
    if (entry?.state === "parked") return entry;
    throw new ExpressoPersistError("There is no refused write of this name any more.", {
      code: "not_found"
    });
  }
  /** @param {string} id @param {(entry: Entry) => Entry | null} edit */
  async #edit(id, edit) {
    try {
      await this.#storage.edit(this.#context.scope, id, edit);
    } catch {
    }
  }
  /* what becomes of them */
  /** The server took a write. @param {string} id @param {Partial<Entry>} taken @param {Written} answer */
  async acknowledge(id, taken, answer) {
    const cursor = taken.cursor ?? null;
    await this.#edit(id, (stored2) => ({ ...stored2, ...taken }));
    this.#context.post({ type: "acked", id, answer, cursor });
    this.#acked(id, answer, cursor);
  }
  /** @param {string} id @param {Written} answer @param {string | null} cursor */
  #acked(id, answer, cursor) {
    const entry = this.entries.get(id);
    this.entries.settle(id);
    this.#outcomes.resolve(id, answer);
    if (entry === void 0) return;
    this.entries.set({ ...entry, state: "acked", revision: answer.revision, cursor });
    this.forgetDone();
    this.#context.acked();
  }
  /** The server refused a write. @param {string} id @param {ExpressoPersistError} fault */
  async park(id, { message, code, status, details, data }) {
    const error = { message, code, status, details, data };
    await this.#edit(id, (stored2) => ({ ...stored2, state: "parked", error }));
    this.#context.post({ type: "parked", id, error });
    this.#refused(id, error);
  }
  /** @param {string} id @param {Refusal} refusal */
  #refused(id, refusal) {
    const entry = this.entries.get(id);
    const error = new ExpressoPersistError(refusal.message, refusal);
    error.parked = id;
    if (entry !== void 0) this.entries.set({ ...entry, state: "parked", error: refusal });
    this.#outcomes.reject(id, error);
    this.#context.changed("refused");
  }
  /** @param {string} id */
  #discarded(id) {
    this.entries.discard(id);
    this.#context.changed(null);
  }
  /** Send writes again that are stored as queued. @param {Entry[]} entries */
  offer(entries) {
    if (entries.length === 0) return;
    this.#offered(entries);
    this.#context.post({ type: "offered", entries });
  }
  /** @param {Entry[]} entries */
  #offered(entries) {
    for (const entry of entries) this.entries.reopen(entry);
    this.#context.changed("write");
    this.ready.notify();
  }
  /** Offer what was refused because something was missing that has come now. @param {Commit[]} commits */
  async offerAgain(commits) {
    if (!commits.some(({ changes }) => changes.some(({ before }) => before === null))) return;
    const waiting = this.entries.inOrder().filter(
      ({ state, cursor, error }) => state === "parked" && cursor != null && error?.status === 404
    );
    const entries = waiting.map((entry) => ({ ...entry, state: "queued", error: null }));
    for (const entry of entries) await this.#edit(entry.id, () => entry);
    this.offer(entries);
  }
  /* the other tabs */
  /** Tell another tab that leads now what no storage holds. */
  postVolatile() {
    for (const entry of this.entries.volatile()) {
      this.#context.post({ type: "queued", entry, volatile: true });
    }
  }
  /** @param {any} message of another tab */
  receive(message) {
    switch (message.type) {
      case "queued":
        if (this.entries.isSettled(message.entry.id)) return;
        this.entries.set(message.entry);
        if (message.volatile) this.entries.setVolatile(message.entry.id);
        this.ready.notify();
        this.#context.changed("write");
        return;
      case "offered":
        this.#offered(message.entries);
        return;
      case "acked":
        this.#acked(message.id, message.answer, message.cursor ?? null);
        return;
      case "parked":
        if (this.entries.get(message.id) === void 0) void this.load();
        this.#refused(message.id, message.error);
        return;
      case "discarded":
        this.#discarded(message.id);
        return;
      default:
    }
  }
};

// client/acknowledged.js
var LONGEST_TRAIL = 1e3;
var READ_AGAIN = 500;
var DAY = 864e5;
var Acknowledged = class {
  /** @type {OutboxStorage} */
  #storage;
  /** @type {string} */
  #scope;
  /** @type {LiveSettings} */
  #settings;
  /** @type {Map<number, string>} cursors by revision, oldest first */
  #trail = /* @__PURE__ */ new Map();
  #reached = -1;
  /** @type {Map<number, Entry>} taken by the server; the feed has not come there */
  #ahead = /* @__PURE__ */ new Map();
  /** @type {Set<string>} ids that can be filed */
  #passed = /* @__PURE__ */ new Set();
  #filed = 0;
  /** @type {string | null} */
  #position = null;
  /** @param {OutboxStorage} storage @param {string} scope @param {LiveSettings} settings */
  constructor(storage, scope, settings) {
    this.#storage = storage;
    this.#scope = scope;
    this.#settings = settings;
  }
  /** @returns {string | null} the newest that this browser knows; a server without it lost something */
  get position() {
    return this.#position;
  }
  /** @returns {number} the newest revision that the server took and the feed has not come to, or -1 */
  get ahead() {
    return Math.max(-1, ...this.#ahead.keys());
  }
  /** What an earlier page, or another tab, left. */
  async load() {
    const trail = await this.#storage.copy(this.#scope + TRAIL).catch(() => null) ?? [];
    for (const cursor of trail) this.#reach(cursor);
    for (const entry of await this.#storage.entries(this.#scope).catch(() => [])) {
      if (entry.state === "acked") this.took(entry);
    }
    await this.#prune().catch(() => {
    });
  }
  /** @param {string} cursor of a copy @returns {string | null} where to follow from, so that nothing is left out */
  from(cursor) {
    const last = this.#trail.get(this.#reached);
    if (last === void 0 || partsOf(last).epoch !== partsOf(cursor).epoch) return null;
    return revisionOf(cursor) - this.#reached <= READ_AGAIN ? last : null;
  }
  /** The feed is followed from here on. @param {string} cursor */
  begin(cursor) {
    this.#reach(cursor);
  }
  /** @param {string} cursor */
  #reach(cursor) {
    const revision = revisionOf(cursor);
    this.#trail.delete(revision);
    this.#trail.set(revision, cursor);
    this.#reached = revision;
    this.#know(cursor);
    for (const oldest of this.#trail.keys()) {
      if (this.#trail.size <= LONGEST_TRAIL) break;
      this.#trail.delete(oldest);
    }
  }
  /** @param {string} cursor */
  #know(cursor) {
    const known = this.#position;
    if (known === null || revisionOf(cursor) >= revisionOf(known)) this.#position = cursor;
  }
  /** @param {Entry} entry that the server acknowledged @returns {boolean} false: it is lost already */
  took(entry) {
    const { id, cursor = null } = entry;
    const revision = entry.revision ?? 0;
    const here = this.#trail.get(revision);
    if (cursor !== null) this.#know(cursor);
    if (cursor !== null && revision > this.#reached) this.#ahead.set(revision, entry);
    else if (cursor !== null && here !== void 0 && here !== cursor) return false;
    else this.#passed.add(id);
    return true;
  }
  /** @param {Commit[]} commits of the feed @param {string} cursor @returns {boolean} false: a write is lost */
  passed(commits, cursor) {
    const { epoch, hash } = partsOf(cursor);
    for (const commit of commits) {
      const here = commit.hash === void 0 ? null : `${epoch}.${commit.revision}.${commit.hash.slice(0, hash.length)}`;
      const entry = this.#ahead.get(commit.revision);
      if (entry !== void 0 && here !== null && entry.cursor !== here) return false;
      if (entry !== void 0) this.#passed.add(entry.id);
      this.#ahead.delete(commit.revision);
      if (here !== null) this.#reach(here);
    }
    this.#reach(cursor);
    return true;
  }
  /** Keep what was learnt. */
  async save() {
    const ids = [...this.#passed];
    await this.#storage.file(this.#scope, ids);
    for (const id of ids) this.#passed.delete(id);
    await this.#storage.keep(this.#scope + TRAIL, [...this.#trail.values()]);
    this.#filed += ids.length;
    if (this.#filed >= 100) await this.#prune();
  }
  /** The oldest go first. */
  async #prune() {
    this.#filed = 0;
    const { keepDays, keepWrites, keepBytes } = this.#settings;
    const all = await this.#storage.acknowledged(this.#scope);
    all.sort((a, b) => (b.ackedAt ?? 0) - (a.ackedAt ?? 0) || b.seq - a.seq);
    let bytes = 0;
    const gone = all.filter((entry, index) => {
      bytes += 2 * entry.body.length + 500;
      const age = Date.now() - (entry.ackedAt ?? 0);
      return age > keepDays * DAY || index >= keepWrites || bytes > keepBytes;
    });
    if (gone.length > 0) await this.#storage.move(this.#scope, [], gone.map(({ id }) => id));
  }
  /** @param {string} epoch @returns {Promise<Entry[]>} what another store took, in its order */
  async aside(epoch) {
    const all = await this.#storage.acknowledged(this.#scope);
    return all.filter((entry) => !isOf(entry, epoch)).sort((a, b) => a.seq - b.seq);
  }
  /**
   * Find out what the server lost, and put it back into the outbox, in its order.
   * @param {(since: string) => Promise<{cursor: string, reset: boolean}>} ask the feed
   * @returns {Promise<{epoch: string, offers: Entry[]}>}
   */
  async heal(ask) {
    const { epoch } = partsOf((await ask(this.#position ?? "now")).cursor);
    const outbox = await this.#storage.entries(this.#scope);
    const filed = (await this.#storage.acknowledged(this.#scope)).filter((entry) => isOf(entry, epoch));
    const acked = outbox.filter((entry) => entry.state === "acked");
    const { known, gone } = await this.#shared(ask, epoch, [...filed, ...acked]);
    const end = revisionOf(known.at(-1) ?? "");
    const isLost2 = (entry) => entry.cursor != null && (entry.revision ?? 0) > end;
    const here = acked.filter((entry) => isOf(entry, epoch));
    const offers = [
      ...offersOf(filed.filter(isLost2), here.filter(isLost2), known, gone),
      ...await rebased(outbox.filter((entry) => isOffered(entry, epoch)), known, ask)
    ];
    const aside = outbox.filter((entry) => entry.state !== "parked" && !isOf(entry, epoch));
    const survived = here.filter((entry) => !isLost2(entry));
    const kept = [...aside, ...survived].map((entry) => ({
      ...entry,
      state: (
        /** @type {const} */
        "acked"
      )
    }));
    await this.#storage.move(this.#scope, [...offers, ...kept]);
    this.#ahead.clear();
    this.#passed.clear();
    this.#trail = new Map(known.map((cursor) => [revisionOf(cursor), cursor]));
    this.#reached = end;
    this.#position = known.at(-1) ?? null;
    return { epoch, offers };
  }
  /**
   * @param {(since: string) => Promise<{reset: boolean}>} ask
   * @param {string} epoch
   * @param {Entry[]} entries
   * @returns {Promise<{known: string[], gone: string[]}>} the positions that the server still has,
   *   and those that it has not; oldest first
   */
  async #shared(ask, epoch, entries) {
    const cursors = /* @__PURE__ */ new Map([[0, `${epoch}.0.0`]]);
    const theirs = entries.flatMap((entry) => [entry.before ?? "", entry.cursor ?? ""]);
    for (const cursor of [...this.#trail.values(), ...theirs]) {
      if (partsOf(cursor).epoch === epoch) cursors.set(revisionOf(cursor), cursor);
    }
    const sorted = [...cursors.values()].sort((a, b) => revisionOf(a) - revisionOf(b));
    let low = 0;
    for (let high = sorted.length, next = high - 1; high - low > 1; next = low + high >> 1) {
      if ((await ask(sorted[next] ?? "")).reset) high = next;
      else low = next;
    }
    return { known: sorted.slice(0, low + 1), gone: sorted.slice(low + 1) };
  }
};
var isOffered = (entry, epoch) => entry.state === "queued" && entry.cursor != null && isOf(entry, epoch);
function offersOf(filed, acked, known, gone) {
  const found = [...filed, ...acked].sort((a, b) => (a.revision ?? 0) - (b.revision ?? 0));
  const [first] = found;
  if (first === void 0) return [];
  const sentAt = first.since ? revisionOf(first.since) : 0;
  const most = filed.includes(first) ? (first.revision ?? 0) - 1 : sentAt;
  const before = known.filter((cursor) => revisionOf(cursor) <= most).at(-1) ?? "";
  const base = first.before != null && known.includes(first.before) ? first.before : before;
  const lost = gone.find((cursor) => revisionOf(cursor) > revisionOf(base)) ?? null;
  const places = found.map((entry) => entry.seq).sort((a, b) => a - b);
  return found.map((entry, index) => ({
    ...entry,
    ...{ base, lost, state: "queued", seq: places[index] ?? entry.seq }
  }));
}
async function rebased(offered, known, ask) {
  const end = revisionOf(known.at(-1) ?? "");
  const found = [];
  for (const entry of offered) {
    const base = entry.base ?? known[0] ?? "";
    const isThere = known.includes(base) || revisionOf(base) <= end && !(await ask(base)).reset;
    const common = (revisionOf(base) > end ? known.at(-1) : known[0]) ?? "";
    found.push(isThere ? entry : { ...entry, base: common, lost: base });
  }
  return found;
}

// client/recovery.js
var Recovery = class {
  /** @type {RecoveryContext} */
  #context;
  /** @type {OutboxStorage} */
  #storage = new MemoryStorage();
  /** @type {Acknowledged} of the tab that leads */
  #acknowledged;
  /** @type {Promise<void> | null} */
  #healing = null;
  /** @param {RecoveryContext} context */
  constructor(context) {
    this.#context = context;
    this.#acknowledged = this.#fresh();
  }
  #fresh() {
    return new Acknowledged(this.#storage, this.#context.scope, this.#context.settings);
  }
  /** @param {OutboxStorage} storage */
  open(storage) {
    this.#storage = storage;
  }
  /** Begin a turn with what an earlier page, or another tab, left. */
  async load() {
    this.#acknowledged = this.#fresh();
    await this.#acknowledged.load();
  }
  /** @returns {Acknowledged} as it is in this turn */
  get acknowledged() {
    return this.#acknowledged;
  }
  /** Put what the server lost back into the outbox. */
  heal() {
    this.#healing ??= this.#heal().finally(() => {
      this.#healing = null;
    });
    return this.#healing;
  }
  async #heal() {
    const { keepSoon, offer, stop, transport } = this.#context;
    const { epoch, offers } = await this.#acknowledged.heal(async (since) => {
      const path = `${CHANGES}?since=${encodeURIComponent(since)}&limit=1`;
      return (await transport.read(path, null, stop)).data;
    });
    await this.countAside(epoch);
    offer(offers);
    keepSoon();
  }
  /** @param {string} epoch */
  async countAside(epoch) {
    const aside = await this.#acknowledged.aside(epoch);
    this.#context.link.update({ setAside: aside.length });
  }
  /** @param {string | null} epoch of this store @returns {Promise<Entry[]>} the writes that another one took */
  async aside(epoch) {
    return epoch === null ? [] : this.#fresh().aside(epoch);
  }
  /**
   * @param {string | null} epoch of this store
   * @param {string[] | undefined} ids all where left out
   * @param {boolean} send or drop them
   */
  async resolveAside(epoch, ids, send) {
    const { link, offer, post, scope } = this.#context;
    const all = await this.aside(epoch);
    const chosen = all.filter(({ id }) => ids === void 0 || ids.includes(id));
    if (send) {
      const entries = chosen.map((entry) => ({ ...entry, state: "queued", cursor: null, revision: null }));
      await this.#storage.move(scope, entries);
      offer(entries);
    } else await this.#storage.move(scope, [], chosen.map(({ id }) => id));
    const count = all.length - chosen.length;
    link.update({ setAside: count });
    post({ type: "set-aside", count });
  }
};

// client/projection.js
var TOTAL = ["quantity", "total", "total_quantity"];
var ALLOCATED = ["allocated", "allocated_quantity"];
var AVAILABLE = ["available", "available_quantity"];
var AMOUNT = ["amount"];
var ALIASES = { extras: "other", other: "extras" };
var UPDATE_PATHS = {
  event_inventory: "/api/inventory/event-inventory/update",
  event_stock: "/api/inventory/event-stock/update",
  station_config: "/api/inventory/station-config/update",
  station_quantity: "/api/inventory/station-quantity/update",
  setting: "/api/inventory/settings/update",
  adjust: ADJUST
};
function placeIn(container, names) {
  for (const name of names) {
    if (Array.isArray(container)) {
      for (const member of ["id", "name"]) {
        const index = container.findIndex((item) => own(item, member) === name);
        if (index >= 0) return { holder: container, member: String(index) };
      }
    } else if (own(container, name) !== void 0) return { holder: container, member: name };
  }
  return null;
}
function namesOf(data, category, item) {
  const offer = own(data, "event_inventory") ?? {};
  for (const known of category === null ? Object.keys(offer) : [category]) {
    const list = own(offer, known);
    const found = Array.isArray(list) ? list.find((entry) => own(entry, "name") === item) : void 0;
    if (typeof own(found, "id") === "string") return [item, found.id];
  }
  return [item];
}
function eventPlace(data, category, names) {
  const levels = own(data, "event_stock_levels") ?? {};
  const nested = category === null ? Object.values(levels) : [own(levels, category)];
  for (const container of nested) {
    const found = isObject(container) ? placeIn(container, names) : null;
    if (found !== null && (category !== null || isObject(found.holder[found.member]))) return found;
  }
  return placeIn(levels, names);
}
function livePlace(data, station, category, names) {
  const stock = own(own(data, "station_stock"), station) ?? {};
  const categories = category === null ? Object.keys(stock) : [category, ALIASES[category] ?? category];
  for (const name of categories) {
    const found = placeIn(own(stock, name) ?? {}, names);
    if (found !== null) return found;
  }
  return null;
}
function allotmentPlace(data, station, category, names) {
  const allotted = own(own(data, "station_inventory_quantities"), station) ?? {};
  const nested = category === null ? Object.values(allotted) : [own(allotted, category)];
  for (const container of nested) {
    const found = isObject(container) ? placeIn(container, names) : null;
    if (found !== null) return found;
  }
  return placeIn(allotted, names);
}
function numberAt(place, names) {
  const value = place.holder[place.member];
  if (!isObject(value)) return Number(value) || 0;
  return Number(value[names.find((name) => own(value, name) !== void 0) ?? ""]) || 0;
}
function setNumber(place, names, number) {
  const value = place.holder[place.member];
  if (!isObject(value)) place.holder[place.member] = number;
  else value[names.find((name) => own(value, name) !== void 0) ?? names[0] ?? ""] = number;
}
function bump(place, names, delta) {
  setNumber(place, names, plus(numberAt(place, names), delta));
}
var hasNumber = (place, names) => names.some((name) => own(place.holder[place.member], name) !== void 0);
function newAllotment(data, station, category, item, value) {
  const allotted = child(child(data, "station_inventory_quantities"), station);
  if (category === null) setOwn(allotted, item, value);
  else setOwn(child(allotted, category), item, { quantity: value });
}
function newStock(data, station, body, quantity) {
  const stations = Object.values(own(data, "station_inventory_quantities") ?? {});
  const flat = stations.some((items) => Object.values(items).some((value) => !isObject(value)));
  const names = namesOf(data, body.category, body.item);
  newAllotment(data, station, flat ? null : body.category, names.at(-1) ?? body.item, quantity);
}
var stationOf = (body, member) => body[member] == null ? null : String(body[member]);
function stockChange(data, station, body, delta) {
  const names = namesOf(data, body.category, body.item);
  if (station === null) {
    const place2 = eventPlace(data, body.category, names);
    if (place2 === null) return;
    bump(place2, TOTAL, delta);
    if (hasNumber(place2, ALLOCATED)) {
      setNumber(place2, AVAILABLE, plus(numberAt(place2, TOTAL), -numberAt(place2, ALLOCATED)));
    } else if (hasNumber(place2, AVAILABLE)) bump(place2, AVAILABLE, delta);
    return;
  }
  const live = livePlace(data, station, body.category, names);
  const place = live ?? allotmentPlace(data, station, body.category, names);
  if (place !== null) bump(place, live === null ? TOTAL : AMOUNT, delta);
}
function stockCount(data, body) {
  const station = stationOf(body, "station_id");
  const names = namesOf(data, body.category, body.item);
  const live = station === null ? null : livePlace(data, station, body.category, names);
  const place = live ?? (station === null ? eventPlace(data, body.category, names) : allotmentPlace(data, station, body.category, names));
  if (place !== null) {
    const counted = body.quantity - numberAt(place, live === null ? TOTAL : AMOUNT);
    stockChange(data, station, body, counted);
  } else if (station !== null) {
    newStock(data, station, body, body.quantity);
  }
}
function stockHandover(data, station, body, delta) {
  const names = namesOf(data, body.category, body.item);
  if (station === null) {
    const place = eventPlace(data, body.category, names);
    if (place === null) return;
    bump(place, ALLOCATED, -delta);
    bump(place, AVAILABLE, delta);
    return;
  }
  const live = livePlace(data, station, body.category, names);
  if (live !== null) bump(live, AMOUNT, delta);
  const allotment = allotmentPlace(data, station, body.category, names);
  if (allotment !== null) bump(allotment, TOTAL, delta);
  else if (delta > 0) newStock(data, station, body, delta);
}
function adjustment(body) {
  const { item_id, item_name, ...rest } = body;
  if (body.item !== void 0 || body.field !== void 0) return body;
  return { category: "", ...rest, item: item_id ?? item_name };
}
function offerChange(data, body) {
  const { category, item_id, item_name, ...members } = body;
  const offer = child(data, "event_inventory");
  const place = placeIn(own(offer, category) ?? {}, [item_id ?? item_name]);
  const item = place === null ? void 0 : place.holder[place.member];
  if (place !== null && typeof item === "boolean") place.holder[place.member] = members.enabled;
  else if (isObject(item)) Object.assign(item, members);
  else if (own(offer, category) === void 0 ? Object.values(offer).some(Array.isArray) : Array.isArray(offer[category])) {
    if (own(offer, category) === void 0) setOwn(offer, category, []);
    const name = item_name ?? item_id;
    offer[category].push({ id: item_id ?? name, name, enabled: true, category, ...members });
  } else setOwn(child(offer, category), item_id ?? item_name, { enabled: true, ...members });
}
function levelChange(data, body) {
  const { category = null, item_id, item_name, ...members } = body;
  const names = item_id != null ? [item_id] : namesOf(data, category, item_name);
  let place = eventPlace(data, category, names);
  if (place === null) {
    const levels = child(data, "event_stock_levels");
    const holder = category === null ? levels : child(levels, category);
    place = { holder, member: names.at(-1) ?? item_name };
    setOwn(holder, place.member, { quantity: 0, allocated: 0, available: 0, unit: "units" });
  }
  for (const [member, value] of Object.entries(members)) {
    const names2 = [TOTAL, ALLOCATED, AVAILABLE].find((spellings) => spellings.includes(member));
    if (names2 !== void 0) setNumber(place, names2, Number(value));
    else if (isObject(place.holder[place.member])) setOwn(place.holder[place.member], member, value);
  }
}
function allotmentChange(data, body) {
  const station = String(body.station_id);
  const category = body.category ?? null;
  const names = body.item_id != null ? [body.item_id] : namesOf(data, category, body.item_name);
  const place = allotmentPlace(data, station, category, names);
  if (place !== null) setNumber(place, TOTAL, body.quantity);
  else newAllotment(data, station, category, names.at(-1) ?? "", body.quantity);
}
function applyWrite(data, path, body) {
  switch (path) {
    case "/api/inventory/event-inventory/update":
      return offerChange(data, body);
    case "/api/inventory/event-stock/update":
      return levelChange(data, body);
    case "/api/inventory/station-config/update":
      return setOwn(child(data, "station_inventory_configs"), String(body.station_id), body.config_data);
    case "/api/inventory/station-quantity/update":
      return allotmentChange(data, body);
    case "/api/inventory/settings/update":
      return setOwn(child(data, "settings"), body.key, body.value);
    case ADJUST:
      return stockChange(data, stationOf(body, "station_id"), adjustment(body), body.delta);
    case "/api/inventory/waste":
      return stockChange(data, stationOf(body, "station_id"), body, -body.quantity);
    case "/api/inventory/count":
      return stockCount(data, body);
    case "/api/inventory/transfer":
      stockHandover(data, stationOf(body, "from_station"), body, -body.quantity);
      return stockHandover(data, stationOf(body, "to_station"), body, body.quantity);
    case "/api/inventory/batch-update":
      for (const { type, data: update } of body.updates) {
        applyWrite(data, UPDATE_PATHS[type] ?? "", update);
      }
      return void 0;
    default:
      return void 0;
  }
}
function placeOf(data, kind, [first = "", second = "", third = ""]) {
  switch (kind) {
    case "setting":
      return { holder: own(data, "settings"), member: first };
    case "station_config":
      return { holder: own(data, "station_inventory_configs"), member: first };
    case "event_inventory":
      return recordIn(own(own(data, "event_inventory"), first), second);
    case "event_stock":
      return recordIn(own(own(data, "event_stock_levels"), first), second) ?? recordIn(own(data, "event_stock_levels"), second);
    case "station_quantity": {
      const station = own(own(data, "station_inventory_quantities"), first);
      return (second === "" ? null : recordIn(own(station, second), third)) ?? recordIn(station, third);
    }
    case "station_stock":
      return recordIn(own(own(own(data, "station_stock"), first), second), third);
    default:
      return null;
  }
}
function recordIn(container, id) {
  if (!Array.isArray(container)) {
    return own(container, id) === void 0 ? null : { holder: container, member: id };
  }
  const found = container.flatMap((item, index) => own(item, "id") === id ? [String(index)] : []);
  return found.length === 1 ? { holder: container, member: found[0] ?? "" } : null;
}
function applyCommit(data, commit) {
  if (commit.source !== "api" && commit.source !== "movement") return false;
  const edits = [];
  for (const { kind, key, before, after } of commit.changes) {
    if (before === null || after === null) return false;
    const place = placeOf(data, kind, key);
    if (place === null || !sameJson(own(place.holder, place.member), before)) return false;
    edits.push([place, after]);
  }
  for (const [{ holder, member }, after] of edits) holder[member] = after;
  return true;
}
function withUnsent(documents, now) {
  if (now === null || now.data === now.view) return documents;
  const storage = { ...documents.localStorage };
  const compare = (before2, after, name) => {
    for (const [member, value] of Object.entries(after ?? {})) {
      if (!sameJson(own(before2, member), value)) setOwn(storage, name(member), JSON.stringify(value));
    }
  };
  const { station_stock: stockBefore, settings: settingsBefore, ...before } = now.data;
  const { station_stock: stock, settings, ...rest } = now.view;
  compare(before, rest, (key) => key);
  compare(settingsBefore, settings, (key) => key);
  compare(stockBefore, stock, (station) => `coffee_stock_station_${station}`);
  return { ...documents, localStorage: storage };
}

// client/replica.js
var FRESH = 3e5;
function copyOf(envelope) {
  const cursor = envelope.cursor ?? cursorOf(envelope.etag ?? "") ?? `.${envelope.revision}.`;
  const { epoch, revision } = partsOf(cursor);
  return { data: envelope.data ?? {}, cursor, epoch, revision, etag: envelope.etag ?? null };
}
var Replica = class {
  /** @type {ReplicaContext} */
  #context;
  /** @type {OutboxStorage} */
  #storage = new MemoryStorage();
  /** @type {Copy | null} */
  #copy = null;
  /** @type {any} the copy with what is not sent yet, or null before it is asked for */
  #view = null;
  /** @type {Commit[]} from the feed, waiting for the copy */
  #later = [];
  #wanted = 0;
  /** When the copy was last read from the server; the feed keeps it fresh from then on. */
  #readAt = -Infinity;
  /** @type {Promise<void> | null} */
  #refetching = null;
  /** @type {Promise<void>} the first answer of the server, or the lack of it */
  #contact = Promise.resolve();
  /** @type {Promise<void> | null} the attempt of it that is underway */
  #attempt = null;
  #contacted = false;
  /** @type {unknown} */
  #contactError = null;
  /** @type {ReturnType<typeof setTimeout> | null} */
  #keeping = null;
  /** @param {ReplicaContext} context */
  constructor(context) {
    this.#context = context;
  }
  /** @param {OutboxStorage} storage */
  async open(storage) {
    this.#storage = storage;
    this.#copy ??= await storage.copy(this.#context.scope).catch(() => null);
    this.forgetView();
  }
  /** Read from the server for the first time. @param {Promise<void>} opened */
  connect(opened) {
    this.#contact = this.#connect(opened);
  }
  /** @param {Promise<void>} opened */
  async #connect(opened) {
    await opened;
    const { settings, wake, stop } = this.#context;
    for (let attempt = 0; attempt <= settings.retries; attempt += 1) {
      try {
        this.#attempt = this.fetch();
        await this.#attempt;
        this.#contactError = null;
        break;
      } catch (error) {
        this.#attempt = null;
        this.#contactError = error;
        if (!isLost(error) || this.#copy !== null || attempt === settings.retries) break;
        await wake.wait(pauseAfter(attempt, settings), stop);
      }
    }
    this.#contacted = true;
    this.#attempt = null;
  }
  /** Have a copy; the first read is not made twice. */
  async require() {
    if (this.#copy === null) await (this.#attempt ?? this.fetch());
  }
  /** The first answer of the server has come, or its lack is known. */
  get contact() {
    return this.#contact;
  }
  close() {
    if (this.#keeping !== null) clearTimeout(this.#keeping);
  }
  /* reading */
  /** @returns {Promise<any>} the documents with what is not sent yet; copy it before you hand it out */
  async data() {
    if (!this.#contacted) {
      const known = this.#copy !== null;
      const wait = globalThis.navigator?.onLine === false ? 0 : this.#context.settings.patience;
      await (known ? Promise.race([this.#contact, sleep(wait)]) : this.#contact);
    }
    if (this.#copy === null) {
      if (this.#contactError !== null) {
        const error = this.#contactError;
        this.#contactError = null;
        throw error;
      }
      await this.require();
    }
    return this.view();
  }
  get copy() {
    return this.#copy;
  }
  /** @returns {boolean} a commit is known that the copy does not have */
  get behind() {
    return this.#copy === null || this.#wanted > this.#copy.revision;
  }
  /** @returns {number} the newest revision that is known */
  get newest() {
    return this.behind ? this.#wanted : this.#copy?.revision ?? 0;
  }
  /** @returns {boolean} the copy was the server's state a moment ago */
  get isRecent() {
    return !this.behind && Math.abs(Date.now() - this.#readAt) < FRESH;
  }
  /** @returns {any} the documents with what is not sent yet */
  view() {
    if (this.#view === null && this.#copy !== null) {
      const waiting = this.#context.waiting();
      this.#view = waiting.length > 0 ? copy(this.#copy.data) : this.#copy.data;
      for (const entry of waiting) {
        try {
          applyWrite(this.#view, entry.path, JSON.parse(entry.body));
        } catch {
        }
      }
    }
    return this.#view;
  }
  /** Make the view again when it is asked for. */
  forgetView() {
    this.#view = null;
  }
  /* another copy */
  /** @param {boolean} [lost] the server lost what the copy has: do not compare it with that */
  async fetch(lost = false) {
    const { transport, link, stop } = this.#context;
    const known = this.#copy;
    const before = known?.revision ?? -1;
    const wanted = this.#wanted;
    const etag = lost ? null : known?.etag ?? null;
    const envelope = await transport.read(GET_ALL, etag, stop);
    this.#readAt = Date.now();
    link.reached();
    if (envelope.unchanged === true) {
      if (this.#wanted === wanted) this.#wanted = Math.max(0, before);
      this.#context.changed(null, null);
      return;
    }
    const fresh = copyOf(envelope);
    const older = known !== null && (fresh.revision < before || fresh.epoch !== known.epoch);
    if (this.#wanted === wanted) this.#wanted = fresh.revision;
    this.#adopt(fresh, lost || older);
  }
  /** @param {Copy} fresh @param {boolean} reset */
  #adopt(fresh, reset) {
    const known = this.#copy;
    if (!reset && known !== null && fresh.revision < known.revision) return;
    const changed = known === null || reset || fresh.revision > known.revision;
    this.#copy = fresh;
    if (reset) {
      this.#later = [];
      this.#wanted = fresh.revision;
    }
    this.forgetView();
    this.#context.moved();
    if (this.#context.leading()) this.#context.post({ type: "copy", copy: fresh, reset });
    this.keepSoon();
    const later = this.#later;
    this.#later = [];
    if (changed) this.#context.changed(reset ? "reset" : "feed", null);
    if (later.length > 0) this.absorb(later, fresh.cursor);
    this.#context.changed(null, null);
  }
  /** Take over the copy of the tab that leads. @param {Copy} theirs @param {boolean} reset */
  adoptFrom(theirs, reset) {
    if (reset || theirs.epoch === this.#copy?.epoch) this.#adopt(theirs, reset);
  }
  /** Store the copy a moment later, once for all that happens until then. */
  keepSoon() {
    const { leading, save, scope } = this.#context;
    if (!leading() || this.#keeping !== null) return;
    this.#keeping = setTimeout(() => {
      this.#keeping = null;
      const fresh = this.#copy;
      void save().catch(() => {
      });
      if (fresh === null || this.behind) return;
      void this.#storage.keep(scope, fresh).catch(() => {
      });
    }, 1e3);
  }
  /* keeping up */
  /** @param {Commit[]} commits of the feed @param {string} cursor where they end */
  absorb(commits, cursor) {
    const changes = [];
    for (const commit of commits) {
      const known = this.#copy;
      if (known !== null && commit.revision <= known.revision) continue;
      const next = known !== null && !this.behind && commit.revision === known.revision + 1;
      if (next && applyCommit(known.data, commit)) {
        known.revision = commit.revision;
        known.etag = null;
        changes.push(...commit.changes);
        continue;
      }
      this.#later = [...this.#later.slice(-500), commit];
      this.#wanted = Math.max(this.#wanted, commit.revision);
    }
    if (this.behind) this.#catchUp();
    else if (this.#copy !== null) this.#copy.cursor = cursor;
    if (changes.length === 0) return;
    this.#wanted = Math.max(this.#wanted, this.#copy?.revision ?? 0);
    this.#context.moved();
    this.keepSoon();
    this.#context.changed("feed", changes);
  }
  /** Have at least a revision before long. @param {number} revision */
  want(revision) {
    this.#wanted = Math.max(this.#wanted, revision);
    if (this.behind) this.#catchUp();
  }
  /** Read the copy again, once for all that was missed. */
  #catchUp() {
    this.#refetching ??= this.#refetch().finally(() => {
      this.#refetching = null;
      this.#context.changed(null, null);
    });
  }
  async #refetch() {
    const { leading, link, settings, stop, wake } = this.#context;
    for (let failures = 0; this.behind && !stop.aborted; ) {
      await wake.wait(leading() ? 100 : 1e3, stop);
      if (!this.behind || stop.aborted) return;
      try {
        await this.fetch();
        failures = 0;
      } catch (error) {
        link.failed(error);
        await wake.wait(pauseAfter(failures, settings, error), stop);
        failures += 1;
      }
    }
  }
};

// client/sender.js
var GIVE_UP = 20;
var Sender = class {
  /** @type {SenderContext} */
  #context;
  /** @type {Promise<void> | null} */
  #sending = null;
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
      if (entry === void 0) {
        await outbox.ready.wait(6e4, lost);
        continue;
      }
      if (!await holds()) return resign();
      const fault = await this.#try(entry);
      if (fault === null) {
        failures = 0;
        continue;
      }
      failures += 1;
      if (statusOf(fault) === 500 && failures >= GIVE_UP && fault instanceof ExpressoPersistError) {
        await outbox.park(entry.id, fault);
        failures = 0;
        continue;
      }
      link.failed(fault);
      if (lost.aborted) return void 0;
      outbox.resolvePending();
      const asked = fault instanceof ExpressoPersistError && fault.retryAfter !== null;
      await (asked ? new Signal() : outbox.ready).wait(pauseAfter(failures - 1, settings, fault), lost);
    }
    return void 0;
  }
  /** @param {Entry} entry @returns {Promise<unknown>} why it is to be sent again, or null */
  async #try(entry) {
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
      const answer = { revision, message: message ?? "", data: data ?? null };
      const taken = { state: "acked", revision, cursor, before, since, ackedAt: Date.now(), base: null, lost: null };
      link.reached();
      link.update({ lastServerAck: Date.now() });
      await outbox.acknowledge(entry.id, taken, answer);
      kept = recovery.acknowledged.took({ ...entry, ...taken });
    } catch (error) {
      if (error instanceof ExpressoPersistError && error.code === "timeline_lost") {
        await recovery.heal();
      }
      if (!isRefusal(error)) throw error;
      link.reached();
      await outbox.park(entry.id, error);
    }
    if (!kept) await recovery.heal();
  }
};

// client/tabs.js
var Tabs = class {
  #me;
  #scope;
  #stop;
  /** @type {BroadcastChannel | null} */
  #channel = null;
  /** @param {string} scope @param {string} me name of this tab @param {AbortSignal} stop */
  constructor(scope, me, stop) {
    this.#scope = scope;
    this.#me = me;
    this.#stop = stop;
  }
  /** @returns {boolean} whether no other tab can be heard */
  get alone() {
    return this.#channel === null;
  }
  /** @param {(message: any) => void} receive */
  open(receive) {
    if (typeof BroadcastChannel !== "function") return;
    this.#channel = new BroadcastChannel(`expresso-persist ${this.#scope}`);
    this.#channel.onmessage = ({ data }) => {
      if (!this.#stop.aborted) receive(data);
    };
  }
  /** @param {{type: string, [part: string]: any}} message */
  post(message) {
    if (!this.#stop.aborted) this.#channel?.postMessage({ from: this.#me, ...message });
  }
  close() {
    this.#channel?.close();
  }
};

// client/parts.js
var Parts = class {
  /** @type {Tabs} */
  tabs;
  /** @type {Link} */
  link;
  /** @type {Outbox} */
  outbox;
  /** @type {Replica} */
  replica;
  /** @type {Recovery} */
  recovery;
  /** @type {Sender} */
  sender;
  /** @type {Feed} */
  feed;
  /** @type {Leader} */
  leader;
  /** Notified when a pause of what reads is to be cut short. */
  wake = new Signal();
  /** @param {PartsContext} context */
  constructor(context) {
    const { changed, lead, linkChanged, scope, settings, started, stop, transport } = context;
    const { wake } = this;
    const me = randomKey();
    const tabs = new Tabs(scope, me, stop);
    const post = tabs.post.bind(tabs);
    const link = this.#makeLink(linkChanged);
    const shared = { scope, settings, transport, link, stop, post };
    this.tabs = tabs;
    this.link = link;
    this.outbox = new Outbox({
      ...{ scope, post, started, patience: settings.patience },
      copy: () => this.replica.copy,
      offline: () => link.offline,
      changed: (reason) => changed(reason, null),
      acked: () => {
        changed(null, null);
        this.replica.keepSoon();
        wake.notify();
      }
    });
    this.replica = new Replica({
      ...{ ...shared, wake, changed },
      leading: () => this.leader.leading,
      waiting: () => this.outbox.entries.waiting(this.replica.copy),
      moved: () => this.outbox.forgetDone(),
      save: () => this.recovery.acknowledged.save()
    });
    const { outbox, replica } = this;
    const recovery = new Recovery({
      ...shared,
      offer: (entries) => outbox.offer(entries),
      keepSoon: () => replica.keepSoon()
    });
    this.recovery = recovery;
    this.sender = new Sender({
      ...{ ...shared, outbox, recovery },
      holds: () => this.leader.holds(),
      resign: () => this.leader.resign()
    });
    this.feed = this.#makeFeed({ ...shared, wake, replica, recovery });
    const signInNeeded = () => link.state.signInNeeded;
    this.leader = new Leader({ scope, me, tabs, stop, signInNeeded, work: lead });
  }
  /** @param {() => void} changed */
  #makeLink(changed) {
    return new Link({
      changed: ({ online }) => {
        if (online === false) this.outbox.resolvePending();
        changed();
      },
      back: () => this.outbox.ready.notify(),
      refused: () => {
        this.outbox.resolvePending();
        this.leader.resign();
      }
    });
  }
  /** @param {Omit<ConstructorParameters<typeof Feed>[0], 'sending' | 'arrived'>} shared */
  #makeFeed(shared) {
    return new Feed({
      ...shared,
      sending: () => this.sender.sending,
      arrived: async (commits, cursor) => {
        if (this.leader.leading) this.tabs.post({ type: "commits", commits, cursor });
        await this.outbox.offerAgain(commits);
      }
    });
  }
};

// client/status.js
var StatusNotifier = class {
  /** @type {Set<(status: Status) => void>} */
  #listeners = /* @__PURE__ */ new Set();
  #notified = "";
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
    if (on) globalThis.addEventListener?.("beforeunload", askBeforeClosing);
    else globalThis.removeEventListener?.("beforeunload", askBeforeClosing);
  }
};
function askBeforeClosing(event) {
  event.preventDefault();
  event.returnValue = true;
}

// client/live.js
var ALIVE = 2500;
var Live = class {
  /** @type {string} */
  #scope;
  /** @type {Parts} */
  #parts;
  #stop = new AbortController();
  /** @type {Promise<void> | null} */
  #starting = null;
  /** @type {OutboxStorage} */
  #storage = new MemoryStorage();
  /** @type {Set<(change: Change) => void>} */
  #changeListeners = /* @__PURE__ */ new Set();
  /** @type {StatusNotifier} */
  #statusListeners;
  /** @param {string} scope @param {Transport} transport @param {LiveSettings} settings */
  constructor(scope, transport, settings) {
    this.#scope = scope;
    this.#statusListeners = new StatusNotifier(settings.warnOnClose);
    this.#parts = new Parts({
      ...{ scope, transport, settings, stop: this.#stop.signal },
      started: () => this.start(),
      changed: (reason, changes) => this.#changed(reason, changes),
      linkChanged: () => {
        if (this.#parts.leader.leading) this.#postAlive();
        this.#notifyStatus();
      },
      lead: (lost) => this.#lead(lost)
    });
  }
  get scope() {
    return this.#scope;
  }
  /** @returns {Promise<void>} once entries and copy of an earlier visit are there */
  start() {
    this.#starting ??= this.#begin();
    return this.#starting;
  }
  async #begin() {
    const opened = this.#open();
    this.#parts.replica.connect(opened);
    await opened;
    const { signal } = this.#stop;
    const listen = (target, name, act) => target?.addEventListener?.(name, act, { signal });
    listen(globalThis, "online", () => this.#wake());
    listen(globalThis, "offline", () => this.#offline());
    listen(globalThis, "pageshow", () => this.#wake());
    listen(globalThis.document, "visibilitychange", () => {
      if (globalThis.document.visibilityState === "visible") this.#wake();
    });
    void this.#parts.leader.run();
    this.#parts.tabs.post({ type: "who" });
    this.#notifyStatus();
  }
  async #open() {
    this.#storage = await openStorage();
    this.#parts.recovery.open(this.#storage);
    this.#parts.leader.open(this.#storage);
    this.#parts.tabs.open((message) => this.#receive(message));
    await this.#parts.outbox.open(this.#storage);
    await this.#parts.replica.open(this.#storage);
  }
  /** What the tab that leads does for all. @param {AbortSignal} lost */
  async #lead(lost) {
    await this.#parts.recovery.load();
    await this.#parts.outbox.load();
    this.#parts.replica.keepSoon();
    this.#postAlive();
    const pulse = setInterval(() => this.#postAlive(), ALIVE);
    try {
      await Promise.all([this.#parts.sender.run(lost), this.#parts.feed.follow(lost)]);
    } finally {
      clearInterval(pulse);
    }
  }
  /** End everything in this tab; what is not sent stays in the outbox. @param {boolean} forget */
  async stop(forget) {
    this.#stop.abort();
    this.#parts.leader.resign();
    this.#parts.feed.cut();
    this.#parts.replica.close();
    this.#statusListeners.close();
    this.#parts.tabs.close();
    await this.#starting?.catch(() => {
    });
    if (forget) await this.#storage.forget(this.#scope).catch(() => {
    });
  }
  /* reading */
  /** @returns {Promise<any>} the documents with what is not sent yet; copy it before you hand it out */
  async data() {
    await this.start();
    return this.#parts.replica.data();
  }
  /** Ask the server now. */
  async refresh() {
    await this.start();
    await this.#parts.replica.fetch();
    return this.#parts.replica.view();
  }
  /** @returns {{data: any, view: any, revision: number, epoch: string, caughtUp: boolean} | null} */
  peek() {
    const { copy: copy2 } = this.#parts.replica;
    if (copy2 === null) return null;
    const { data, revision, epoch } = copy2;
    return { data, view: this.#parts.replica.view(), revision, epoch, caughtUp: this.status().caughtUp };
  }
  /** @param {string} name @returns {Promise<any>} what {@link keepAnswer} kept */
  async keptAnswer(name) {
    await this.start();
    return this.#storage.copy(`${this.#scope} ${name}`).catch(() => null);
  }
  /** @param {string} name @param {any} answer */
  keepAnswer(name, answer) {
    void this.#storage.keep(`${this.#scope} ${name}`, answer).catch(() => {
    });
  }
  /** @returns {boolean} the copy is the server's state, or was a moment ago */
  isFresh() {
    const { online, caughtUp } = this.status();
    return caughtUp || online && this.#parts.replica.isRecent;
  }
  /* writing */
  /** @param {string} path @param {string} body @param {WriteOptions} options @returns {Promise<Written>} */
  async write(path, body, options) {
    return this.#parts.outbox.write(path, body, options);
  }
  /** @returns {Parked[]} */
  parked() {
    return this.#parts.outbox.entries.parked();
  }
  /** @param {string} id @param {string} [body] another one @returns {Promise<Written>} */
  async unpark(id, body) {
    await this.start();
    return this.#parts.outbox.unpark(id, body);
  }
  /** @param {string} id */
  async discard(id) {
    await this.start();
    await this.#parts.outbox.discard(id);
  }
  /** @returns {Promise<Parked[]>} the writes that another store took */
  async setAside() {
    const entries = await this.#parts.recovery.aside(await this.#epoch());
    return entries.map(({ id, path, body, at }) => ({ id, path, body: JSON.parse(body), at, error: null }));
  }
  /** @param {string[] | undefined} ids all where left out @param {boolean} send or drop them */
  async resolveSetAside(ids, send) {
    await this.#parts.recovery.resolveAside(await this.#epoch(), ids, send);
  }
  /** @returns {Promise<string | null>} of this store */
  async #epoch() {
    await this.start();
    await this.#parts.replica.contact;
    return this.#parts.replica.copy?.epoch ?? null;
  }
  /* how it goes */
  /** @param {(change: Change) => void} listener */
  onChange(listener) {
    this.#changeListeners.add(listener);
    return () => void this.#changeListeners.delete(listener);
  }
  /** @param {(status: Status) => void} listener */
  onStatus(listener) {
    return this.#statusListeners.add(listener);
  }
  /** @param {Change['reason'] | null} reason @param {Commit['changes'] | null} changes */
  #changed(reason, changes) {
    this.#parts.replica.forgetView();
    const revision = this.#parts.replica.copy?.revision ?? null;
    if (reason !== null) callAll(this.#changeListeners, { reason, changes, revision });
    this.#notifyStatus();
  }
  /** @returns {Status} */
  status() {
    const { settled, ...figures } = this.#parts.outbox.figures();
    const { online, caughtUp, ...link } = this.#parts.link.state;
    const isOnline = online === true;
    return {
      ...figures,
      ...link,
      online: isOnline,
      caughtUp: isOnline && caughtUp && settled && !this.#parts.replica.behind
    };
  }
  #notifyStatus() {
    this.#statusListeners.notify(this.status());
  }
  /* the other tabs, and the browser */
  #postAlive() {
    this.#parts.tabs.post({ type: "alive", link: this.#parts.link.state, revision: this.#parts.replica.newest });
  }
  /** @param {any} message of another tab */
  #receive(message) {
    const { leading } = this.#parts.leader;
    if (message.type === "alive" && !leading) this.#follow(message);
    else if (message.type === "who" && leading) this.#postAlive();
    else if (message.type === "commits" && !leading) this.#parts.replica.absorb(message.commits, message.cursor);
    else if (message.type === "copy" && !leading) this.#parts.replica.adoptFrom(message.copy, message.reset);
    else if (message.type === "set-aside") this.#parts.link.update({ setAside: message.count });
    else if (message.type === "signed-in") this.#parts.leader.hurry();
    else this.#parts.outbox.receive(message);
  }
  /** @param {any} alive from the tab that leads */
  #follow({ from, link, revision }) {
    if (this.#parts.leader.sawAlive(from)) this.#parts.outbox.postVolatile();
    this.#parts.link.update(link);
    this.#parts.replica.want(revision);
  }
  /** There is another token, or the network is back, or people look at the page again. */
  #wake() {
    this.#parts.feed.cutIfStale();
    this.#parts.leader.hurry();
    this.#parts.wake.notify();
    this.#parts.outbox.ready.notify();
    const before = this.#parts.outbox.entries.summary();
    void this.#parts.outbox.load().then(() => {
      if (this.#parts.outbox.entries.summary() !== before) this.#changed("write", null);
    });
  }
  #offline() {
    this.#parts.link.update({ online: false, caughtUp: false });
    this.#parts.feed.cut();
  }
  signedIn() {
    this.#parts.tabs.post({ type: "signed-in" });
    this.#parts.feed.cut();
    this.#wake();
  }
};

// client/options.js
var STATIC_PATH = "/static/expresso-persist/";
var MAY_BE_NULL = ["token", "getToken", "deviceId"];
var defaultOptions = () => ({
  baseUrl: baseUrlOf(import.meta.url ?? ""),
  // bundles that are no modules have none
  token: null,
  getToken: null,
  fetch: (url, init) => globalThis.fetch(url, init),
  deviceId: null,
  retries: 3,
  retryDelay: 400,
  maxRetryDelay: 1e4,
  timeout: 3e4,
  patience: 4e3,
  pollInterval: 3e3,
  warnOnClose: true,
  keepDays: 7,
  keepWrites: 5e3,
  keepBytes: 8 * 1024 * 1024,
  live: true,
  user: "",
  onUnauthorized: null
});
function baseUrlOf(moduleUrl) {
  const end = moduleUrl.lastIndexOf(STATIC_PATH);
  return /^https?:/.test(moduleUrl) && end >= 0 ? moduleUrl.slice(0, end) : "";
}
function setOptions(options, given) {
  const changes = Object.entries(given).filter(
    ([name, value]) => name in options && (value != null || value === null && MAY_BE_NULL.includes(name))
  );
  Object.assign(options, Object.fromEntries(changes));
  while (options.baseUrl.endsWith("/")) options.baseUrl = options.baseUrl.slice(0, -1);
}

// client/page-storage.js
function stored(area, key) {
  try {
    return globalThis[area].getItem(key);
  } catch {
    return null;
  }
}
function held(key) {
  const raw = stored("localStorage", key);
  return raw === null || ["", "null", "undefined"].includes(raw) ? null : raw;
}
function sameText(a, b) {
  if (a === null || a === b) return a === b;
  try {
    return sameJson(JSON.parse(a), JSON.parse(b));
  } catch {
    return false;
  }
}

// client/transport.js
var TOKEN_KEY = "expresso_persist_token";
var LEGACY_TOKEN_KEY = "coffee_system_token";
function headersOf(parts, token) {
  const values = {
    Accept: "application/json",
    "Content-Type": parts.body === void 0 ? null : "application/json",
    Authorization: token ? `Bearer ${token}` : null,
    "If-None-Match": parts.etag,
    "Idempotency-Key": parts.idempotencyKey,
    "If-Match": parts.ifMatch === void 0 ? null : `"${parts.ifMatch}"`,
    "Expresso-Since": parts.since,
    "Expresso-Acknowledged": parts.acknowledged,
    "Expresso-Lost": parts.acknowledged ? parts.lost : null
  };
  return Object.fromEntries(Object.entries(values).flatMap(([name, value]) => value ? [[name, value]] : []));
}
var HttpTransport = class {
  /** @type {Options} */
  #options;
  /** @type {Promise<string | null> | null} */
  #refreshing = null;
  /** @param {Options} options shared with who may change them */
  constructor(options) {
    this.#options = options;
  }
  /** @param {string} path @param {string | null} etag @param {AbortSignal} signal @param {number} [timeout] */
  read(path, etag, signal, timeout) {
    return this.request("GET", path, { etag, signal, timeout, retries: 0 });
  }
  /** @param {Entry} entry @param {string | null} since */
  send({ path, body, key, ifMatch, cursor, lost }, since) {
    return this.request("POST", path, {
      body: path === ADJUST ? JSON.stringify(adjustment(JSON.parse(body))) : body,
      idempotencyKey: key,
      ifMatch: ifMatch ?? void 0,
      since,
      acknowledged: cursor ?? null,
      lost: lost ?? null,
      retries: 0
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
    const init = { method, headers, cache: "no-store", credentials: "same-origin" };
    if (parts.signal !== void 0) init.signal = parts.signal;
    if (parts.body !== void 0) init.body = parts.body;
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
    const passing = ["network", "timeout", "busy"].includes(error.code);
    if (!passing && !RETRIED_STATUSES.has(error.status)) throw error;
    const { maxRetryDelay, retryDelay } = this.#options;
    const backoff = retryDelay * 2 ** attempt * (0.75 + Math.random() / 2);
    const wait = error.retryAfter === null ? backoff : error.retryAfter * 1e3;
    if (wait > maxRetryDelay) throw error;
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
    init.signal?.addEventListener("abort", end);
    if (init.signal?.aborted) end();
    try {
      const response = await send(url, { ...init, signal: abort.signal });
      if (response.status === 304) return { unchanged: true };
      const envelope = await envelopeOf(response);
      envelope.etag = response.headers.get("ETag");
      return envelope;
    } catch (cause) {
      if (cause instanceof ExpressoPersistError) throw cause;
      throw abort.signal.aborted ? new ExpressoPersistError("The server did not answer in time.", { code: "timeout", cause }) : new ExpressoPersistError(
        "The server cannot be reached. Check that it runs and that this device is online.",
        { code: "network", cause }
      );
    } finally {
      clearTimeout(timer);
      init.signal?.removeEventListener("abort", end);
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
      const headers = { Accept: "text/event-stream" };
      if (token) headers.Authorization = `Bearer ${token}`;
      const { baseUrl, fetch: send } = this.#options;
      const response = await send(baseUrl + path, {
        headers,
        signal,
        cache: "no-store",
        credentials: "same-origin"
      });
      const type = response.headers.get("Content-Type") ?? "";
      if (response.ok && /^text\/event-stream\b/i.test(type)) return response;
      try {
        await envelopeOf(response);
      } catch (error) {
        const refused = error instanceof ExpressoPersistError && error.status === 401;
        if (!refused || refreshed) throw error;
        if (await this.#freshToken(token, error) === null) throw error;
        continue;
      }
      throw new ExpressoPersistError("The server has no stream.", { code: "no_stream" });
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
    if (current !== null && current !== refused) return current;
    this.#refreshing ??= (async () => {
      const given = await hook(error) ?? null;
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
    if (getToken !== null) return await getToken() ?? null;
    return stored("sessionStorage", TOKEN_KEY) ?? stored("localStorage", LEGACY_TOKEN_KEY);
  }
};

// client/connection.js
var DEVICE_KEY = "expresso_persist_device_id";
var Connection = class {
  options = defaultOptions();
  transport = new HttpTransport(this.options);
  /** @type {Live | null} */
  live = null;
  /** @type {number | null} when all was last read, without a local copy */
  #loadedAt = null;
  /** @type {Set<(change: Change) => void>} */
  changeListeners = /* @__PURE__ */ new Set();
  /** @type {Set<(status: Status) => void>} */
  statusListeners = /* @__PURE__ */ new Set();
  /** @type {Map<string, {token: string | null, etag: string | null, data: any}>} */
  #answers = /* @__PURE__ */ new Map();
  /** @type {Map<string, {token: string | null, answer: Promise<any>}>} */
  #reading = /* @__PURE__ */ new Map();
  /** @param {ServiceOptions} options */
  configure(options) {
    setOptions(this.options, options);
    this.forget();
    if (this.live !== null && this.live.scope !== this.#scope()) {
      void this.stop(false).then(() => this.start());
    } else if (options.token !== void 0 || options.getToken !== void 0) {
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
    throw new ExpressoPersistError("Call start() first.", { code: "not_started" });
  }
  #scope() {
    const { baseUrl, user } = this.options;
    const origin = globalThis.location?.origin ?? "";
    const server = baseUrl.startsWith("/") ? origin + baseUrl : baseUrl || origin;
    return `${server} ${user}`;
  }
  /** Forget what was read. */
  forget() {
    this.#answers = /* @__PURE__ */ new Map();
    this.#reading = /* @__PURE__ */ new Map();
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
    const device = deviceId ?? this.options.deviceId ?? stored("localStorage", DEVICE_KEY);
    const path = "/api/migration/documents" + (device ? `?device_id=${encodeURIComponent(device)}` : "");
    const live = this.live;
    if (live === null) return this.read(path);
    return withUnsent(await this.#liveDocuments(live, path), live.peek());
  }
  /** @param {Live} live @param {string} path @returns {Promise<any>} */
  async #liveDocuments(live, path) {
    await live.start();
    const known = this.#answers.get(path);
    const now = live.peek();
    const current = now?.caughtUp === true && known?.data.epoch === now.epoch && known.data.revision >= now.revision;
    if (known !== void 0 && current) return known.data;
    try {
      const documents = await this.read(path);
      live.keepAnswer(path, documents);
      return documents;
    } catch (error) {
      const kept = isLost(error) ? known?.data ?? await live.keptAnswer(path) : null;
      if (kept === null) throw error;
      return kept;
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
    if (underway !== void 0 && underway.token === token) return underway.answer;
    const answer = this.#ask(path, token).finally(() => {
      if (this.#reading.get(path)?.answer === answer) this.#reading.delete(path);
    });
    this.#reading.set(path, { token, answer });
    return answer;
  }
  /** @param {string} path @param {string | null} token @returns {Promise<any>} */
  async #ask(path, token) {
    const known = this.#answers.get(path);
    const etag = known !== void 0 && known.token === token ? known.etag : null;
    const answers = this.#answers;
    const envelope = await this.transport.request("GET", path, { etag });
    if (path === GET_ALL) this.#loadedAt = Date.now();
    if (envelope.unchanged === true && known !== void 0) return known.data;
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
    if (this.live === null || options.fetch !== void 0) {
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
      const envelope = await this.transport.request("POST", path, {
        body: JSON.stringify(body),
        idempotencyKey: options.idempotencyKey ?? randomKey(),
        ifMatch: options.ifMatch,
        timeout: options.timeout,
        fetch: options.fetch
      });
      return {
        revision: envelope.revision,
        message: envelope.message ?? "",
        data: envelope.data ?? null
      };
    } finally {
      this.#reading.clear();
    }
  }
};

// client/control.js
var NOT_STARTED = {
  online: false,
  pending: 0,
  parked: 0,
  oldestPendingAge: null,
  lastServerAck: null,
  setAside: 0,
  caughtUp: false,
  signInNeeded: false,
  feed: "off",
  storage: "memory",
  durable: false
};
var LiveControl = class {
  /** @type {Connection} */
  #connection;
  /** @param {Connection} connection */
  constructor(connection) {
    this.#connection = connection;
  }
  /** Change how the service works; what is left out stays. @param {ServiceOptions} options */
  configure(options) {
    this.#connection.configure(options);
    return this;
  }
  /** Use this bearer token from now on; null goes back to looking for one. @param {string | null} token */
  setToken(token) {
    return this.configure({ token });
  }
  get baseUrl() {
    return this.#connection.options.baseUrl;
  }
  /**
   * From now on keep a local copy fresh, and keep writes until the server has them.
   * @param {ServiceOptions} [options]
   * @returns {Promise<void>} once the writes of earlier visits are there; needs no network
   */
  async start(options) {
    if (options !== void 0) this.configure(options);
    await this.#connection.start();
  }
  /**
   * Go back to one request per call in this tab. Unsent writes stay in the outbox.
   * @param {{forget?: boolean}} [options] `forget`: also delete the local copy, when somebody
   *   signs out; the outbox is never deleted
   */
  async stop(options = {}) {
    await this.#connection.stop(options.forget ?? false);
  }
  /**
   * Call a listener when what the readers answer has changed; starts the feed.
   * @param {(change: Change) => void} listener
   * @returns {() => void} ends it
   */
  onChange(listener) {
    this.#connection.changeListeners.add(listener);
    void this.start();
    return () => void this.#connection.changeListeners.delete(listener);
  }
  /**
   * Call a listener when {@link status} has changed in more than the age.
   * @param {(status: Status) => void} listener
   * @returns {() => void} ends it
   */
  onStatus(listener) {
    this.#connection.statusListeners.add(listener);
    return () => void this.#connection.statusListeners.delete(listener);
  }
  /** @returns {Status} */
  status() {
    return this.#connection.live?.status() ?? { ...NOT_STARTED };
  }
  /** @returns {Parked[]} the writes that the server refused, in the order they were made */
  parked() {
    return copy(this.#connection.live?.parked() ?? []);
  }
  /** Send a refused write again as it is. @param {string} id @returns {Promise<Written>} */
  async retryParked(id) {
    return this.#connection.started.unpark(id);
  }
  /**
   * Send a refused write with another body, in its old place.
   * @param {string} id
   * @param {JsonObject} body
   * @returns {Promise<Written>}
   */
  async editParked(id, body) {
    return this.#connection.started.unpark(id, JSON.stringify(body));
  }
  /** Let go of a refused write. @param {string} id */
  async discardParked(id) {
    await this.#connection.started.discard(id);
  }
  /**
   * The writes that another store acknowledged, which stood at this address before. Whether this
   * one should have them people decide: it may have been filled from a backup that has them.
   * @returns {Promise<Parked[]>}
   */
  async setAside() {
    return copy(await this.#connection.started.setAside());
  }
  /** Send them to this store. @param {string[]} [ids] all where left out */
  async sendSetAside(ids) {
    await this.#connection.started.resolveSetAside(ids, true);
  }
  /** Let go of them. @param {string[]} [ids] all where left out */
  async discardSetAside(ids) {
    await this.#connection.started.resolveSetAside(ids, false);
  }
};

// client/reading.js
var Reading = class extends LiveControl {
  /** @type {Connection} */
  #connection;
  /** @param {Connection} connection */
  constructor(connection) {
    super(connection);
    this.#connection = connection;
  }
  /**
   * Start, and read everything once: from the server, or without one from the local copy.
   * @param {ServiceOptions} [options]
   * @returns {Promise<JsonObject>} the same as {@link getAll}
   */
  async initialize(options) {
    if (options !== void 0) this.configure(options);
    if (this.#connection.options.live) await this.start();
    return this.getAll();
  }
  /** Forget what was read and read it again. @returns {Promise<JsonObject>} */
  async refresh() {
    await this.#connection.refresh();
    return this.getAll();
  }
  /** @returns {Promise<JsonObject>} all inventory documents, station stock and settings */
  async getAll() {
    return copy(await this.#connection.read(GET_ALL));
  }
  /** @returns {Promise<any>} what the event offers, in the layout it was stored in */
  async getEventInventory() {
    return this.#inventoryDocument("event_inventory");
  }
  /** @returns {Promise<any>} the stock of the whole event */
  async getEventStockLevels() {
    return this.#inventoryDocument("event_stock_levels");
  }
  /** @returns {Promise<any>} which item each station offers */
  async getStationInventoryConfigs() {
    return this.#inventoryDocument("station_inventory_configs");
  }
  /** @returns {Promise<any>} what was allotted to each station */
  async getStationInventoryQuantities() {
    return this.#inventoryDocument("station_inventory_quantities");
  }
  /**
   * What is really left at a station, or at every station.
   * @param {string | number} [stationId]
   * @returns {Promise<any>} a station without stock answers an empty object
   */
  async getStationStock(stationId) {
    const stock = own(await this.#connection.read(GET_ALL), "station_stock") ?? {};
    return copy(stationId === void 0 ? stock : own(stock, String(stationId)) ?? {});
  }
  /** @returns {Promise<JsonObject>} every setting by its key */
  async getSettings() {
    return copy(own(await this.#connection.read(GET_ALL), "settings") ?? {});
  }
  /**
   * Everything that is stored, as localStorage had it.
   * @param {{deviceId?: string | null}} [options]
   * @returns {Promise<{localStorage: {[key: string]: string}, quarantined: string[], epoch?: string, revision?: number}>}
   */
  async getDocuments(options = {}) {
    return copy(await this.#connection.documents(options.deviceId));
  }
  /** @param {string} key @returns {Promise<string | null>} the same as `localStorage.getItem(key)` was */
  async getRaw(key) {
    const raw = own((await this.#connection.documents()).localStorage, key);
    return typeof raw === "string" ? raw : null;
  }
  /**
   * @param {string} key
   * @returns {Promise<any>} the parsed value, the text itself where it is not JSON, null where there is none
   */
  async getDocument(key) {
    const raw = await this.getRaw(key);
    if (raw === null) return null;
    try {
      return JSON.parse(raw);
    } catch {
      return raw;
    }
  }
  /** @returns {Promise<any>} counts of everything stored */
  async getStats() {
    return copy(await this.#connection.read("/api/inventory/stats"));
  }
  /** @returns {Promise<any>} whether backups run, how many there are, the newest one, warnings */
  async getBackupStatus() {
    return copy(await this.#connection.read("/api/migration/backup-status"));
  }
  /** @returns {Promise<{migrated: boolean, revision: number | null, stats: any, backup: any}>} */
  async getMigrationStatus() {
    const [stats, backup] = await Promise.all([this.getStats(), this.getBackupStatus()]);
    const revision = typeof stats.revision === "number" ? stats.revision : null;
    return { migrated: (revision ?? 0) > 0, revision, stats, backup };
  }
  /** @returns {boolean} whether what was read is fresh: at most five minutes old, or kept fresh */
  isCacheValid() {
    return this.#connection.isFresh();
  }
  /** @param {string} key */
  async #inventoryDocument(key) {
    const document = own(await this.#connection.read(GET_ALL), key);
    if (document !== void 0) return copy(document);
    return await this.getRaw(key) === null ? {} : this.getDocument(key);
  }
};

// client/writing.js
function itemReference(item) {
  if (typeof item === "string") return { item_name: item };
  if ("item_name" in item) return { item_name: item.item_name };
  return { item_id: "item_id" in item ? item.item_id : item.id };
}
function itemText(item) {
  if (typeof item === "string") return item;
  if ("item_name" in item) return item.item_name;
  return "item_id" in item ? item.item_id : item.id;
}
var placeText = (station) => station == null ? null : String(station);
var Writing = class extends Reading {
  /** @type {Connection} */
  #connection;
  /** @param {Connection} connection */
  constructor(connection) {
    super(connection);
    this.#connection = connection;
  }
  /**
   * @param {string} category
   * @param {Item} item
   * @param {boolean | JsonObject} enabled `true`/`false`, or the members to change
   * @param {WriteOptions} [options]
   */
  async updateEventInventory(category, item, enabled, options) {
    const members = isObject(enabled) ? enabled : { enabled };
    const body = { ...members, category, ...itemReference(item) };
    return this.#connection.write("/api/inventory/event-inventory/update", body, options);
  }
  /**
   * Change what `stock` names and nothing else.
   * @param {Item} item
   * @param {number | JsonObject} stock the new total, or any of `total`, `allocated`, `available`, `unit`, … in either spelling
   * @param {string | null} [category]
   * @param {WriteOptions} [options]
   */
  async updateEventStock(item, stock, category, options) {
    const members = isObject(stock) ? stock : { total_quantity: stock };
    const body = { ...members, ...itemReference(item), ...category == null ? {} : { category } };
    return this.#connection.write("/api/inventory/event-stock/update", body, options);
  }
  /**
   * @param {string | number} stationId
   * @param {JsonObject} config
   * @param {WriteOptions} [options]
   */
  async updateStationConfig(stationId, config, options) {
    const body = { station_id: stationId, config_data: config };
    return this.#connection.write("/api/inventory/station-config/update", body, options);
  }
  /**
   * @param {string | number} stationId
   * @param {Item} item
   * @param {number} quantity
   * @param {string | null} [category]
   * @param {WriteOptions} [options]
   */
  async updateStationQuantity(stationId, item, quantity, category, options) {
    const body = {
      station_id: stationId,
      ...itemReference(item),
      ...category == null ? {} : { category },
      quantity
    };
    return this.#connection.write("/api/inventory/station-quantity/update", body, options);
  }
  /** @param {string} key @param {Json} value @param {WriteOptions} [options] */
  async updateSetting(key, value, options) {
    return this.#connection.write("/api/inventory/settings/update", { key, value }, options);
  }
  /**
   * Add `delta` to a stock in the database, so that many stations can count at once: that of a
   * station, or without `stationId` the event's.
   * @param {{stationId?: string | number | null, category: string, item: Item, delta: number, floor?: number, note?: string}} adjusted
   * @param {WriteOptions} [options]
   */
  async adjust({ stationId, item, ...rest }, options) {
    const station = stationId == null ? {} : { station_id: String(stationId) };
    return this.#connection.write(ADJUST, { ...rest, item: itemText(item), ...station }, options);
  }
  /**
   * Set a stock to what somebody counted; the answer has the difference found.
   * @param {{stationId?: string | number | null, category: string, item: Item, quantity: number, note?: string}} counted
   * @param {WriteOptions} [options]
   */
  async count(counted, options) {
    const { stationId, item, ...rest } = counted;
    const body = { ...rest, item: itemText(item), station_id: placeText(stationId) };
    return this.#connection.write("/api/inventory/count", body, options);
  }
  /**
   * Carry stock from one place to another, as one commit. A place that is left out is the
   * event's stock.
   * @param {{fromStation?: string | number | null, toStation?: string | number | null, category: string, item: Item, quantity: number, note?: string}} transfer
   * @param {WriteOptions} [options]
   */
  async transfer(transfer, options) {
    const { fromStation, toStation, item, ...rest } = transfer;
    const body = {
      ...rest,
      item: itemText(item),
      from_station: placeText(fromStation),
      to_station: placeText(toStation)
    };
    return this.#connection.write("/api/inventory/transfer", body, options);
  }
  /**
   * Take off a stock what is gone, and say why.
   * @param {{stationId?: string | number | null, category: string, item: Item, quantity: number, reason: string, note?: string}} wasted
   * @param {WriteOptions} [options]
   */
  async waste(wasted, options) {
    const { stationId, item, ...rest } = wasted;
    const body = { ...rest, item: itemText(item), station_id: placeText(stationId) };
    return this.#connection.write("/api/inventory/waste", body, options);
  }
  /**
   * Several updates as one commit: all or none.
   * @param {{type: string, data: JsonObject}[]} updates
   * @param {WriteOptions} [options]
   */
  async batchUpdate(updates, options) {
    return this.#connection.write("/api/inventory/batch-update", { updates }, options);
  }
  /**
   * Import a localStorage dump, or with `dryRun` only tell what that would do.
   * Take secrets out first (see `secrets.js`); the server refuses them in any case.
   * @param {object} dump `{"localStorage": {key: raw string}, "origin", "device_id"}`
   * @param {MigrationOptions & WriteOptions} [options]
   * @returns {Promise<any>} the receipt
   */
  async migrateLocalStorage(dump, options = {}) {
    const query = new URLSearchParams({
      dry_run: String(options.dryRun ?? false),
      mode: options.mode ?? "merge",
      on_conflict: options.onConflict ?? "incoming"
    });
    if (options.includeCaches) query.set("include", "caches");
    const written = await this.#connection.writeNow(`/api/migration/export-localStorage?${query}`, dump, {
      ...options,
      timeout: options.timeout ?? Math.max(this.#connection.options.timeout, 18e4)
    });
    return written.data;
  }
  /** @param {string} [notes] @param {WriteOptions} [options] @returns {Promise<any>} the backup */
  async createBackup(notes, options) {
    const written = await this.#connection.writeNow("/api/migration/create-backup", notes ? { notes } : {}, {
      ...options,
      timeout: options?.timeout ?? Math.max(this.#connection.options.timeout, 18e4)
    });
    return written.data;
  }
  /**
   * Exchange the one-time token of a printed link for a session token, and use that.
   * @param {string} oneTimeToken
   * @returns {Promise<{token: string, expires_at: string, permissions: string[]}>}
   */
  async openSession(oneTimeToken) {
    const envelope = await this.#connection.transport.request("POST", "/api/migration/session", {
      body: JSON.stringify({ one_time_token: oneTimeToken }),
      anonymous: true,
      retries: 0
    });
    this.setToken(envelope.data.token);
    return envelope.data;
  }
};

// client/service.js
var BESIDE = "./secrets.js";
var INVENTORY_KEYS = [
  "event_inventory",
  "event_stock_levels",
  "station_inventory_configs",
  "station_inventory_quantities"
];
var SETTING_KEYS = ["branding_settings", "sms_settings", "system_settings"];
var DatabaseInventoryService = class extends Writing {
  /** @type {Connection} */
  #connection;
  /** @param {ServiceOptions} [options] */
  constructor(options = {}) {
    const connection = new Connection();
    connection.configure(options);
    super(connection);
    this.#connection = connection;
  }
  /* ----- names of older clients ---------------------------------------------------- */
  async getInventory() {
    return this.getEventInventory();
  }
  async getEventStock() {
    return this.getEventStockLevels();
  }
  async getStockLevels() {
    return this.getEventStockLevels();
  }
  async getStationConfigs() {
    return this.getStationInventoryConfigs();
  }
  async getStationConfigurations() {
    return this.getStationInventoryConfigs();
  }
  async getStationQuantities() {
    return this.getStationInventoryQuantities();
  }
  /** @param {Json} inventory the whole document */
  async saveEventInventory(inventory) {
    return this.#saveDocument("event_inventory", inventory);
  }
  /** @param {Json} levels the whole document */
  async saveStockLevels(levels) {
    return this.#saveDocument("event_stock_levels", levels);
  }
  /** @param {Json} configs the whole document */
  async saveStationConfigs(configs) {
    return this.#saveDocument("station_inventory_configs", configs);
  }
  /** @param {Json} quantities the whole document */
  async saveStationQuantities(quantities) {
    return this.#saveDocument("station_inventory_quantities", quantities);
  }
  /* ----- names of the service that this one replaces -------------------------------- */
  // They answer true or false as they did there; why it is false is in the console, and a
  // refused write is in parked(). New code uses the methods above, which throw.
  /**
   * @param {string} category
   * @param {string} itemName
   * @param {boolean} enabled
   * @returns {Promise<boolean>}
   */
  async updateEventInventoryItem(category, itemName, enabled) {
    return this.#succeeds(() => this.updateEventInventory(category, itemName, enabled));
  }
  /**
   * @param {string} itemName
   * @param {JsonObject} stockData in either spelling; what it does not name stays
   * @returns {Promise<boolean>}
   */
  async updateEventStockLevel(itemName, stockData) {
    return this.#succeeds(() => this.updateEventStock(itemName, stockData));
  }
  /** @param {string | number} stationId @param {JsonObject} config @returns {Promise<boolean>} */
  async updateStationInventoryConfig(stationId, config) {
    return this.#succeeds(() => this.updateStationConfig(stationId, config));
  }
  /**
   * @param {string | number} stationId
   * @param {string} itemName
   * @param {number} quantity
   * @returns {Promise<boolean>}
   */
  async updateStationInventoryQuantity(stationId, itemName, quantity) {
    return this.#succeeds(() => this.updateStationQuantity(stationId, itemName, quantity));
  }
  async getInventoryData() {
    return this.getEventInventory();
  }
  async getStockData() {
    return this.getEventStockLevels();
  }
  /** @returns {Promise<JsonObject | null>} all documents and `lastUpdate`; null where it failed */
  async loadFromDatabase() {
    let loaded = null;
    await this.#succeeds(async () => {
      loaded = { ...await this.refresh(), lastUpdate: Date.now() };
    });
    return loaded;
  }
  /** @returns {boolean} whether localStorage still holds inventory documents */
  checkForLocalStorageData() {
    return INVENTORY_KEYS.some((key) => held(key) !== null);
  }
  /**
   * Import the inventory documents and the settings that localStorage holds. Values that the
   * database has already stay as they are there: localStorage is as old as the last migration.
   * What the server then reads back as it was is removed from localStorage; the rest stays.
   * @returns {Promise<boolean>} whether all of it is stored
   */
  async migrateLocalStorageData() {
    return this.#succeeds(async () => {
      const raw = await this.#withoutSecrets([...INVENTORY_KEYS, ...SETTING_KEYS]);
      if (raw.size === 0) return;
      await this.migrateLocalStorage({ localStorage: Object.fromEntries(raw) }, { onConflict: "existing" });
      this.#connection.forget();
      const differing = [];
      for (const [key, text] of raw) {
        const same = sameText(await this.getRaw(key), text);
        if (!same) differing.push(key);
        else if (held(key) === text) localStorage.removeItem(key);
      }
      if (differing.length > 0) {
        throw new ExpressoPersistError(
          `The database holds more, or other values, than localStorage in ${differing.join(", ")}; they stay in this browser. Compare them on the migration page.`,
          { code: "not_exact" }
        );
      }
      localStorage.setItem("migration_completed", "true");
      localStorage.setItem("migration_date", (/* @__PURE__ */ new Date()).toISOString());
    });
  }
  /**
   * What may be sent of some keys of localStorage. In a copy of this file without `secrets.js`
   * beside it, only what holds no secrets by its nature.
   * @param {string[]} keys
   * @returns {Promise<Map<string, string>>}
   */
  async #withoutSecrets(keys) {
    const known = await import(
      /* webpackIgnore: true */
      /* @vite-ignore */
      BESIDE
    ).catch(() => null);
    const taken = known === null ? INVENTORY_KEYS : keys;
    const raw = new Map(taken.flatMap((key) => held(key) === null ? [] : [[key, held(key) ?? ""]]));
    return known === null ? raw : known.withholdSecrets(raw).entries;
  }
  /** @param {() => Promise<unknown>} work @returns {Promise<boolean>} */
  async #succeeds(work) {
    try {
      await work();
      return true;
    } catch (error) {
      if (!(error instanceof ExpressoPersistError)) throw error;
      console.error(error.message, error);
      return false;
    }
  }
  /**
   * Store a whole document. What is stored and the new document lacks is never removed
   * silently: such a save is refused before anything is written.
   * @param {string} key
   * @param {Json} value
   * @returns {Promise<any>} the receipt
   */
  async #saveDocument(key, value) {
    const dump = { localStorage: { [key]: JSON.stringify(value) } };
    this.#requireExact(key, await this.migrateLocalStorage(dump, { dryRun: true }));
    const receipt = await this.migrateLocalStorage(dump);
    this.#requireExact(key, receipt);
    return receipt;
  }
  /** @param {string} key @param {any} receipt */
  #requireExact(key, receipt) {
    const entry = receipt.keys.find((line) => line.key === key);
    if (entry?.exact === true) return;
    throw new ExpressoPersistError(
      `${key} was not saved as given: ` + (entry?.reason ?? "the server did not take it.") + " The database holds records that this document lacks, and saving does not remove them.",
      { code: "not_exact", data: receipt }
    );
  }
};

// client/index.js
var databaseInventoryService = new DatabaseInventoryService();
var index_default = databaseInventoryService;
export {
  DatabaseInventoryService,
  ExpressoPersistError,
  index_default as default
};
