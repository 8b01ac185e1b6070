/** Follows what the server commits. */

import { partsOf, revisionOf } from './cursor.js';
import { ExpressoPersistError } from './errors.js';
import { NO_STREAM, pauseAfter, streamPause } from './failures.js';
import { CHANGES, STREAM } from './paths.js';
import { EventParser } from './sse.js';
import { sleep } from './values.js';
/** @import { Link } from './link.js' */
/** @import { Recovery } from './recovery.js' */
/** @import { Replica } from './replica.js' */
/** @import { Signal } from './signal.js' */
/** @import { Commit, LiveSettings, Transport } from './types.js' */

const STREAM_SILENCE = 45_000; // three signs of life
const STREAM_STALE = 20_000;
const FIRST_BYTE = 10_000;
const BRIEF = 3000;

const LONG_POLL = 25; // seconds
const HOLD = 1000;

/**
 * What a feed asks of its surroundings.
 *
 * @typedef {object} FeedContext
 * @property {LiveSettings} settings
 * @property {Transport} transport
 * @property {Link} link
 * @property {Signal} wake Notified when a pause is to be cut short.
 * @property {Replica} replica
 * @property {Recovery} recovery
 * @property {() => Promise<void> | null} sending The write that is underway.
 * @property {(commits: Commit[], cursor: string) => Promise<void>} arrived The copy has them.
 */

/** In the tab that leads: by a stream, else by long polls, else by polls. */
export class Feed {
  /** @type {FeedContext} */ #context;
  /** @type {AbortController | null} */ #streaming = null;
  #lastChunk = 0;
  #streamAt = 0;
  #waitAt = 0;
  /** Streams in a row that ended at once. */
  #brief = 0;

  /** @param {FeedContext} context */
  constructor(context) {
    this.#context = context;
  }

  /** End the stream that is open; another one is begun where it ended. */
  cut() {
    this.#streaming?.abort();
  }

  /** After a sleep the timers have slept too, and the connection is rarely alive. */
  cutIfStale() {
    if (Math.abs(Date.now() - this.#lastChunk) > STREAM_STALE) this.cut();
  }

  /** @param {AbortSignal} lost */
  async follow(lost) {
    const { link, replica, settings, wake } = this.#context;
    this.#streamAt = 0;
    this.#waitAt = 0;
    this.#brief = 0;
    let failures = 0;
    let cursor = '';
    while (!lost.aborted) {
      try {
        await replica.require();
        cursor = cursor || (await this.#followFrom(this.#copied()));
        cursor = await this.#page(cursor, 0, lost);
        failures = 0;
        if (lost.aborted) return;
        cursor = await this.#wait(cursor, lost);
      } catch (error) {
        if (lost.aborted) return;
        link.update({ caughtUp: false });
        link.failed(error);
        await wake.wait(pauseAfter(failures, settings, error), lost);
        failures += 1;
      }
    }
  }

  #copied() {
    return this.#context.replica.copy?.cursor ?? '';
  }

  /** @param {string} copied the cursor of the copy @returns {Promise<string>} where to follow from */
  async #followFrom(copied) {
    const { recovery, replica } = this.#context;
    const from = recovery.acknowledged.from(copied);
    if (from === null) {
      await recovery.heal();
      recovery.acknowledged.begin(copied);
      return copied;
    }
    // The tab that led before may have come further than the copy.
    replica.want(revisionOf(from));
    await recovery.countAside(partsOf(from).epoch);
    return from;
  }

  /** Wait for something new, in the best way that works. @param {string} cursor @param {AbortSignal} lost */
  async #wait(cursor, lost) {
    const { link, settings, wake } = this.#context;
    if (Date.now() >= this.#streamAt) return this.#tryStream(cursor, lost);
    if (Date.now() >= this.#waitAt) {
      const began = Date.now();
      link.update({ feed: 'long-poll', online: true, caughtUp: true });
      const after = await this.#page(cursor, LONG_POLL, lost);
      if (after === cursor && Date.now() - began < 1000) this.#waitAt = Date.now() + NO_STREAM;
      return after;
    }
    link.update({ feed: 'poll', online: true, caughtUp: true });
    await wake.wait(settings.pollInterval * (0.75 + Math.random() / 2), lost);
    return cursor;
  }

  /** @param {string} cursor @param {AbortSignal} lost */
  async #tryStream(cursor, lost) {
    const began = Date.now();
    try {
      cursor = await this.#stream(cursor, lost);
      this.#brief = Date.now() - began < BRIEF ? this.#brief + 1 : 0;
      if (this.#brief >= 3) this.#streamAt = Date.now() + 60_000;
      // Many that were cut at once do not come back at once.
      const pause = Math.min(3000, 200 * 2 ** this.#brief) * (0.5 + Math.random());
      await this.#context.wake.wait(pause, lost);
    } catch (error) {
      const pause = streamPause(error);
      if (pause === null) throw error;
      this.#streamAt = Date.now() + pause * (0.75 + Math.random() / 2);
    }
    return cursor;
  }

  /**
   * Read what came after a cursor, to the end.
   * @param {string} cursor
   * @param {number} wait seconds that the server may wait for something
   * @param {AbortSignal} lost
   */
  async #page(cursor, wait, lost) {
    const { link, recovery, transport } = this.#context;
    for (let more = true; more && !lost.aborted; wait = 0) {
      const since = encodeURIComponent(cursor);
      const path = `${CHANGES}?since=${since}&limit=500${wait > 0 ? `&wait=${wait}` : ''}`;
      const timeout = wait > 0 ? (wait + 15) * 1000 : undefined;
      const { ahead } = recovery.acknowledged; // what is taken while this is read may not be in it
      const { data } = await transport.read(path, null, lost, timeout);
      if (lost.aborted) return cursor;
      link.reached();
      // It ends before what the server took: that is lost, and nothing has taken its place yet.
      if (data.reset === true || (data.has_more !== true && ahead > revisionOf(data.cursor))) {
        cursor = await this.#reset();
        continue;
      }
      await this.#take(data.commits, data.cursor);
      cursor = data.cursor;
      more = data.has_more === true;
    }
    return cursor;
  }

  /** @returns {Promise<string>} where to go on */
  async #reset() {
    const { link, recovery, replica } = this.#context;
    link.update({ caughtUp: false });
    await recovery.heal();
    await replica.fetch(true);
    const cursor = this.#copied();
    recovery.acknowledged.begin(cursor);
    return cursor;
  }

