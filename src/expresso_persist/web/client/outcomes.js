/** What became of the writes that a caller waits for. */

/** Promises by the id of a write. */
export class Outcomes {
  /** @type {Map<string, {resolve: (answer: any) => void, reject: (error: any) => void, promise: Promise<any>}>} */
  #open = new Map();

  /** @param {string} id @returns {Promise<any>} settled when the server has taken or refused it */
  of(id) {
    const known = this.#open.get(id);
    if (known !== undefined) return known.promise;
    /** @type {any} */
    const outcome = {};
    outcome.promise = new Promise((resolve, reject) => Object.assign(outcome, { resolve, reject }));
    outcome.promise.catch(() => {}); // perhaps no caller waits for it any more
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
}
