/** The types that several modules share. */

/** @import { ExpressoPersistError } from './errors.js' */

/** @typedef {{[member: string]: any}} JsonObject */
/** @typedef {null | boolean | number | string | any[] | JsonObject} Json */
/** @typedef {{path: string, message: string}} Problem one fault inside a request */
/** @typedef {string | {item_id: string} | {item_name: string} | {id: string}} Item a name, or an id in an object */
/** @typedef {{revision: number | null, message: string, data: any, pending?: true}} Written what a write answers; `pending`: not sent yet */
/** @typedef {(url: string, init: RequestInit) => Promise<Response>} Fetch */
/** @typedef {() => string | null | undefined | Promise<string | null | undefined>} GetToken */
/** @typedef {(error: ExpressoPersistError) => string | null | undefined | void | Promise<string | null | undefined | void>} OnUnauthorized */

/**
 * @typedef {object} Commit what the feed sends
 * @property {number} revision
 * @property {string} actor
 * @property {string} source
 * @property {string} [hash]
 * @property {{kind: string, key: string[], before: any, after: any}[]} changes
 */

/**
 * @typedef {object} Change
 * @property {'feed' | 'write' | 'refused' | 'reset'} reason A commit of anybody; a write of this
 *   browser; one that the server refused, so that its effect is gone from the reads; another
 *   database in place of the old one.
 * @property {Commit['changes'] | null} changes The records, where they are known; null for any.
 * @property {number | null} revision Of the local copy.
 */

/**
 * @typedef {object} Status
 * @property {boolean} online The server answered when it was last asked.
 * @property {number} pending Writes that the server does not have yet.
 * @property {number} parked Writes that it refused.
 * @property {number} setAside Writes that another store took, which stood at this address before.
 * @property {number | null} oldestPendingAge Milliseconds.
 * @property {number | null} lastServerAck When it last took a write, in milliseconds since 1970.
 * @property {boolean} caughtUp The local copy is the server's state but for what is pending.
 * @property {boolean} signInNeeded The server does not accept the token; nothing is lost.
 * @property {'off' | 'stream' | 'long-poll' | 'poll'} feed
 * @property {'indexeddb' | 'localstorage' | 'memory'} storage
 * @property {boolean} durable Whether what is pending survives the page.
 */

/**
 * @typedef {object} Parked a write that the server refused
 * @property {string} id
 * @property {string} path
 * @property {any} body
 * @property {number} at When it was made, in milliseconds since 1970.
 * @property {{message: string, code: string, status: number, details: Problem[], data: any} | null} error
 */

/**
 * @typedef {object} LiveSettings
 * @property {number} retries
 * @property {number} retryDelay
 * @property {number} maxRetryDelay
 * @property {number} patience
 * @property {number} pollInterval
 * @property {boolean} warnOnClose
 * @property {number} keepDays
 * @property {number} keepWrites
 * @property {number} keepBytes
 */

/**
 * @typedef {object} ServiceOptions
 * @property {string} [baseUrl] Address in front of `/api/…`; found from the module's own address.
 * @property {string | null} [token] Bearer token, instead of looking for one.
 * @property {GetToken} [getToken] Asked for a token before each request.
 * @property {Fetch} [fetch] Used instead of the browser's `fetch`.
 * @property {string | null} [deviceId] Whose device preferences `getDocuments()` includes.
 * @property {number} [retries] How often a request is repeated after a lost connection. Default 3.
 * @property {number} [retryDelay] Milliseconds before the first repetition, then doubled. Default 400.
 * @property {number} [maxRetryDelay] Longest wait in milliseconds; a longer `Retry-After` is thrown. Default 10000.
 * @property {number} [timeout] Milliseconds to wait for one answer. Default 30000.
 * @property {OnUnauthorized} [onUnauthorized] Called after a 401; gives another token, or lets
 *   `getToken` be asked again. The request is then repeated once.
 * @property {boolean} [live] Whether `initialize()` starts the outbox and the feed. Default true.
 * @property {string} [user] Who is signed in, where several people share a browser: each has an
 *   outbox and a local copy of their own.
 * @property {number} [patience] Milliseconds until a write that is kept answers `pending`. Default 4000.
 * @property {number} [pollInterval] Milliseconds between two looks where there is no feed. Default 3000.
 * @property {boolean} [warnOnClose] Whether the browser asks before it closes a page with unsent
 *   writes. Default true.
 * @property {number} [keepDays] How long acknowledged writes are kept, to offer them again to a
 *   server that lost them. Default 7.
 * @property {number} [keepWrites] How many of them at most. Default 5000.
 * @property {number} [keepBytes] How large they may be together. Default 8 MiB.
 */

