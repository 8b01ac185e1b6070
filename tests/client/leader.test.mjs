import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { Leader } from '../../src/expresso_persist/web/client/leader.js';
import { LEASE } from '../../src/expresso_persist/web/client/storage.js';
import { Tabs } from '../../src/expresso_persist/web/client/tabs.js';
import { newScope, storage, until } from './parts.mjs';

/** A tab that counts its turns, and in a turn waits for the end of it. */
async function tabOf(scope, me, { signInNeeded = false } = {}) {
  const stop = new AbortController();
  const tabs = new Tabs(scope, me, stop.signal);
  tabs.open(() => {});
  const tab = { turns: 0, close: async () => {} };
  const work = async (lost) => {
    tab.turns += 1;
    if (!lost.aborted) await new Promise((resolve) => lost.addEventListener('abort', resolve));
  };
  const context = { scope, me, tabs, stop: stop.signal, work, signInNeeded: () => signInNeeded };
  const leader = new Leader(context);
  leader.open(await storage());
  const running = leader.run();
  tab.close = async () => {
    stop.abort();
    tabs.close();
    await running;
  };
  return Object.assign(tab, { leader });
}

test('one tab leads; when it is gone and its lease is over, the next one does', async () => {
  const scope = newScope();
  const first = await tabOf(scope, 'first');
  await until(() => first.leader.leading);
  assert.equal(await first.leader.holds(), true);
  const second = await tabOf(scope, 'second');
  await first.close();
  assert.equal(first.leader.leading, false);
  assert.equal(second.turns, 0);
  const now = Date.now();
  mock.method(Date, 'now', () => now + LEASE + 1);
  await until(() => second.leader.leading);
  mock.restoreAll();
  await second.close();
});

test('who resigns comes back at once, or later where a token is missing', async () => {
  const here = await tabOf(newScope(), 'here');
  await until(() => here.turns === 1);
  here.leader.resign();
  await until(() => here.turns === 2);
  await here.close();
  const signedOut = await tabOf(newScope(), 'out', { signInNeeded: true });
  await until(() => signedOut.turns === 1);
  signedOut.leader.resign();
  await until(() => !signedOut.leader.leading);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(signedOut.turns, 1);
  signedOut.leader.hurry();
  await until(() => signedOut.turns === 2);
  await signedOut.close();
});

test('a sign of life says whether another tab leads than before', async () => {
  const tab = await tabOf(newScope(), 'here');
  assert.equal(tab.leader.sawAlive('there'), true);
  assert.equal(tab.leader.sawAlive('there'), false);
  await tab.close();
});
