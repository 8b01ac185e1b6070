/** How the service works: what an application may set, and what holds where it does not. */

/** @import { Options, ServiceOptions } from './types.js' */

const STATIC_PATH = '/static/expresso-persist/';
const MAY_BE_NULL = ['token', 'getToken', 'deviceId'];

/** @returns {Options} */
export const defaultOptions = () => ({
  baseUrl: baseUrlOf(import.meta.url ?? ''), // bundles that are no modules have none
  token: null,
  getToken: null,
  fetch: (url, init) => globalThis.fetch(url, init),
  deviceId: null,
  retries: 3,
  retryDelay: 400,
  maxRetryDelay: 10_000,
  timeout: 30_000,
  patience: 4000,
  pollInterval: 3000,
  warnOnClose: true,
  keepDays: 7,
  keepWrites: 5000,
  keepBytes: 8 * 1024 * 1024,
  live: true,
  user: '',
  onUnauthorized: null,
});

/** @param {string} moduleUrl @returns {string} what stands before `/api`, '' for the page's own origin */
function baseUrlOf(moduleUrl) {
  const end = moduleUrl.lastIndexOf(STATIC_PATH);
  return /^https?:/.test(moduleUrl) && end >= 0 ? moduleUrl.slice(0, end) : '';
}

/** Change what is given; what is left out stays. @param {Options} options @param {ServiceOptions} given */
export function setOptions(options, given) {
  const changes = Object.entries(given).filter(
    ([name, value]) => name in options && (value != null || (value === null && MAY_BE_NULL.includes(name))),
  );
  Object.assign(options, Object.fromEntries(changes));
  while (options.baseUrl.endsWith('/')) options.baseUrl = options.baseUrl.slice(0, -1);
}
