/** The wire format of server-sent events. */

import { ExpressoPersistError } from './errors.js';

/** Takes a stream of server-sent events apart. */
export class EventParser {
  #rest = '';
  /** @type {{event: string, id: string | null, data: string[]}} */
  #next = { event: 'message', id: null, data: [] };
  /** Milliseconds after which the server wants to be asked again. */
  retry = 2000;

  /** @param {string} text @returns {{event: string, id: string | null, data: any}[]} */
  push(text) {
    const events = [];
    const lines = (this.#rest + text).split(/\r?\n/);
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      const colon = line.indexOf(':');
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
      if (line === '') {
        const { event, id, data } = this.#next;
        if (data.length > 0) events.push({ event, id, data: parsed(data.join('\n')) });
        this.#next = { event: 'message', id: null, data: [] };
      } else if (field === 'event') this.#next.event = value;
      else if (field === 'id') this.#next.id = value;
      else if (field === 'data') this.#next.data.push(value);
      else if (field === 'retry' && /^\d+$/.test(value)) this.retry = Number(value);
    }
    return events;
  }
}

/** @param {string} text @returns {any} */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ExpressoPersistError('The feed of the server arrived damaged.', {
      code: 'network',
      cause,
    });
  }
}
