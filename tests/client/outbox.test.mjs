import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Outbox } from '../../src/expresso_persist/web/client/outbox.js';
import { MemoryStorage } from '../../src/expresso_persist/web/client/storage.js';
import { SETTING, newScope, refused, storage, until } from './parts.mjs';

/** @param {object} [facts] */
async function outboxOf({ scope = newScope(), offline = false, store } = {}) {
  const posted = [];
  const outbox = new Outbox({
    ...{ scope, patience: 50, copy: () => null, offline: () => offline, changed() {}, acked() {} },
    started: async () => {},
    post: (message) => posted.push(message),
  });
  await outbox.open(store ?? (await storage()));
  return { outbox, posted, scope };
}

const body = (value) => JSON.stringify({ key: 'name', value });
const take = (outbox, revision) =>
  outbox.acknowledge(
    outbox.entries.next().id,
    { state: 'acked', revision, cursor: `store.${revision}.0` },
    { revision, message: '', data: null },
  );

test('writes are next in the order they were made, and answer when the server has taken them', async () => {
  const { outbox } = await outboxOf();
  const answers = [outbox.write(SETTING, body(1), {}), outbox.write(SETTING, body(2), {})];
  await until(() => outbox.figures().durable && outbox.entries.inOrder().every(({ id }) => outbox.entries.isQueued(id)));
  assert.equal(outbox.entries.next().body, body(1));
  await take(outbox, 7);
  assert.equal(outbox.entries.next().body, body(2));
  await take(outbox, 8);
  assert.deepEqual((await Promise.all(answers)).map(({ revision }) => revision), [7, 8]);
});

test('another page finds what is not sent', async () => {
  const { outbox, scope } = await outboxOf({ offline: true });
  assert.equal((await outbox.write(SETTING, body(1), {})).pending, true);
  const { outbox: later } = await outboxOf({ scope });
  assert.equal(later.entries.next().body, body(1));
  assert.equal(later.figures().pending, 1);
});

test('a write that waits answers pending as soon as it is known to take longer', async () => {
  const { outbox } = await outboxOf();
  const answer = outbox.write(SETTING, body(1), {});
  await until(() => outbox.entries.next());
  outbox.resolvePending();
  assert.equal((await answer).pending, true);
});

test('one idempotency key is one write, and another body under it is refused', async () => {
  const { outbox } = await outboxOf({ offline: true });
  await outbox.write(SETTING, body(1), { idempotencyKey: 'k' });
  await outbox.write(SETTING, body(1), { idempotencyKey: 'k' });
  assert.equal(outbox.figures().pending, 1);
  await assert.rejects(outbox.write(SETTING, body(2), { idempotencyKey: 'k' }), { status: 422 });
});

test('a refused write is parked until it is edited or discarded', async () => {
  const { outbox, scope } = await outboxOf();
  const answer = outbox.write(SETTING, body(1), { idempotencyKey: 'k' });
  await until(() => outbox.entries.next());
  await outbox.park('k', refused());
  await assert.rejects(answer, { code: 'conflict', parked: 'k' });
  assert.equal(outbox.entries.next(), undefined);
  assert.deepEqual(outbox.entries.parked().map(({ id }) => id), ['k']);
  const again = outbox.unpark('k', body(2));
  await until(() => outbox.entries.next());
  assert.notEqual(outbox.entries.next().key, 'k', 'another body is another write');
  await outbox.park('k', refused());
  await assert.rejects(again, { code: 'conflict' });
  await outbox.discard('k');
  await assert.rejects(outbox.discard('k'), { code: 'not_found' });
  const { outbox: later } = await outboxOf({ scope });
  assert.deepEqual(later.entries.inOrder(), []);
});

test('without a storage writes are sent all the same, and the status says so', async () => {
  const { outbox, posted } = await outboxOf({ store: new MemoryStorage() });
  void outbox.write(SETTING, body(1), {});
  void outbox.write(SETTING, body(2), {});
  await until(() => posted.length === 2);
  assert.deepEqual(outbox.entries.inOrder().map((entry) => entry.body), [body(1), body(2)]);
  assert.equal(outbox.figures().durable, false);
  assert.ok(posted.every(({ volatile }) => volatile), 'the tab that leads has to know');
});

test('an old message does not bring back what is done', async () => {
  const { outbox, posted } = await outboxOf();
  void outbox.write(SETTING, body(1), {});
  await until(() => posted.length === 1);
  await take(outbox, 1);
  outbox.receive(posted[0]);
  assert.equal(outbox.figures().pending, 0);
});

test('what was refused because its record was missing is offered when a commit makes one', async () => {
  const { outbox } = await outboxOf();
  const entry = { id: 'k', key: 'k', path: SETTING, body: body(1), state: 'parked', cursor: 'store.1.0' };
  outbox.entries.set({ ...entry, seq: 1, error: { status: 404 } });
  await outbox.offerAgain([{ revision: 2, changes: [{ before: {}, after: {} }] }]);
  assert.equal(outbox.entries.next(), undefined);
  await outbox.offerAgain([{ revision: 3, changes: [{ before: null, after: {} }] }]);
  assert.equal(outbox.entries.next().id, 'k');
});