/**
 * The same with defaults, as they hold now.
 * @typedef {Required<Omit<ServiceOptions, 'getToken' | 'onUnauthorized'>>
 *   & {getToken: GetToken | null, onUnauthorized: OnUnauthorized | null}} Options
 */

/**
 * @typedef {object} WriteOptions
 * @property {string} [idempotencyKey] Name of this request; the same name is never applied twice.
 * @property {number} [ifMatch] Refuse unless the record still has this revision.
 * @property {number} [timeout]
 * @property {Fetch} [fetch] Used for this request only.
 */

/**
 * @typedef {object} MigrationOptions
 * @property {boolean} [dryRun] Only tell what would happen.
 * @property {'merge' | 'replace'} [mode]
 * @property {'incoming' | 'existing' | 'fail'} [onConflict]
 * @property {boolean} [includeCaches] Take caches and transient keys too.
 */

/** @typedef {{holder: any, member: string}} Place where a value stands */

/**
 * What became of a write that was refused.
 * @typedef {object} Refusal
 * @property {string} message
 * @property {string} code
 * @property {number} status
 * @property {Problem[]} details
 * @property {any} data
 */

/**
 * A write on its way.
 * @typedef {object} Entry
 * @property {string} scope Whose it is: server and user.
 * @property {string} id
 * @property {string} key Idempotency key, made when the write was.
 * @property {string} path
 * @property {string} body
 * @property {number | null} ifMatch
 * @property {number} at Milliseconds since 1970.
 * @property {number} seq Place in the order of all tabs.
 * @property {'queued' | 'parked' | 'acked'} state
 * @property {Refusal | null} error
 * @property {number | null} revision Of the commit, once the server has it.
 * @property {string | null} [cursor] Where it was acknowledged. With `queued`: the server lost
 *   that commit, or may have, and the write is offered again.
 * @property {string | null} [since] The position that was known when it was sent.
 * @property {string | null} [before] The position of the commit just before it.
 * @property {string | null} [base] Of an offer: a position before it that the server still has.
 * @property {string | null} [lost] Of an offer: the oldest one before it that the server has not.
 * @property {number} [ackedAt] Milliseconds since 1970.
 */

/**
 * The local copy: what `get-all` answered, and everything that the feed sent since.
 * @typedef {object} Copy
 * @property {any} data
 * @property {string} cursor
 * @property {string} epoch
 * @property {number} revision
 * @property {string | null} etag Only as long as the copy is what was read.
 */

/**
 * Where entries and the copy survive the page.
 * @typedef {object} OutboxStorage
 * @property {'indexeddb' | 'localstorage' | 'memory'} kind
 * @property {(scope: string) => Promise<Entry[]>} entries
 * @property {(entry: Entry) => Promise<number>} add Answers its place in the order.
 * @property {(scope: string, id: string, edit: (entry: Entry) => Entry | null) => Promise<void>} edit
 * @property {(scope: string) => Promise<any>} copy
 * @property {(scope: string, copy: any) => Promise<void>} keep
 * @property {(scope: string) => Promise<void>} forget Delete the copy, and no entry.
 * @property {(scope: string) => Promise<Entry[]>} acknowledged
 * @property {(scope: string, ids: string[]) => Promise<void>} file Acknowledged entries leave the outbox.
 * @property {(scope: string, entries: Entry[], gone?: string[]) => Promise<void>} move All at once: those
 *   that are acked to the acknowledged, the others into the outbox.
 * @property {(name: string, owner: string) => Promise<boolean>} lease Take or renew a turn.
 */

/**
 * The way to the server.
 * @typedef {object} Transport
 * @property {(path: string, etag: string | null, signal: AbortSignal, timeout?: number) => Promise<any>} read One attempt.
 * @property {(entry: Entry, since: string | null) => Promise<any>} send One attempt.
 * @property {(path: string, signal: AbortSignal) => Promise<Response>} stream
 */

/**
 * What the tab that leads says to the others about the server.
 * @typedef {object} LinkState
 * @property {boolean | null} online
 * @property {boolean} caughtUp
 * @property {Status['feed']} feed
 * @property {boolean} signInNeeded
 * @property {number | null} lastServerAck
 * @property {number} setAside
 */

export {};
