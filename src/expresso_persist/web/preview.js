/** Shows what the server plans or did: the plan, the receipt, the verification, backups. */

import { counted, definitions, element, size, table } from './dom.js';

/** @typedef {import('./secrets.js').Filtered} Filtered */
/** @typedef {import('./verification.js').Comparison} Comparison */
/** @typedef {'stored' | 'unchanged' | 'kept' | 'refused' | 'skipped' | 'quarantined'} KeyClass */
/** @typedef {{key: string, class: KeyClass, reason: string | null, layout: string | null, records: number, removed_secrets: string[], kept?: number}} KeyEntry */

/**
 * @typedef {object} Alike items that look like one thing
 * @property {string} cause
 * @property {string} document
 * @property {{key: string[], name: string, side: string, holdings: {kind: string, key: string[], quantity: number | null}[]}[]} items
 */

/**
 * @typedef {object} Receipt
 * @property {boolean} dry_run
 * @property {boolean} committed
 * @property {number} revision
 * @property {{[name: string]: number}} totals
 * @property {{[name: string]: number}} records
 * @property {KeyEntry[]} keys
 * @property {{kind: string, key: unknown, reason: string}[]} removals
 * @property {{kind: string, key: unknown, document: string, resolution: string, existing: unknown, incoming: unknown}[]} conflicts
 * @property {number} conflict_count
 * @property {Alike[]} [alike]
 * @property {number} [alike_count]
 * @property {number} [removal_count]
 */

/** @type {KeyClass[]} */
const CLASSES = ['stored', 'kept', 'quarantined', 'refused', 'unchanged', 'skipped'];

const MEANING = {
  stored: 'will be in the database',
  kept: 'differs here: what is in the database stays, and the value of this browser is not taken',
  quarantined: 'damaged: kept as it is, apart from the rest',
  refused: 'secret: never stored',
  unchanged: 'already in the database, equal',
  skipped: 'caches and transient state: not needed',
};

const CLASS_OF = { equal: 'good', kept: 'good', merged: 'warn', different: 'bad', missing: 'bad' };
/** @type {{[resolution: string]: string}} */
const WHOSE = { incoming: "this browser's", existing: "the database's", both: 'both' };
/** @type {{[cause: string]: string}} */
const LIKENESS = {
  same_name: 'one name, several ids: all stay',
  other_category: 'one name in several categories: all stay',
  same_id: 'one id, two names: united',
};
/** @type {{[side: string]: string}} */
const SIDES = { stored: 'the database', dump: 'this browser', both: 'both' };
/** @type {{[kind: string]: string}} */
const NUMBERS = {
  event_stock: 'stock of the event',
  station_quantity: 'allotted to station',
  station_stock: 'left at station',
};
const PREVIEW_LENGTH = 140;

/**
 * The server's keys and the ones the page kept back, in one list that adds up to the source.
 * @param {Receipt} receipt
 * @param {Filtered} filtered
 * @returns {KeyEntry[]}
 */
export function allKeys(receipt, filtered) {
  const withheld = filtered.withheld.map(({ key, reason }) => ({
    key,
    class: /** @type {KeyClass} */ ('refused'),
    reason,
    layout: null,
    records: 0,
    removed_secrets: [],
  }));
  return [...receipt.keys, ...withheld];
}

/**
 * @param {Receipt} receipt
 * @param {Filtered} filtered
 * @param {Map<string, string>} found everything that was found, for its number
 * @returns {string | null} what does not add up, or null
 */
export function imbalance(receipt, filtered, found) {
  const named = new Set(receipt.keys.map(({ key }) => key));
  const lost = [...filtered.entries.keys()].filter((key) => !named.has(key));
  const { keys = 0 } = receipt.totals;
  const sum = [...CLASSES].reduce((count, name) => count + (receipt.totals[name] ?? 0), 0);
  if (lost.length > 0) return `The receipt does not name ${lost.join(', ')}.`;
  if (keys !== filtered.entries.size || keys + filtered.withheld.length !== found.size) {
    return `The receipt counts ${keys} keys, but ${filtered.entries.size} were sent.`;
  }
  if (sum !== keys) {
    return 'The classes of the receipt do not add up to its keys.';
  }
  return null;
}

/**
 * @param {Receipt} receipt
 * @param {Filtered} filtered
 * @param {Map<string, string>} found
 * @returns {Node[]}
 */
export function plan(receipt, filtered, found) {
  const keys = allKeys(receipt, filtered);
  return [
    totals(receipt, keys),
    ...CLASSES.map((name) => classDetails(name, keys, filtered, found)),
    ...lookalikes(receipt),
    ...conflicts(receipt),
    ...removals(receipt),
  ];
}

