import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Live } from '../../src/expresso_persist/web/client/live.js';
import { SETTING, SETTINGS, Server, lost, newScope, refused, until } from './parts.mjs';

const body = (value) => JSON.stringify({ key: 'name', value });
const named = async (live) => (await live.data()).settings.name;

test('two tabs show one another what they write, and one of them sends it, in order', async () => {
  const scope = newScope();
  const server = new Server();
  const [here, there] = [new Live(scope, server, SETTINGS), new Live(scope, server, SETTINGS)];
  await Promise.all([here.start(), there.start()]);
  void here.write(SETTING, body('a'), {});
  await until(async () => (await named(there)) === 'a');
  void there.write(SETTING, body('b'), {});
  await until(() => server.settings.name === 'b');
  await until(() => here.status().pending + there.status().pending === 0);
  assert.deepEqual([await named(here), await named(there)], ['b', 'b']);
  assert.equal(server.revision, 2);
  await Promise.all([here.stop(false), there.stop(false)]);
});

test('what the way to the server lost is sent again under the same key', async () => {
  const server = new Server();
  const live = new Live(newScope(), server, SETTINGS);
  const keys = [];
  server.before = (path, entry) => {
    if (path !== SETTING) return;
    keys.push(entry.key);
    if (keys.length < 3) throw lost();
  };
  void live.write(SETTING, body('a'), { idempotencyKey: 'k' });
  void live.write(SETTING, body('b'), { idempotencyKey: 'l' });
  await until(() => live.status().pending === 0);
  assert.deepEqual(keys, ['k', 'k', 'k', 'l']);
  assert.equal(await named(live), 'b');
  await live.stop(false);
});

test('a refused write throws, its effect is gone from the reads, and the next one is sent', async () => {
  const server = new Server();
  const live = new Live(newScope(), server, SETTINGS);
  server.before = (path, entry) => {
    if (path === SETTING && entry.body === body('bad')) throw refused();
  };
  const reasons = [];
  live.onChange(({ reason }) => reasons.push(reason));
  await assert.rejects(live.write(SETTING, body('bad'), {}), { code: 'conflict' });
  assert.equal(await named(live), undefined);
  assert.equal((await live.write(SETTING, body('good'), {})).revision, 1);
  assert.deepEqual([live.status().parked, live.parked().length], [1, 1]);
  assert.deepEqual(reasons.filter((reason) => reason !== 'feed').slice(0, 2), ['write', 'refused']);
  await live.stop(false);
});

test('what the server took and lost is offered to it again', async () => {
  const server = new Server();
  server.commit('name', 'a');
  const live = new Live(newScope(), server, SETTINGS);
  await live.write(SETTING, body('b'), {});
  await until(() => live.status().caughtUp);
  server.commits.pop(); // a replica that was behind
  await until(() => server.settings.name === 'b');
  await until(() => live.status().caughtUp);
  assert.equal(await named(live), 'b');
  await live.stop(false);
});

test('a token that the server refuses keeps everything, until there is another one', async () => {
  const server = new Server();
  server.before = () => {
    throw refused('unauthorized', 401);
  };
  const live = new Live(newScope(), server, SETTINGS);
  assert.equal((await live.write(SETTING, body('a'), {})).pending, true);
  await until(() => live.status().signInNeeded);
  server.before = () => {};
  live.signedIn();
  await until(() => server.settings.name === 'a');
  assert.equal(live.status().signInNeeded, false);
  await live.stop(false);
});
