/* eslint-disable */
// Made from client/*.js; edit those.
export type JsonObject = {
    [member: string]: any;
};
export type Json = null | boolean | number | string | any[] | JsonObject;
/**
 * one fault inside a request
 */
export type Problem = {
    path: string;
    message: string;
};
/**
 * a name, or an id in an object
 */
export type Item = string | {
    item_id: string;
} | {
    item_name: string;
} | {
    id: string;
};
/**
 * what a write answers; `pending`: not sent yet
 */
export type Written = {
    revision: number | null;
    message: string;
    data: any;
    pending?: true;
};
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;
export type GetToken = () => string | null | undefined | Promise<string | null | undefined>;
export type OnUnauthorized = (error: ExpressoPersistError) => string | null | undefined | void | Promise<string | null | undefined | void>;
/**
 * what the feed sends
 */
export type Commit = {
    revision: number;
    actor: string;
    source: string;
    hash?: string | undefined;
    changes: {
        kind: string;
        key: string[];
        before: any;
        after: any;
    }[];
};
export type Change = {
    /**
     * A commit of anybody; a write of this
     * browser; one that the server refused, so that its effect is gone from the reads; another
     * database in place of the old one.
     */
    reason: "feed" | "write" | "refused" | "reset";
    /**
     * The records, where they are known; null for any.
     */
    changes: Commit["changes"] | null;
    /**
     * Of the local copy.
     */
    revision: number | null;
};
export type Status = {
    /**
     * The server answered when it was last asked.
     */
    online: boolean;
    /**
     * Writes that the server does not have yet.
     */
    pending: number;
    /**
     * Writes that it refused.
     */
    parked: number;
    /**
     * Writes that another store took, which stood at this address before.
     */
    setAside: number;
    /**
     * Milliseconds.
     */
    oldestPendingAge: number | null;
    /**
     * When it last took a write, in milliseconds since 1970.
     */
    lastServerAck: number | null;
    /**
     * The local copy is the server's state but for what is pending.
     */
    caughtUp: boolean;
    /**
     * The server does not accept the token; nothing is lost.
     */
    signInNeeded: boolean;
    feed: "off" | "stream" | "long-poll" | "poll";
    storage: "indexeddb" | "localstorage" | "memory";
    /**
     * Whether what is pending survives the page.
     */
    durable: boolean;
};
/**
 * a write that the server refused
 */
export type Parked = {
    id: string;
    path: string;
    body: any;
    /**
     * When it was made, in milliseconds since 1970.
     */
    at: number;
    error: {
        message: string;
        code: string;
        status: number;
        details: Problem[];
        data: any;
    } | null;
};
export type LiveSettings = {
    retries: number;
    retryDelay: number;
    maxRetryDelay: number;
    patience: number;
    pollInterval: number;
    warnOnClose: boolean;
    keepDays: number;
    keepWrites: number;
    keepBytes: number;
};
export type ServiceOptions = {
    /**
     * Address in front of `/api/…`; found from the module's own address.
     */
    baseUrl?: string | undefined;
    /**
     * Bearer token, instead of looking for one.
     */
    token?: string | null | undefined;
    /**
     * Asked for a token before each request.
     */
    getToken?: GetToken | undefined;
    /**
     * Used instead of the browser's `fetch`.
     */
    fetch?: Fetch | undefined;
    /**
     * Whose device preferences `getDocuments()` includes.
     */
    deviceId?: string | null | undefined;
    /**
     * How often a request is repeated after a lost connection. Default 3.
     */
    retries?: number | undefined;
    /**
     * Milliseconds before the first repetition, then doubled. Default 400.
     */
    retryDelay?: number | undefined;
    /**
     * Longest wait in milliseconds; a longer `Retry-After` is thrown. Default 10000.
     */
    maxRetryDelay?: number | undefined;
    /**
     * Milliseconds to wait for one answer. Default 30000.
     */
    timeout?: number | undefined;
    /**
     * Called after a 401; gives another token, or lets
     * `getToken` be asked again. The request is then repeated once.
     */
    onUnauthorized?: OnUnauthorized | undefined;
    /**
     * Whether `initialize()` starts the outbox and the feed. Default true.
     */
    live?: boolean | undefined;
    /**
     * Who is signed in, where several people share a browser: each has an
     * outbox and a local copy of their own.
     */
    user?: string | undefined;
    /**
     * Milliseconds until a write that is kept answers `pending`. Default 4000.
     */
    patience?: number | undefined;
    /**
     * Milliseconds between two looks where there is no feed. Default 3000.
     */
    pollInterval?: number | undefined;
    /**
     * Whether the browser asks before it closes a page with unsent
     * writes. Default true.
     */
    warnOnClose?: boolean | undefined;
    /**
     * How long acknowledged writes are kept, to offer them again to a
     * server that lost them. Default 7.
     */
    keepDays?: number | undefined;
    /**
     * How many of them at most. Default 5000.
     */
    keepWrites?: number | undefined;
    /**
     * How large they may be together. Default 8 MiB.
     */
    keepBytes?: number | undefined;
};
/**
 * The same with defaults, as they hold now.
 */