/** @param {Receipt} receipt @param {Filtered} filtered @returns {Node[]} */
export function receipt(receipt, filtered) {
  const kept = keptKeys(receipt).size;
  const done = receipt.committed ? `Stored as revision ${receipt.revision}.` : unchanged(receipt, kept);
  const stays =
    `Of ${counted(kept, 'key')} the database has other values. They stay, as it says under ` +
    '“How to import”; the values of this browser were not taken.';
  return [
    element('h3', {}, 'Receipt'),
    element('p', { class: 'good' }, kept > 0 ? `${done} ${stays}` : done),
    totals(receipt, allKeys(receipt, filtered)),
    ...lookalikes(receipt),
  ];
}

/** @param {Receipt} receipt @param {number} kept @returns {string} why nothing was stored */
function unchanged(receipt, kept) {
  const revision = `(revision ${receipt.revision})`;
  if (kept > 0) return `Nothing was changed in the database ${revision}.`;
  return keysOf(receipt, 'unchanged').size > 0
    ? `Nothing had to change: the database already holds all of it ${revision}.`
    : `Nothing was stored: what this browser holds stays in it ${revision}.`;
}

/** @param {Receipt} receipt @param {string} name @returns {Set<string>} the keys of a class */
export function keysOf(receipt, name) {
  return new Set(receipt.keys.filter((key) => key.class === name).map(({ key }) => key));
}

/**
 * Keys of which the database's value stays where this browser has another one: that is what was
 * asked for, and no fault.
 * @param {Receipt} receipt
 * @returns {Set<string>}
 */
export function keptKeys(receipt) {
  const keys = receipt.keys.filter(({ class: name, kept = 0 }) => name === 'kept' || kept > 0);
  const conflicts = receipt.conflicts.filter(({ resolution }) => resolution === 'existing');
  return new Set([...keys.map(({ key }) => key), ...conflicts.map(({ document }) => document)]);
}

/** @param {Receipt} receipt @param {KeyEntry[]} keys */
function totals(receipt, keys) {
  const { added = 0, changed = 0, removed = 0, unchanged = 0 } = receipt.records;
  /** @param {KeyClass} name */
  const count = (name) => String(keys.filter((key) => key.class === name).length);
  return element(
    'div',
    {},
    definitions([
      ['keys found', String(keys.length)],
      ...CLASSES.map((name) => /** @type {[string, string]} */ ([name, count(name)])),
    ]),
    element(
      'p',
      {},
      `Records: ${added} added, ${changed} changed, ${removed} removed, ${unchanged} unchanged.`,
    ),
  );
}

/**
 * @param {KeyClass} name
 * @param {KeyEntry[]} keys
 * @param {Filtered} filtered
 * @param {Map<string, string>} found
 */
function classDetails(name, keys, filtered, found) {
  const members = keys.filter((key) => key.class === name);
  const rows = members.map((key) => [
    element(
      'span',
      {},
      key.key,
      name === 'refused'
        ? ''
        : // What is sent, not what was found: a password inside it is not shown either.
          element('span', { class: 'raw' }, shortened(filtered.entries.get(key.key))),
    ),
    size(new Blob([found.get(key.key) ?? '']).size),
    key.records > 0 ? counted(key.records, 'record') : '',
    remarks(key, filtered.stripped.get(key.key) ?? []),
  ]);
  const title = `${name}: ${counted(members.length, 'key')}`;
  if (members.length === 0) {
    return element('p', { class: 'soft' }, `${title} (${MEANING[name]})`);
  }
  return element(
    'details',
    { open: name !== 'skipped' && name !== 'unchanged', 'data-class': name },
    element('summary', {}, title),
    table(`${name}: ${MEANING[name]}`, ['Key', 'Size', 'Records', 'Remarks'], rows),
  );
}

/** @param {KeyEntry} key @param {string[]} stripped */
function remarks(key, stripped) {
  const removed = [...stripped, ...key.removed_secrets];
  return [
    key.reason,
    key.layout ? `layout: ${key.layout}` : null,
    removed.length > 0 ? `secrets taken out: ${removed.join(', ')}` : null,
  ]
    .filter((remark) => remark !== null)
    .join('; ');
}

/** @param {Receipt} receipt @returns {Node[]} */
function lookalikes(receipt) {
  const { alike = [] } = receipt;
  if (alike.length === 0) return [];
  const rows = alike.flatMap(({ cause, items }) =>
    items.map(({ key, name, side, holdings }) => [
      name,
      keyText(key),
      SIDES[side] ?? side,
      holdings.map(holding).join('; '),
      LIKENESS[cause] ?? cause,
    ]),
  );
  return [
    element('h3', {}, `Looks like the same thing: ${receipt.alike_count ?? alike.length}`),
    table(
      'Items that may be one thing. Nothing was guessed: decide which is right, and correct it there',
      ['Name', 'Item', 'Known to', 'Numbers', 'What becomes of it'],
      rows,
    ),
  ];
}

