/**
 * The migration page: analyze, preview, migrate, verify, and then, if asked, clear.
 *
 * This module only wires buttons to the modules that do the work. It reads localStorage, and
 * changes it in one place: when the user confirms to clear keys that were verified.
 */

import {
  NotADump,
  asDump,
  clear,
  dumpFile,
  fill,
  randomName,
  readLocalStorage,
  thisBrowser,
} from './browser-data.js';
import { DatabaseInventoryService, ExpressoPersistError } from './DatabaseInventoryService.js';
import { byId, counted, download, element, size, stamp } from './dom.js';
import * as show from './preview.js';
import { withholdSecrets } from './secrets.js';
import * as session from './session.js';
import { fetchWithProgress } from './upload.js';
import { clearable, verify } from './verification.js';

/** @typedef {import('./browser-data.js').Source} Source */
/** @typedef {import('./secrets.js').Filtered} Filtered */
/** @typedef {import('./preview.js').Receipt} Receipt */

const service = new DatabaseInventoryService({
  baseUrl: new URL('..', location.href).href,
  getToken: session.token,
});

/** Everything the page knows; replaced as a whole by each analysis. */
const state = {
  /** @type {Source | null} */ source: null,
  /** @type {Filtered | null} */ filtered: null,
  /** @type {Receipt | null} the plan that is shown */ plan: null,
  /** @type {Receipt | null} */ receipt: null,
  /** Names the import, so that pressing the button again after a lost answer repeats nothing. */
  importKey: '',
  /** @type {Map<string, string>} verified raw strings by key */ clearable: new Map(),
  /** @type {Set<string>} keys of which the database has other values, and keeps them */
  kept: new Set(),
  /** @type {(() => Promise<void>) | null} what to go on with after signing in */ pending: null,
};

const button = (/** @type {string} */ id) => byId(id, HTMLButtonElement);
const section = (/** @type {string} */ id) => byId(id, HTMLElement);
const options = {
  mode: byId('mode', HTMLSelectElement),
  onConflict: byId('on-conflict', HTMLSelectElement),
  includeCaches: byId('include-caches', HTMLInputElement),
};

/* ----- telling -------------------------------------------------------------------------- */

/** @param {string} text */
function tell(text) {
  section('status').textContent = text;
}

/** @param {unknown} error */
function tellProblem(error) {
  const known = error instanceof ExpressoPersistError;
  const text = known || error instanceof NotADump ? error.message : `The page failed: ${error}`;
  const details = known ? error.details : [];
  const wait = known && error.retryAfter ? ` Try again in ${Math.ceil(error.retryAfter)} s.` : '';
  section('problem').replaceChildren(
    element('p', {}, text + wait),
    ...(details.length === 0
      ? []
      : [
          element(
            'ul',
            {},
            ...details.map(({ path, message }) => element('li', {}, `${path}: ${message}`)),
          ),
        ]),
  );
  if (!known && !(error instanceof NotADump)) console.error(error);
}

/** @type {Promise<void> | null} what is being done at the moment */
let underway = null;
/** Until the page knows who is signed in, what is pressed waits instead of being ignored. */
let connected = Promise.resolve();

/**
 * Run what a button asks for: one thing at a time, and every failure is shown.
 * @param {string} doing
 * @param {() => Promise<void>} action
 */
async function run(doing, action) {
  await connected;
  if (underway !== null) return;
  section('main').setAttribute('aria-busy', 'true');
  underway = attempt(doing, action);
  await underway;
  underway = null;
  section('main').removeAttribute('aria-busy');
}

/** @param {string} doing @param {() => Promise<void>} action */
async function attempt(doing, action) {
  section('problem').replaceChildren();
  tell(doing);
  try {
    await action();
  } catch (error) {
    tell('Nothing was lost.');
    tellProblem(error);
    if (error instanceof ExpressoPersistError && error.status === 401) {
      state.pending = () => run(doing, action);
      askToSignIn('The server does not know who you are. Sign in to go on; nothing is lost.');
    }
  }
}

/** @param {string} id a section to show, and to go to */
function goTo(id) {
  section(id).hidden = false;
  section(`${id}-heading`).focus({ preventScroll: true });
  section(id).scrollIntoView({ block: 'start' });
}

/* ----- signing in ----------------------------------------------------------------------- */

/** @param {string} reason */
function askToSignIn(reason) {
  section('sign-in-reason').textContent = reason;
  button('use-app-token').hidden = session.appToken() === null;
  section('signed-in').hidden = true;
  goTo('sign-in');
}