export type Options = Required<Omit<ServiceOptions, "getToken" | "onUnauthorized">> & {
    getToken: GetToken | null;
    onUnauthorized: OnUnauthorized | null;
};
export type WriteOptions = {
    /**
     * Name of this request; the same name is never applied twice.
     */
    idempotencyKey?: string | undefined;
    /**
     * Refuse unless the record still has this revision.
     */
    ifMatch?: number | undefined;
    timeout?: number | undefined;
    /**
     * Used for this request only.
     */
    fetch?: Fetch | undefined;
};
export type MigrationOptions = {
    /**
     * Only tell what would happen.
     */
    dryRun?: boolean | undefined;
    mode?: "merge" | "replace" | undefined;
    onConflict?: "incoming" | "existing" | "fail" | undefined;
    /**
     * Take caches and transient keys too.
     */
    includeCaches?: boolean | undefined;
};
/**
 * where a value stands
 */
export type Place = {
    holder: any;
    member: string;
};
/**
 * What became of a write that was refused.
 */
export type Refusal = {
    message: string;
    code: string;
    status: number;
    details: Problem[];
    data: any;
};
/**
 * A write on its way.
 */
export type Entry = {
    /**
     * Whose it is: server and user.
     */
    scope: string;
    id: string;
    /**
     * Idempotency key, made when the write was.
     */
    key: string;
    path: string;
    body: string;
    ifMatch: number | null;
    /**
     * Milliseconds since 1970.
     */
    at: number;
    /**
     * Place in the order of all tabs.
     */
    seq: number;
    state: "queued" | "parked" | "acked";
    error: Refusal | null;
    /**
     * Of the commit, once the server has it.
     */
    revision: number | null;
    /**
     * Where it was acknowledged. With `queued`: the server lost
     * that commit, or may have, and the write is offered again.
     */
    cursor?: string | null | undefined;
    /**
     * The position that was known when it was sent.
     */
    since?: string | null | undefined;
    /**
     * The position of the commit just before it.
     */
    before?: string | null | undefined;
    /**
     * Of an offer: a position before it that the server still has.
     */
    base?: string | null | undefined;
    /**
     * Of an offer: the oldest one before it that the server has not.
     */
    lost?: string | null | undefined;
    /**
     * Milliseconds since 1970.
     */
    ackedAt?: number | undefined;
};
/**
 * The local copy: what `get-all` answered, and everything that the feed sent since.
 */
export type Copy = {
    data: any;
    cursor: string;
    epoch: string;
    revision: number;
    /**
     * Only as long as the copy is what was read.
     */
    etag: string | null;
};
/**
 * Where entries and the copy survive the page.
 */
export type OutboxStorage = {
    kind: "indexeddb" | "localstorage" | "memory";
    entries: (scope: string) => Promise<Entry[]>;
    /**
     * Answers its place in the order.
     */
    add: (entry: Entry) => Promise<number>;
    edit: (scope: string, id: string, edit: (entry: Entry) => Entry | null) => Promise<void>;
    copy: (scope: string) => Promise<any>;
    keep: (scope: string, copy: any) => Promise<void>;
    /**
     * Delete the copy, and no entry.
     */
    forget: (scope: string) => Promise<void>;
    acknowledged: (scope: string) => Promise<Entry[]>;
    /**
     * Acknowledged entries leave the outbox.
     */
    file: (scope: string, ids: string[]) => Promise<void>;
    /**
     * All at once: those
     * that are acked to the acknowledged, the others into the outbox.
     */
    move: (scope: string, entries: Entry[], gone?: string[]) => Promise<void>;
    /**
     * Take or renew a turn.
     */
    lease: (name: string, owner: string) => Promise<boolean>;
};
/**
 * The way to the server.
 */