/** @param {{kind: string, key: string[], quantity: number | null}} number */
function holding({ kind, key, quantity }) {
  const station = key.length > 2 ? ` ${key[0]}` : '';
  return `${NUMBERS[kind] ?? kind}${station}: ${quantity ?? 'no number'}`;
}

/** @param {Receipt} receipt @returns {Node[]} */
function conflicts(receipt) {
  if (receipt.conflict_count === 0) return [];
  const rows = receipt.conflicts.map((conflict) => [
    `${conflict.document}: ${keyText(conflict.key)}`,
    shortened(JSON.stringify(conflict.existing)),
    shortened(JSON.stringify(conflict.incoming)),
    WHOSE[conflict.resolution] ?? conflict.resolution,
  ]);
  return [
    element('h3', {}, counted(receipt.conflict_count, 'conflict')),
    table(
      'Values that differ between the database and this browser',
      ['Record', 'In the database', 'In this browser', 'Kept'],
      rows,
    ),
  ];
}

/** @param {Receipt} receipt @returns {Node[]} */
function removals(receipt) {
  if (receipt.removals.length === 0) return [];
  const rows = receipt.removals.map((removal) => [
    `${removal.kind}: ${keyText(removal.key)}`,
    removal.reason,
  ]);
  return [
    element('h3', {}, `${counted(receipt.removal_count ?? receipt.removals.length, 'record')} to be removed`),
    table('Records that are in the database but not here', ['Record', 'Reason'], rows),
  ];
}

/** @param {Comparison[]} comparisons @returns {Node[]} */
export function verification(comparisons) {
  const bad = comparisons.filter(({ outcome }) => outcome === 'different' || outcome === 'missing');
  const merged = comparisons.filter(({ outcome }) => outcome === 'merged');
  const kept = comparisons.filter(({ outcome }) => outcome === 'kept');
  const also =
    (merged.length > 0 ? `; ${merged.length} also hold data from elsewhere` : '') +
    (kept.length > 0 ? `; of ${kept.length} the database's values stay, as was chosen` : '');
  const verdict =
    bad.length > 0
      ? `${counted(bad.length, 'key')} did not come back as sent: ${bad.map(({ key }) => key).join(', ')}.`
      : `Verified: ${counted(comparisons.length, 'key')} read back and compared, nothing is missing${also}.`;
  const order = { missing: 0, different: 1, kept: 2, merged: 3, equal: 4 };
  const sorted = [...comparisons].sort((one, other) => order[one.outcome] - order[other.outcome]);
  const rows = sorted.map(({ key, outcome, how }) => [
    key,
    element(
      'span',
      { class: CLASS_OF[outcome] },
      outcome,
    ),
    how,
  ]);
  return [
    element('p', { class: bad.length > 0 ? 'bad' : 'good', id: 'verdict' }, verdict),
    table('Each key, compared with this browser', ['Key', 'Result', 'Compared'], rows),
  ];
}

/** @param {any} status @returns {Node[]} */
export function backups(status) {
  const latest = status.latest_backup;
  const warnings = Array.isArray(status.warnings) ? status.warnings : [];
  // What came from an archive, or was made before a restore, is none of the data as it is.
  const none = status.total_backups ? 'none of the present data' : 'none yet';
  return [
    definitions([
      ['Automatic backups', status.backup_running ? 'running' : 'not running'],
      ['Interval', counted(Number(status.backup_interval_minutes), 'minute')],
      ['Backups', String(status.total_backups)],
      ['Size', size(Number(status.total_size_bytes) || 0)],
      ['Newest', latest ? moment(latest.confirmed_at ?? latest.created_at) : none],
      ['Newest verified', latest?.verified_at ? moment(latest.verified_at) : 'no'],
    ]),
    ...warnings.map((/** @type {unknown} */ warning) =>
      element('p', { class: 'note' }, String(warning)),
    ),
  ];
}

/** @param {unknown} time */
function moment(time) {
  const date = new Date(String(time));
  return element(
    'time',
    { datetime: String(time) },
    Number.isNaN(date.getTime()) ? String(time) : date.toLocaleString(),
  );
}

/** @param {unknown} key */
function keyText(key) {
  return Array.isArray(key) ? key.join(' / ') : String(key);
}

/** @param {string | undefined} text */
function shortened(text = '') {
  return text.length > PREVIEW_LENGTH ? `${text.slice(0, PREVIEW_LENGTH)}…` : text;
}
