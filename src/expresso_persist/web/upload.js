/**
 * A `fetch` that reports how much of the body has been sent, which the browser's cannot.
 *
 * @param {(sent: number, total: number) => void} onProgress
 * @returns {import('./DatabaseInventoryService.js').Fetch}
 */
export function fetchWithProgress(onProgress) {
  return (url, init) =>
    new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open(init.method ?? 'GET', url);
      for (const [name, value] of new Headers(init.headers)) request.setRequestHeader(name, value);
      request.upload.addEventListener('progress', (event) => onProgress(event.loaded, event.total));
      request.addEventListener('load', () => {
        const hasNoBody = [101, 204, 205, 304].includes(request.status);
        resolve(
          new Response(hasNoBody ? null : request.responseText, {
            status: request.status,
            headers: headersOf(request.getAllResponseHeaders()),
          }),
        );
      });
      for (const failure of ['error', 'abort', 'timeout']) {
        request.addEventListener(failure, () => reject(new TypeError(`The request met ${failure}.`)));
      }
      init.signal?.addEventListener('abort', () => request.abort());
      request.send(typeof init.body === 'string' ? init.body : null);
    });
}

/** @param {string} lines @returns {Headers} */
function headersOf(lines) {
  const headers = new Headers();
  for (const line of lines.trim().split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) headers.append(line.slice(0, colon), line.slice(colon + 1).trim());
  }
  return headers;
}
