/** The parts of the live client, each given the others that it talks to. */

import { Feed } from './feed.js';
import { Leader } from './leader.js';
import { Link } from './link.js';
import { Outbox } from './outbox.js';
import { Recovery } from './recovery.js';
import { Replica } from './replica.js';
import { Sender } from './sender.js';
import { Signal } from './signal.js';
import { Tabs } from './tabs.js';
import { randomKey } from './values.js';
/** @import { Change, Commit, LiveSettings, Transport } from './types.js' */

/**
 * @typedef {object} PartsContext
 * @property {string} scope Server and user.
 * @property {LiveSettings} settings
 * @property {Transport} transport
 * @property {AbortSignal} stop
 * @property {() => Promise<void>} started The storage is open.
 * @property {(reason: Change['reason'] | null, changes: Commit['changes'] | null) => void} changed
 *   With null as the reason, nothing but the status.
 * @property {() => void} linkChanged
 * @property {(lost: AbortSignal) => Promise<void>} lead What the tab that leads does.
 */

export class Parts {
  /** @type {Tabs} */ tabs;
  /** @type {Link} */ link;
  /** @type {Outbox} */ outbox;
  /** @type {Replica} */ replica;
  /** @type {Recovery} */ recovery;
  /** @type {Sender} */ sender;
  /** @type {Feed} */ feed;
  /** @type {Leader} */ leader;
  /** Notified when a pause of what reads is to be cut short. */
  wake = new Signal();

  /** @param {PartsContext} context */
  constructor(context) {
    const { changed, lead, linkChanged, scope, settings, started, stop, transport } = context;
    const { wake } = this;
    const me = randomKey();
    const tabs = new Tabs(scope, me, stop);
    const post = tabs.post.bind(tabs);
    const link = this.#makeLink(linkChanged);
    const shared = { scope, settings, transport, link, stop, post };
    this.tabs = tabs;
    this.link = link;
    this.outbox = new Outbox({
      ...{ scope, post, started, patience: settings.patience },
      copy: () => this.replica.copy,
      offline: () => link.offline,
      changed: (reason) => changed(reason, null),
      acked: () => {
        changed(null, null);
        this.replica.keepSoon();
        wake.notify(); // where the feed is polled
      },
    });
    this.replica = new Replica({
      ...{ ...shared, wake, changed },
      leading: () => this.leader.leading,
      waiting: () => this.outbox.entries.waiting(this.replica.copy),
      moved: () => this.outbox.forgetDone(),
      save: () => this.recovery.acknowledged.save(),
    });
    const { outbox, replica } = this;
    const recovery = new Recovery({
      ...shared,
      offer: (entries) => outbox.offer(entries),
      keepSoon: () => replica.keepSoon(),
    });
    this.recovery = recovery;
    this.sender = new Sender({
      ...{ ...shared, outbox, recovery },
      holds: () => this.leader.holds(),
      resign: () => this.leader.resign(),
    });
    this.feed = this.#makeFeed({ ...shared, wake, replica, recovery });
    const signInNeeded = () => link.state.signInNeeded;
    this.leader = new Leader({ scope, me, tabs, stop, signInNeeded, work: lead });
  }

  /** @param {() => void} changed */
  #makeLink(changed) {
    return new Link({
      changed: ({ online }) => {
        if (online === false) this.outbox.resolvePending();
        changed();
      },
      back: () => this.outbox.ready.notify(),
      refused: () => {
        this.outbox.resolvePending();
        this.leader.resign();
      },
    });
  }

  /** @param {Omit<ConstructorParameters<typeof Feed>[0], 'sending' | 'arrived'>} shared */
  #makeFeed(shared) {
    return new Feed({
      ...shared,
      sending: () => this.sender.sending,
      arrived: async (commits, cursor) => {
        if (this.leader.leading) this.tabs.post({ type: 'commits', commits, cursor });
        await this.outbox.offerAgain(commits);
      },
    });
  }
}
