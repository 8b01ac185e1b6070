import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Feed } from '../../src/expresso_persist/web/client/feed.js';
import { Signal } from '../../src/expresso_persist/web/client/signal.js';
import { EventParser } from '../../src/expresso_persist/web/client/sse.js';
import { SETTINGS, Server, lost, newLink, until } from './parts.mjs';

/** A feed whose copy is only a cursor, and who counts what it is asked for. */
function feedOf(server, { acknowledged = {} } = {}) {
  const seen = { commits: [], heals: 0, fetches: 0 };
  const over = new AbortController();
  const wake = new Signal();
  const link = newLink();
  const known = { from: (cursor) => cursor, begin() {}, passed: () => true, ahead: -1, ...acknowledged };
  const replica = {
    copy: { cursor: server.cursor() },
    require: async () => {},
    fetch: async () => {
      seen.fetches += 1;
      replica.copy = { cursor: server.cursor() };
    },
    want() {},
    keepSoon() {},
    absorb: (commits) => seen.commits.push(...commits.map(({ revision }) => revision)),
  };
  const recovery = {
    acknowledged: known,
    heal: async () => {
      seen.heals += 1;
      await new Promise((resolve) => setTimeout(resolve)); // as a request takes a moment
    },
    countAside: async () => {},
  };
  const feed = new Feed({
    ...{ settings: SETTINGS, transport: server, link, wake, replica, recovery },
    sending: () => null,
    arrived: async () => {},
  });
  const following = feed.follow(over.signal);
  const end = async () => {
    over.abort();
    await following;
  };
  return { seen, link, feed, wake, known, end };
}

const event = (server, commit) =>
  `event: commit\nid: ${server.cursor(commit.revision)}\ndata: ${JSON.stringify(commit)}\n\n`;

test('a stream brings commits; one that is cut goes on where it ended', async () => {
  const server = new Server();
  server.streams = [];
  const { seen, link, feed, wake, end } = feedOf(server);
  await until(() => server.streams.length === 1);
  server.commit('name', 'a');
  await server.streams[0](`: hello\n\n${event(server, server.commits[0])}`);
  await until(() => seen.commits.length === 1);
  assert.equal(link.state.feed, 'stream');
  assert.equal(link.state.caughtUp, true);
  feed.cut();
  server.commit('name', 'b');
  await until(() => (wake.notify(), server.streams.length === 2));
  assert.deepEqual(seen.commits, [1, 2], 'read from the cursor');
  assert.match(server.requests.at(-1), /stream\?since=store\.2\./);
  await end();
});

test('without a stream the server is asked to wait, and then asked now and then', async () => {
  const server = new Server();
  const { seen, link, end } = feedOf(server);
  await until(() => link.state.feed === 'poll'); // this server does not wait
  assert.ok(server.requests.some((path) => path.includes('wait=')));
  server.commit('name', 'a');
  await until(() => seen.commits.length === 1);
  await end();
});

test('a server that lost what it took is healed before the copy is read again', async () => {
  const server = new Server();
  const { seen, link, known, end } = feedOf(server);
  await until(() => link.state.feed === 'poll');
  assert.equal(seen.heals, 0);
  known.ahead = 5; // taken, and the feed ends before it
  await until(() => seen.heals > 0);
  known.ahead = -1;
  await until(() => link.state.caughtUp);
  assert.ok(seen.fetches > 0);
  await end();
});

test('another timeline is one too', async () => {
  const server = new Server();
  const { seen, link, end } = feedOf(server);
  await until(() => link.state.feed === 'poll');
  server.epoch = 'another';
  await until(() => seen.heals === 1 && seen.fetches === 1);
  await end();
});

test('while the server is away the status says so, until it is back', async () => {
  const server = new Server();
  server.before = () => {
    throw lost();
  };
  const { link, end } = feedOf(server);
  await until(() => link.state.online === false);
  assert.equal(link.state.caughtUp, false);
  server.before = () => {};
  await until(() => link.state.online && link.state.caughtUp);
  await end();
});

test('events are read whatever pieces they come in', () => {
  const parser = new EventParser();
  const text = 'retry: 500\r\nevent: commit\nid: a.1.b\ndata: {"revision":\ndata: 1}\n\n: alive\n\n';
  const events = [...text].flatMap((letter) => parser.push(letter));
  assert.deepEqual(events, [{ event: 'commit', id: 'a.1.b', data: { revision: 1 } }]);
  assert.equal(parser.retry, 500);
  assert.throws(() => parser.push('data: {\n\n'), { code: 'network' });
});
