/** Who is signed in: the token of this tab, kept for as long as the tab is open. */

const TOKEN_KEY = 'expresso_persist_token';
const APP_TOKEN_KEY = 'coffee_system_token';

/** @type {string | null} used where the browser forbids sessionStorage */
let inMemory = null;

/** @returns {string | null} */
export function token() {
  try {
    return sessionStorage.getItem(TOKEN_KEY) ?? inMemory;
  } catch {
    return inMemory;
  }
}

/** @param {string | null} value null signs out */
export function keepToken(value) {
  inMemory = value;
  try {
    if (value === null) sessionStorage.removeItem(TOKEN_KEY);
    else sessionStorage.setItem(TOKEN_KEY, value);
  } catch {
    // Private mode without storage: signed in until the page is reloaded.
  }
}

/** @returns {string | null} the token of the Expresso app in this browser */
export function appToken() {
  try {
    return localStorage.getItem(APP_TOKEN_KEY);
  } catch {
    return null;
  }
}

/** @returns {boolean} whether the address holds a token of a link that was just opened */
export function hasOneTimeToken() {
  return new URLSearchParams(location.hash.slice(1)).has('token');
}

/**
 * Take the one-time token out of the address, so that it is neither bookmarked nor shared.
 * @returns {string | null}
 */
export function takeOneTimeToken() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  const oneTimeToken = parameters.get('token');
  if (oneTimeToken === null) return null;
  history.replaceState(null, '', location.pathname + location.search);
  return oneTimeToken;
}
