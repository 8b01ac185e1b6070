/** Small helpers for the page. Text always becomes a text node, never markup. */

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {{[attribute: string]: string | boolean | null | undefined}} [attributes] `false`, null and undefined leave one out
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, '');
    else if (typeof value === 'string') made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T} an element that the page is known to have
 */
export function byId(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`The page has no ${type.name} #${id}.`);
  return found;
}

/**
 * A table that turns into cards on a phone, and stays a table for a screen reader there.
 * @param {string} caption
 * @param {string[]} columns the first one is the row's heading
 * @param {(Node | string)[][]} rows
 * @returns {HTMLTableElement}
 */
export function table(caption, columns, rows) {
  const head = element(
    'tr',
    { role: 'row' },
    ...columns.map((column) => element('th', { scope: 'col', role: 'columnheader' }, column)),
  );
  const body = rows.map((cells) =>
    element(
      'tr',
      { role: 'row' },
      ...cells.map((cell, index) =>
        index === 0
          ? element('th', { scope: 'row', role: 'rowheader' }, cell)
          : element('td', { role: 'cell', 'data-label': columns[index] }, cell),
      ),
    ),
  );
  return element(
    'table',
    { role: 'table' },
    element('caption', {}, caption),
    element('thead', { role: 'rowgroup' }, head),
    element('tbody', { role: 'rowgroup' }, ...body),
  );
}

/**
 * @param {[string, Node | string][]} facts
 * @returns {HTMLDListElement}
 */
export function definitions(facts) {
  return element(
    'dl',
    {},
    ...facts.map(([term, fact]) =>
      element('div', {}, element('dt', {}, term), element('dd', {}, fact)),
    ),
  );
}

/** @param {number} count @param {string} one @param {string} [many] */
export function counted(count, one, many = `${one}s`) {
  return `${count.toLocaleString('en')} ${count === 1 ? one : many}`;
}

/** @param {number} bytes */
export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 * 1024) return `${(bytes / 1024).toFixed(1)} KiB`;
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}

/** @param {string} name @param {unknown} content saved as JSON on this device */
export function download(name, content) {
  const file = new Blob([JSON.stringify(content, null, 2) + '\n'], { type: 'application/json' });
  const link = element('a', { href: URL.createObjectURL(file), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** @returns {string} such as 2024-11-23T09-30-00, for file names */
export function stamp() {
  return new Date().toISOString().slice(0, 19).replaceAll(':', '-');
}