/** @param {string | null} token */
async function signIn(token) {
  const before = session.token();
  if (token !== null) session.keepToken(token);
  try {
    await service.getBackupStatus();
  } catch (error) {
    if (token !== null) session.keepToken(before);
    throw error;
  }
  section('sign-in').hidden = true;
  section('signed-in').hidden = session.token() === null;
  byId('token', HTMLInputElement).value = '';
  tell('Signed in.');
}

/** @param {() => Promise<void>} way */
async function signInAndGoOn(way) {
  const pending = state.pending;
  state.pending = null;
  let signedIn = false;
  await run('Signing in…', async () => {
    await way();
    signedIn = true;
  });
  if (signedIn && pending !== null) await pending();
  else if (signedIn) button('analyze').focus();
  else state.pending = pending;
}

/** @returns {Promise<string | null>} what there is to say about a link that was no use */
async function signInByLink() {
  const oneTimeToken = session.takeOneTimeToken();
  if (oneTimeToken === null) return null;
  try {
    const opened = await service.openSession(oneTimeToken);
    session.keepToken(opened.token);
  } catch (error) {
    // A link that was used before is no harm as long as this tab is still signed in.
    if (session.token() === null || !(error instanceof ExpressoPersistError)) throw error;
    return error.status === 401
      ? 'That sign-in link was used before, or is too old. This tab is still signed in.'
      : `That sign-in link could not be used now: ${error.message} This tab is still signed in.`;
  } finally {
    service.setToken(null); // from now on the tab's token is asked for
  }
  return null;
}

/** A fresh link that was pasted into this very tab loads nothing: only its last part changed. */
async function onFreshLink() {
  if (!session.hasOneTimeToken()) return;
  await underway;
  await signInAndGoOn(async () => {
    const useless = await signInByLink();
    await signIn(null);
    if (useless !== null) tell(useless);
  });
}

async function start() {
  const useless = await signInByLink();
  try {
    await signIn(null); // the host may know the user without a token
    tell(useless ?? 'Ready.');
  } catch (error) {
    if (!(error instanceof ExpressoPersistError && error.status === 401)) throw error;
    askToSignIn('Sign in to use the database of this server.');
    tell('Not signed in.');
  }
}

/* ----- analyze, preview ----------------------------------------------------------------- */

/** @param {() => Source | Promise<Source>} read */
async function analyze(read) {
  const source = await read();
  state.source = source;
  state.filtered = withholdSecrets(source.entries);
  state.plan = null;
  for (const id of ['preview', 'migrate']) section(id).hidden = true;
  button('safety-copy').hidden = section('safety').hidden = source.kind !== 'browser';
  section('empty').hidden = true;
  if (source.entries.size === 0) {
    forgetReceipt();
    if (source.kind === 'browser') goTo('empty');
    tell(`There is nothing in ${source.name} to migrate.`);
    return;
  }
  await makePlan();
  goTo('preview');
}

/** Something to try the page with: a made-up event, put where the app would have put it. */
async function loadSample() {
  const { SAMPLE } = await import('./sample-event.js');
  fill(SAMPLE);
  await analyze(thisBrowser);
  const size = counted(state.source?.entries.size ?? 0, 'key');
  tell(`Analyzed the sample event of ${size} that is in this browser now.`);
}

async function makePlan() {
  const { source, filtered } = state;
  if (source === null || filtered === null) return;
  forgetReceipt();
  state.plan = null;
  button('migrate-button').disabled = true;
  const plan = await migration(source, filtered, { dryRun: true });
  const problem = show.imbalance(plan, filtered, source.entries);
  if (problem !== null) throw new ExpressoPersistError(problem, { code: 'receipt' });
  state.plan = plan;
  state.importKey = randomName();
  section('plan').replaceChildren(...show.plan(plan, filtered, source.entries));
  section('preview').hidden = section('migrate').hidden = false;
  button('migrate-button').disabled = false;
  tell(
    `Analyzed ${counted(source.entries.size, 'key')} of ${source.name}; ` +
      `${filtered.withheld.length} withheld as secret. Nothing is written yet.`,
  );
}

/**
 * @param {Source} source
 * @param {Filtered} filtered
 * @param {import('./DatabaseInventoryService.js').WriteOptions & {dryRun: boolean}} how
 * @returns {Promise<Receipt>}
 */
