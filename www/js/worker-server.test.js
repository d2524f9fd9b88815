import test from 'node:test';
import assert from 'node:assert/strict';
import { createWorkerServer, nextBudget } from './worker-server.js';
import * as fake from '../e2e/fake-engine.mjs';

const document = (/** @type {any} */ script = {}) => ({ frameworks_to_test: [{ name: 'a' }], fake: script });

/** A server whose pauses run `onPause`, which may send it messages. */
function start(onPause = async () => {}) {
  /** @type {any[]} */
  const said = [];
  let time = 0;
  const server = createWorkerServer({
    load: async () => /** @type {any} */ (fake),
    post: (message, transfer) => said.push({ ...message, transferred: transfer.length }),
    now: () => (time += 30),
    pause: () => onPause(),
  });
  return { server, said };
}
const module = /** @type {any} */ ({});

test('a run ends in its result, with every column transferred', async () => {
  const { server, said } = start();
  await server.handle({ type: 'init', module });
  await server.handle({ type: 'file', name: 't.csv', bytes: new Uint8Array(3) });
  await server.handle({ type: 'run', job: 7, document: document(), runIndex: 0, want: 'result' });
  assert.deepEqual(said.map(({ type }) => type), ['ready', 'progress', 'done']);
  const done = said.at(-1);
  assert.equal(done.job, 7);
  assert.deepEqual(done.result.summary.files, ['t.csv']);
  assert.equal(done.transferred, 4 + 9 + 5 + 1, 'latencies, series, timeline, encodes');
  assert.equal(fake.Simulation.living, 0);
});

test('a cancel between two slices ends the run and frees it', async () => {
  let pauses = 0;
  const { server, said } = start(async () => {
    pauses += 1;
    if (pauses === 2) await server.handle({ type: 'cancel', job: 1 });
  });
  await server.handle({ type: 'init', module });
  await server.handle({ type: 'run', job: 1, document: document({ steps: 1000 }), runIndex: 0, want: 'result' });
  assert.equal(said.at(-1).type, 'cancelled');
  assert.equal(pauses, 2);
  assert.equal(fake.Simulation.living, 0);
});

test('a moment and a trace are asked of a run of their own', async () => {
  let cancelAt = Infinity;
  let pauses = 0;
  const { server, said } = start(async () => {
    pauses += 1;
    if (pauses === cancelAt) await server.handle({ type: 'cancel', job: 5 });
  });
  await server.handle({ type: 'init', module });
  await server.handle({ type: 'run', job: 2, document: document(), runIndex: 0, want: 'moment', atS: 2.5 });
  assert.deepEqual(said.at(-1), { type: 'moment', job: 2, moment: { run: 'a', at_s: 2.5, replicas: [], rule: 'round_robin', routing: [], fleet_events: [], retries: [] }, transferred: 0 });
  await server.handle({ type: 'run', job: 3, document: document(), runIndex: 0, want: 'moment', atS: 11 });
  assert.deepEqual([said.at(-1).type, said.at(-1).message], ['failed', 'the simulation ends at 10 s']);
  await server.handle({ type: 'run', job: 4, document: document(), runIndex: 0, want: 'trace', window: [1, 2] });
  assert.deepEqual([said.at(-1).type, JSON.parse(said.at(-1).text).window], ['trace', [1, 2]]);
  cancelAt = pauses + 2;
  await server.handle({ type: 'run', job: 5, document: document({ steps: 1000 }), runIndex: 0, want: 'moment', atS: 1 });
  assert.equal(said.at(-1).type, 'cancelled');
  assert.deepEqual([fake.Simulation.living, fake.Inspection.living], [0, 0]);
});

test('a refused document leaves the worker alive; a trap says crashed', async () => {
  const { server, said } = start();
  await server.handle({ type: 'init', module });
  await server.handle({ type: 'run', job: 1, document: document(), runIndex: 5, want: 'result' });
  assert.equal(said.at(-1).type, 'failed');
  assert.equal(said.at(-1).diagnostics[0].path, 'frameworks_to_test');
  await server.handle({ type: 'run', job: 2, document: document(), runIndex: 0, want: 'csv' });
  assert.equal(said.at(-1).text, 'request_id\n0\n');
  await server.handle({ type: 'run', job: 4, document: document(), runIndex: 0, want: 'summary' });
  assert.deepEqual([said.at(-1).type, said.at(-1).summary.requests.total, fake.Simulation.living], ['summary', 4, 0]);
  await server.handle({ type: 'run', job: 3, document: document({ crashAt: 2 }), runIndex: 0, want: 'result' });
  assert.deepEqual([said.at(-1).type, said.at(-1).job], ['crashed', 3]);
});

test('unknown messages are answered, never ignored', async () => {
  const { server, said } = start();
  for (const message of [{ type: 'dance' }, null, 'run', { type: 'run' }]) await server.handle(message);
  assert.deepEqual(said.map(({ type }) => type), ['crashed', 'crashed', 'crashed', 'crashed']);
});

test('the budget of a slice approaches its time', () => {
  assert.equal(nextBudget(1000, 25), 1000);
  assert.equal(nextBudget(1000, 50), 500);
  assert.equal(nextBudget(1000, 1), 4000);
  assert.ok(nextBudget(100, 10_000) >= 100);
});