export type Transport = {
    /**
     * One attempt.
     */
    read: (path: string, etag: string | null, signal: AbortSignal, timeout?: number) => Promise<any>;
    /**
     * One attempt.
     */
    send: (entry: Entry, since: string | null) => Promise<any>;
    stream: (path: string, signal: AbortSignal) => Promise<Response>;
};
/**
 * What the tab that leads says to the others about the server.
 */
export type LinkState = {
    online: boolean | null;
    caughtUp: boolean;
    feed: Status["feed"];
    signInNeeded: boolean;
    lastServerAck: number | null;
    setAside: number;
};

/** What every failure is thrown as. */
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
    constructor(message: string, facts?: {
        status?: number | undefined;
        code?: string | undefined;
        details?: Problem[] | undefined;
        retryAfter?: number | null | undefined;
        data?: any;
        cause?: unknown;
    });
    status: number;
    code: string;
    details: Problem[];
    retryAfter: number | null;
    data: any;
    /** @type {string | null} name of the refused write, for `retryParked()` and its like */
    parked: string | null;
}

/** The live client and its outbox, as applications see them. */
declare class LiveControl {
    /** Change how the service works; what is left out stays. @param {ServiceOptions} options */
    configure(options: ServiceOptions): this;
    /** Use this bearer token from now on; null goes back to looking for one. @param {string | null} token */
    setToken(token: string | null): this;
    get baseUrl(): string;
    /**
     * From now on keep a local copy fresh, and keep writes until the server has them.
     * @param {ServiceOptions} [options]
     * @returns {Promise<void>} once the writes of earlier visits are there; needs no network
     */
    start(options?: ServiceOptions): Promise<void>;
    /**
     * Go back to one request per call in this tab. Unsent writes stay in the outbox.
     * @param {{forget?: boolean}} [options] `forget`: also delete the local copy, when somebody
     *   signs out; the outbox is never deleted
     */
    stop(options?: {
        forget?: boolean;
    }): Promise<void>;
    /**
     * Call a listener when what the readers answer has changed; starts the feed.
     * @param {(change: Change) => void} listener
     * @returns {() => void} ends it
     */
    onChange(listener: (change: Change) => void): () => void;
    /**
     * Call a listener when {@link status} has changed in more than the age.
     * @param {(status: Status) => void} listener
     * @returns {() => void} ends it
     */
    onStatus(listener: (status: Status) => void): () => void;
    /** @returns {Status} */
    status(): Status;
    /** @returns {Parked[]} the writes that the server refused, in the order they were made */
    parked(): Parked[];
    /** Send a refused write again as it is. @param {string} id @returns {Promise<Written>} */
    retryParked(id: string): Promise<Written>;
    /**
     * Send a refused write with another body, in its old place.
     * @param {string} id
     * @param {JsonObject} body
     * @returns {Promise<Written>}
     */
    editParked(id: string, body: JsonObject): Promise<Written>;
    /** Let go of a refused write. @param {string} id */
    discardParked(id: string): Promise<void>;
    /**
     * The writes that another store acknowledged, which stood at this address before. Whether this
     * one should have them people decide: it may have been filled from a backup that has them.
     * @returns {Promise<Parked[]>}
     */
    setAside(): Promise<Parked[]>;
    /** Send them to this store. @param {string[]} [ids] all where left out */
    sendSetAside(ids?: string[]): Promise<void>;
    /** Let go of them. @param {string[]} [ids] all where left out */
    discardSetAside(ids?: string[]): Promise<void>;
    #private;
}