function migration(source, filtered, how) {
  return service.migrateLocalStorage(asDump(source, filtered.entries), {
    mode: /** @type {'merge' | 'replace'} */ (options.mode.value),
    onConflict: /** @type {'incoming' | 'existing' | 'fail'} */ (options.onConflict.value),
    includeCaches: options.includeCaches.checked,
    ...how,
  });
}

/* ----- migrate -------------------------------------------------------------------------- */

async function migrate() {
  const { source, filtered } = state;
  if (source === null || filtered === null || state.plan === null) return;
  forgetReceipt();
  const steps = progress();
  steps.next(`${counted(filtered.withheld.length, 'secret')} kept in this browser`, 5);
  const sending = steps.next(`Sending ${counted(filtered.entries.size, 'key')}`, 10);
  const receipt = await migration(source, filtered, {
    dryRun: false,
    idempotencyKey: state.importKey,
    fetch: fetchWithProgress((sent, total) => {
      sending.textContent = `Sent ${size(sent)} of ${size(total)}`;
      steps.at(10 + (70 * sent) / total);
      if (sent === total) tell('The server stores everything in one transaction…');
    }),
  });
  steps.next('Receipt received', 90);
  state.importKey = randomName(); // answered: to press the button again is another import
  const problem = show.imbalance(receipt, filtered, source.entries);
  if (problem !== null) throw new ExpressoPersistError(problem, { code: 'receipt' });
  steps.next('The receipt adds up to what was sent', 100);
  state.receipt = receipt;
  for (const details of section('plan').querySelectorAll('details')) details.open = false;
  const save = element('button', { type: 'button', id: 'save-receipt' }, 'Download receipt');
  save.addEventListener('click', () => download(`expresso-receipt-${stamp()}.json`, wholeReceipt()));
  section('receipt').replaceChildren(
    ...show.receipt(receipt, filtered),
    element('p', { class: 'actions' }, save),
  );
  tell('Migrated. Reading everything back…');
  section('verify').hidden = false;
  await verifyMigration();
  goTo('verify');
}

/** The server's receipt, and what the page itself kept back. */
function wholeReceipt() {
  return {
    ...state.receipt,
    withheld_in_browser: state.filtered?.withheld ?? [],
    secrets_taken_out: Object.fromEntries(state.filtered?.stripped ?? []),
  };
}

function progress() {
  const bar = byId('progress-bar', HTMLProgressElement);
  const list = byId('progress-steps', HTMLOListElement);
  list.replaceChildren();
  section('progress').hidden = false;
  return {
    /** @param {number} percent */
    at(percent) {
      bar.value = percent;
    },
    /** @param {string} text @param {number} percent */
    next(text, percent) {
      bar.value = percent;
      const item = element('li', {}, text);
      list.append(item);
      tell(text);
      return item;
    },
  };
}

function forgetReceipt() {
  state.receipt = null;
  state.clearable = new Map();
  section('receipt').replaceChildren();
  section('verification').replaceChildren();
  for (const id of ['verify', 'clear', 'progress']) section(id).hidden = true;
}

/* ----- verify, clear -------------------------------------------------------------------- */

async function verifyMigration() {
  const { source, filtered, receipt } = state;
  if (source === null || filtered === null || receipt === null) return;
  section('clear').hidden = true;
  const keys = receipt.keys
    .filter(({ class: name }) => ['stored', 'unchanged', 'kept', 'quarantined'].includes(name))
    .map(({ key }) => key);
  service.configure({ deviceId: source.deviceId });
  const comparisons = await verify(
    service,
    filtered.entries,
    keys,
    { kept: show.keptKeys(receipt), apart: show.keysOf(receipt, 'quarantined') },
    source.deviceId,
    (done, total) => tell(`Compared ${done} of ${total} keys.`),
  );
  state.kept = new Set(comparisons.filter(({ outcome }) => outcome === 'kept').map(({ key }) => key));
  section('verification').replaceChildren(...show.verification(comparisons));
  const failed = comparisons.some(
    ({ outcome }) => outcome === 'different' || outcome === 'missing',
  );
  const stays = state.kept.size > 0 ? 'Verified: the database keeps its values, as was chosen.' : '';
  const already = stays || (keys.length > 0 ? 'Already migrated, and verified.' : 'There was nothing to migrate.');
  const done = receipt.committed ? 'Migrated and verified.' : already;
  tell(failed ? 'Not everything came back as it was sent. Nothing will be cleared.' : done);
  state.clearable = clearable(comparisons, receipt, source.entries, filtered.entries);
  section('verify-heading').focus();
  if (!failed && source.kind === 'browser') offerToClear();
}

