/** Messages between the open tabs of one server and one person. */

/** A channel to the other tabs, where the browser has one. */
export class Tabs {
  #me;
  #scope;
  #stop;
  /** @type {BroadcastChannel | null} */ #channel = null;

  /** @param {string} scope @param {string} me name of this tab @param {AbortSignal} stop */
  constructor(scope, me, stop) {
    this.#scope = scope;
    this.#me = me;
    this.#stop = stop;
  }

  /** @returns {boolean} whether no other tab can be heard */
  get alone() {
    return this.#channel === null;
  }

  /** @param {(message: any) => void} receive */
  open(receive) {
    if (typeof BroadcastChannel !== 'function') return;
    this.#channel = new BroadcastChannel(`expresso-persist ${this.#scope}`);
    this.#channel.onmessage = ({ data }) => {
      if (!this.#stop.aborted) receive(data);
    };
  }

  /** @param {{type: string, [part: string]: any}} message */
  post(message) {
    if (!this.#stop.aborted) this.#channel?.postMessage({ from: this.#me, ...message });
  }

  close() {
    this.#channel?.close();
  }
}
