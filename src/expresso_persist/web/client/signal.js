/** A wake-up call for loops that wait. */

/** Something to wait for, with a time limit. */
export class Signal {
  /** @type {Set<() => void>} */ #waiting = new Set();

  notify() {
    for (const wake of [...this.#waiting]) wake();
  }

  /** @param {number} milliseconds @param {AbortSignal} signal @returns {Promise<void>} */
  wait(milliseconds, signal) {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      const timer = setTimeout(wake, milliseconds);
      this.#waiting.add(wake);
      signal.addEventListener('abort', wake);
      if (signal.aborted) wake();
    });
  }
}