function offerToClear() {
  const now = readLocalStorage();
  for (const [key, raw] of state.clearable) {
    if (now.get(key) !== raw) state.clearable.delete(key);
  }
  const kept = [...state.clearable.keys()].filter((key) => state.kept.has(key));
  section('clearable').replaceChildren(
    element('p', {}, `${counted(state.clearable.size, 'key')} can be cleared:`),
    keyList(),
    kept.length === 0
      ? ''
      : element(
          'p',
          { class: 'note' },
          `Of ${kept.join(', ')} the database has other values than this browser, and keeps them. ` +
            "This browser's values are then only in your safety copy.",
        ),
  );
  section('clear').hidden = state.clearable.size === 0;
}

function keyList() {
  const keys = [...state.clearable.keys()].map((key) =>
    element('li', {}, state.kept.has(key) ? `${key} (the database keeps another value)` : key),
  );
  return element('ul', { class: 'keys' }, ...keys);
}

async function clearBrowser() {
  const { cleared, kept } = clear(state.clearable);
  state.clearable = new Map();
  section('clearable').replaceChildren();
  section('clear').hidden = true;
  tell(
    `Cleared ${counted(cleared.length, 'key')} from this browser.` +
      (kept.length > 0 ? ` Kept, because they changed meanwhile: ${kept.join(', ')}.` : ''),
  );
  section('verify-heading').focus();
}

/* ----- backups -------------------------------------------------------------------------- */

async function backupStatus() {
  const status = await service.getBackupStatus();
  section('backup-status').replaceChildren(...show.backups(status));
  tell('This is the state of the backups.');
}

async function createBackup() {
  const backup = await service.createBackup('made on the migration page');
  await backupStatus();
  tell(`Made a backup of revision ${backup.revision}.`);
}

/* ----- wiring --------------------------------------------------------------------------- */

/** @param {string} id @param {string} doing @param {() => Promise<void>} action */
function onClick(id, doing, action) {
  button(id).addEventListener('click', () => void run(doing, action));
}

onClick('analyze', 'Reading localStorage…', () => analyze(thisBrowser));
onClick('load-sample', 'Loading a sample event…', loadSample);
onClick('migrate-button', 'Migrating…', migrate);
onClick('verify-button', 'Reading everything back…', verifyMigration);
onClick('backup-status-button', 'Asking for the backups…', backupStatus);
onClick('create-backup', 'Making a backup…', createBackup);

byId('dump-file', HTMLInputElement).addEventListener('change', (event) => {
  const input = /** @type {HTMLInputElement} */ (event.target);
  const file = input.files?.[0];
  if (file !== undefined) void run(`Reading ${file.name}…`, () => analyze(() => dumpFile(file)));
});
for (const option of Object.values(options)) {
  option.addEventListener('change', async () => {
    await underway; // the plan that is shown must be the one that was asked for last
    await run('Planning again…', makePlan);
  });
}
button('safety-copy').addEventListener('click', () => {
  const source = thisBrowser();
  const copy = { ...asDump(source, source.entries), saved_at: new Date().toISOString() };
  download(`expresso-localstorage-${stamp()}.json`, copy);
  tell('The safety copy is in your downloads.');
});
button('clear-button').addEventListener('click', () => {
  section('confirm-keys').replaceChildren(...keyList().children);
  byId('confirm-clear', HTMLDialogElement).showModal();
});
byId('confirm-clear', HTMLDialogElement).addEventListener('close', (event) => {
  const dialog = /** @type {HTMLDialogElement} */ (event.target);
  if (dialog.returnValue === 'clear') void run('Clearing…', clearBrowser);
  dialog.returnValue = '';
});
byId('sign-in-form', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault();
  const token = byId('token', HTMLInputElement).value.trim();
  if (token) void signInAndGoOn(() => signIn(token));
  else tellProblem(new NotADump('Paste an access token first.'));
});
button('use-app-token').addEventListener('click', () => {
  const token = session.appToken();
  if (token !== null) void signInAndGoOn(() => signIn(token));
});
button('sign-out').addEventListener('click', () => {
  session.keepToken(null);
  service.configure({});
  askToSignIn('You are signed out.');
  tell('Signed out.');
});

window.addEventListener('hashchange', () => void onFreshLink());

connected = run('Connecting…', start);