/** Reads come back exactly as the browser had stored them. */
declare class Reading extends LiveControl {
    /**
     * Start, and read everything once: from the server, or without one from the local copy.
     * @param {ServiceOptions} [options]
     * @returns {Promise<JsonObject>} the same as {@link getAll}
     */
    initialize(options?: ServiceOptions): Promise<JsonObject>;
    /** Forget what was read and read it again. @returns {Promise<JsonObject>} */
    refresh(): Promise<JsonObject>;
    /** @returns {Promise<JsonObject>} all inventory documents, station stock and settings */
    getAll(): Promise<JsonObject>;
    /** @returns {Promise<any>} what the event offers, in the layout it was stored in */
    getEventInventory(): Promise<any>;
    /** @returns {Promise<any>} the stock of the whole event */
    getEventStockLevels(): Promise<any>;
    /** @returns {Promise<any>} which item each station offers */
    getStationInventoryConfigs(): Promise<any>;
    /** @returns {Promise<any>} what was allotted to each station */
    getStationInventoryQuantities(): Promise<any>;
    /**
     * What is really left at a station, or at every station.
     * @param {string | number} [stationId]
     * @returns {Promise<any>} a station without stock answers an empty object
     */
    getStationStock(stationId?: string | number): Promise<any>;
    /** @returns {Promise<JsonObject>} every setting by its key */
    getSettings(): Promise<JsonObject>;
    /**
     * Everything that is stored, as localStorage had it.
     * @param {{deviceId?: string | null}} [options]
     * @returns {Promise<{localStorage: {[key: string]: string}, quarantined: string[], epoch?: string, revision?: number}>}
     */
    getDocuments(options?: {
        deviceId?: string | null;
    }): Promise<{
        localStorage: {
            [key: string]: string;
        };
        quarantined: string[];
        epoch?: string;
        revision?: number;
    }>;
    /** @param {string} key @returns {Promise<string | null>} the same as `localStorage.getItem(key)` was */
    getRaw(key: string): Promise<string | null>;
    /**
     * @param {string} key
     * @returns {Promise<any>} the parsed value, the text itself where it is not JSON, null where there is none
     */
    getDocument(key: string): Promise<any>;
    /** @returns {Promise<any>} counts of everything stored */
    getStats(): Promise<any>;
    /** @returns {Promise<any>} whether backups run, how many there are, the newest one, warnings */
    getBackupStatus(): Promise<any>;
    /** @returns {Promise<{migrated: boolean, revision: number | null, stats: any, backup: any}>} */
    getMigrationStatus(): Promise<{
        migrated: boolean;
        revision: number | null;
        stats: any;
        backup: any;
    }>;
    /** @returns {boolean} whether what was read is fresh: at most five minutes old, or kept fresh */
    isCacheValid(): boolean;
    #private;
}

/** Each write answers what the server did, or throws why it did not. */
declare class Writing extends Reading {
    /**
     * @param {string} category
     * @param {Item} item
     * @param {boolean | JsonObject} enabled `true`/`false`, or the members to change
     * @param {WriteOptions} [options]
     */
    updateEventInventory(category: string, item: Item, enabled: boolean | JsonObject, options?: WriteOptions): Promise<Written>;
    /**
     * Change what `stock` names and nothing else.
     * @param {Item} item
     * @param {number | JsonObject} stock the new total, or any of `total`, `allocated`, `available`, `unit`, … in either spelling
     * @param {string | null} [category]
     * @param {WriteOptions} [options]
     */
    updateEventStock(item: Item, stock: number | JsonObject, category?: string | null, options?: WriteOptions): Promise<Written>;
    /**
     * @param {string | number} stationId
     * @param {JsonObject} config
     * @param {WriteOptions} [options]
     */
    updateStationConfig(stationId: string | number, config: JsonObject, options?: WriteOptions): Promise<Written>;
    /**
     * @param {string | number} stationId
     * @param {Item} item
     * @param {number} quantity
     * @param {string | null} [category]
     * @param {WriteOptions} [options]
     */
    updateStationQuantity(stationId: string | number, item: Item, quantity: number, category?: string | null, options?: WriteOptions): Promise<Written>;
    /** @param {string} key @param {Json} value @param {WriteOptions} [options] */
    updateSetting(key: string, value: Json, options?: WriteOptions): Promise<Written>;
    /**
     * Add `delta` to a stock in the database, so that many stations can count at once: that of a
     * station, or without `stationId` the event's.
     * @param {{stationId?: string | number | null, category: string, item: Item, delta: number, floor?: number, note?: string}} adjusted
     * @param {WriteOptions} [options]
     */
    adjust({ stationId, item, ...rest }: {
        stationId?: string | number | null;
        category: string;
        item: Item;
        delta: number;
        floor?: number;
        note?: string;
    }, options?: WriteOptions): Promise<Written>;
    /**
     * Set a stock to what somebody counted; the answer has the difference found.
     * @param {{stationId?: string | number | null, category: string, item: Item, quantity: number, note?: string}} counted
     * @param {WriteOptions} [options]
     */
    count(counted: {
        stationId?: string | number | null;
        category: string;
        item: Item;
        quantity: number;
        note?: string;
    }, options?: WriteOptions): Promise<Written>;
    /**
     * Carry stock from one place to another, as one commit. A place that is left out is the
     * event's stock.
     * @param {{fromStation?: string | number | null, toStation?: string | number | null, category: string, item: Item, quantity: number, note?: string}} transfer
     * @param {WriteOptions} [options]
     */
    transfer(transfer: {
        fromStation?: string | number | null;
        toStation?: string | number | null;
        category: string;
        item: Item;
        quantity: number;
        note?: string;
    }, options?: WriteOptions): Promise<Written>;
    /**
     * Take off a stock what is gone, and say why.
     * @param {{stationId?: string | number | null, category: string, item: Item, quantity: number, reason: string, note?: string}} wasted
     * @param {WriteOptions} [options]
     */
    waste(wasted: {
        stationId?: string | number | null;
        category: string;
        item: Item;
        quantity: number;
        reason: string;
        note?: string;
    }, options?: WriteOptions): Promise<Written>;
    /**
     * Several updates as one commit: all or none.
     * @param {{type: string, data: JsonObject}[]} updates
     * @param {WriteOptions} [options]
     */
    batchUpdate(updates: {
        type: string;
        data: JsonObject;
    }[], options?: WriteOptions): Promise<Written>;
    /**
     * Import a localStorage dump, or with `dryRun` only tell what that would do.
     * Take secrets out first (see `secrets.js`); the server refuses them in any case.
     * @param {object} dump `{"localStorage": {key: raw string}, "origin", "device_id"}`
     * @param {MigrationOptions & WriteOptions} [options]
     * @returns {Promise<any>} the receipt
     */
    migrateLocalStorage(dump: object, options?: MigrationOptions & WriteOptions): Promise<any>;
    /** @param {string} [notes] @param {WriteOptions} [options] @returns {Promise<any>} the backup */
    createBackup(notes?: string, options?: WriteOptions): Promise<any>;
    /**
     * Exchange the one-time token of a printed link for a session token, and use that.
     * @param {string} oneTimeToken
     * @returns {Promise<{token: string, expires_at: string, permissions: string[]}>}
     */
    openSession(oneTimeToken: string): Promise<{
        token: string;
        expires_at: string;
        permissions: string[];
    }>;
    #private;
}

