import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Replica } from '../../src/expresso_persist/web/client/replica.js';
import { Signal } from '../../src/expresso_persist/web/client/signal.js';
import { SETTING, SETTINGS, Server, lost, newLink, newScope, storage, until } from './parts.mjs';

async function replicaOf(server, { scope = newScope(), waiting = [] } = {}) {
  const changes = [];
  const stop = new AbortController();
  const wake = new Signal();
  const replica = new Replica({
    ...{ scope, settings: SETTINGS, transport: server, link: newLink(), wake, stop: stop.signal },
    ...{ leading: () => true, waiting: () => waiting, post() {}, moved() {}, save: async () => {} },
    changed: (reason) => {
      replica.forgetView();
      if (reason !== null) changes.push(reason);
    },
  });
  await replica.open(await storage());
  return { replica, changes, wake, close: () => (stop.abort(), replica.close()) };
}

const settingsOf = async (replica) => (await replica.data()).settings;

test('the first read is made once for all who wait for it', async () => {
  const server = new Server();
  server.commit('name', 'a');
  const { replica, close } = await replicaOf(server);
  replica.connect(Promise.resolve());
  await Promise.resolve();
  await Promise.all([replica.require(), replica.data()]);
  assert.deepEqual(await settingsOf(replica), { name: 'a' });
  assert.equal(server.requests.length, 1);
  close();
});

test('commits that follow are applied; nothing is read again', async () => {
  const server = new Server();
  server.commit('name', 'before');
  const { replica, changes, close } = await replicaOf(server);
  await replica.fetch();
  server.commit('name', 'a');
  server.commit('name', 'b');
  replica.absorb(server.commits, server.cursor());
  assert.deepEqual(await settingsOf(replica), { name: 'b' });
  assert.equal(replica.copy.cursor, server.cursor());
  assert.deepEqual(changes, ['feed', 'feed']);
  assert.equal(server.requests.length, 1);
  close();
});

test('after a gap everything is read again', async () => {
  const server = new Server();
  const { replica, wake, close } = await replicaOf(server);
  await replica.fetch();
  server.commit('name', 'a');
  server.commit('name', 'b');
  replica.absorb(server.commits.slice(1), server.cursor());
  assert.equal(replica.behind, true);
  wake.notify();
  await until(() => !replica.behind);
  assert.deepEqual(await settingsOf(replica), { name: 'b' });
  close();
});

test('a reader sees what is not sent yet, and the copy does not', async () => {
  const waiting = [];
  const { replica, close } = await replicaOf(new Server(), { waiting });
  await replica.fetch();
  waiting.push({ path: SETTING, body: '{"key":"name","value":"mine"}' }, { path: SETTING, body: 'broken' });
  replica.forgetView();
  assert.deepEqual(replica.view().settings, { name: 'mine' });
  assert.deepEqual(replica.copy.data.settings, {});
  close();
});

test('an answer with less than is known is another database', async () => {
  const server = new Server();
  server.commit('name', 'a');
  const { replica, changes, close } = await replicaOf(server);
  await replica.fetch();
  Object.assign(server, { commits: [], epoch: 'another' });
  await replica.fetch();
  assert.deepEqual(await settingsOf(replica), {});
  assert.deepEqual(changes, ['feed', 'reset']);
  close();
});

test('without a server the copy of an earlier page is read, or the failure is thrown', async () => {
  const scope = newScope();
  const server = new Server();
  server.commit('name', 'a');
  const earlier = await replicaOf(server, { scope });
  await earlier.replica.fetch();
  const kept = await storage();
  await until(async () => (await kept.copy(scope)) !== null);
  earlier.close();
  server.before = () => {
    throw lost();
  };
  const { replica, close } = await replicaOf(server, { scope });
  replica.connect(Promise.resolve());
  assert.deepEqual(await settingsOf(replica), { name: 'a' });
  const other = await replicaOf(server);
  other.replica.connect(Promise.resolve());
  await assert.rejects(other.replica.data(), { code: 'network' });
  close();
  other.close();
});