  /** @param {Commit[]} commits @param {string} cursor */
  async #take(commits, cursor) {
    if (commits.length === 0) return;
    const { arrived, recovery, replica, sending } = this.#context;
    // The commit of a write may come before the answer to it. Its guess is to go first.
    const underway = sending();
    if (underway !== null) await Promise.race([underway, sleep(HOLD)]);
    if (!recovery.acknowledged.passed(commits, cursor)) {
      await recovery.heal();
      recovery.acknowledged.passed(commits, cursor);
    }
    replica.keepSoon();
    replica.absorb(commits, cursor);
    await arrived(commits, cursor);
  }

  /** @param {string} since @param {AbortSignal} lost @returns {Promise<string>} where it ended */
  async #stream(since, lost) {
    const { link, transport } = this.#context;
    const place = { cursor: since };
    const streaming = new AbortController();
    const end = () => streaming.abort();
    lost.addEventListener('abort', end);
    this.#streaming = streaming;
    this.#lastChunk = Date.now();
    let begun = false;
    let held = false;
    let timer = setTimeout(() => {
      held = true;
      end();
    }, FIRST_BYTE);
    try {
      const path = `${STREAM}?since=${encodeURIComponent(since)}`;
      const response = await transport.stream(path, streaming.signal);
      const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
      const parser = new EventParser();
      for (let open = true; open; ) {
        const { done, value } = (await reader?.read()) ?? { done: true, value: undefined };
        if (done || lost.aborted) break;
        clearTimeout(timer);
        timer = setTimeout(end, STREAM_SILENCE);
        this.#lastChunk = Date.now();
        link.reached();
        if (!begun) link.update({ feed: 'stream', caughtUp: true });
        begun = true;
        open = await this.#events(parser.push(value), place);
      }
      return place.cursor;
    } catch (error) {
      if (error instanceof ExpressoPersistError) throw error;
      if (!held) return place.cursor; // cut; what was missed is read from the cursor
      throw new ExpressoPersistError('Something on the way holds the stream back.', {
        code: 'no_stream',
        cause: error,
      });
    } finally {
      clearTimeout(timer);
      lost.removeEventListener('abort', end);
      this.#streaming = null;
      streaming.abort();
    }
  }

  /**
   * @param {{event: string, id: string | null, data: any}[]} events
   * @param {{cursor: string}} place moved to where they end
   * @returns {Promise<boolean>} whether the stream goes on
   */
  async #events(events, place) {
    /** @type {Commit[]} */
    let commits = [];
    for (const { event, id, data } of events) {
      if (event === 'commit') {
        commits.push(data);
        place.cursor = id ?? place.cursor;
      } else if (event === 'reset') {
        commits = [];
        place.cursor = await this.#reset();
        this.#context.link.update({ caughtUp: true });
      } else if (event === 'end') {
        await this.#take(commits, place.cursor);
        return false;
      }
    }
    await this.#take(commits, place.cursor);
    return true;
  }
}