/** The inventory of an event, its stations, settings and documents, kept in a database. */
export class DatabaseInventoryService extends Writing {
    /** @param {ServiceOptions} [options] */
    constructor(options?: ServiceOptions);
    getInventory(): Promise<any>;
    getEventStock(): Promise<any>;
    getStockLevels(): Promise<any>;
    getStationConfigs(): Promise<any>;
    getStationConfigurations(): Promise<any>;
    getStationQuantities(): Promise<any>;
    /** @param {Json} inventory the whole document */
    saveEventInventory(inventory: Json): Promise<any>;
    /** @param {Json} levels the whole document */
    saveStockLevels(levels: Json): Promise<any>;
    /** @param {Json} configs the whole document */
    saveStationConfigs(configs: Json): Promise<any>;
    /** @param {Json} quantities the whole document */
    saveStationQuantities(quantities: Json): Promise<any>;
    /**
     * @param {string} category
     * @param {string} itemName
     * @param {boolean} enabled
     * @returns {Promise<boolean>}
     */
    updateEventInventoryItem(category: string, itemName: string, enabled: boolean): Promise<boolean>;
    /**
     * @param {string} itemName
     * @param {JsonObject} stockData in either spelling; what it does not name stays
     * @returns {Promise<boolean>}
     */
    updateEventStockLevel(itemName: string, stockData: JsonObject): Promise<boolean>;
    /** @param {string | number} stationId @param {JsonObject} config @returns {Promise<boolean>} */
    updateStationInventoryConfig(stationId: string | number, config: JsonObject): Promise<boolean>;
    /**
     * @param {string | number} stationId
     * @param {string} itemName
     * @param {number} quantity
     * @returns {Promise<boolean>}
     */
    updateStationInventoryQuantity(stationId: string | number, itemName: string, quantity: number): Promise<boolean>;
    getInventoryData(): Promise<any>;
    getStockData(): Promise<any>;
    /** @returns {Promise<JsonObject | null>} all documents and `lastUpdate`; null where it failed */
    loadFromDatabase(): Promise<JsonObject | null>;
    /** @returns {boolean} whether localStorage still holds inventory documents */
    checkForLocalStorageData(): boolean;
    /**
     * Import the inventory documents and the settings that localStorage holds. Values that the
     * database has already stay as they are there: localStorage is as old as the last migration.
     * What the server then reads back as it was is removed from localStorage; the rest stays.
     * @returns {Promise<boolean>} whether all of it is stored
     */
    migrateLocalStorageData(): Promise<boolean>;
    #private;
}

export default databaseInventoryService;
/** A ready service for the server that this module came from. */
declare const databaseInventoryService: DatabaseInventoryService;
