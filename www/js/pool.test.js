import test from 'node:test';
import assert from 'node:assert/strict';
import { createPool } from './pool.js';
import { createWorkerServer } from './worker-server.js';
import * as fake from '../e2e/fake-engine.mjs';

/** A worker that is a server in this thread. */
function localWorker() {
  /** @type {any} */
  const worker = { onmessage: null, onerror: null, dead: false, terminate: () => (worker.dead = true) };
  const server = createWorkerServer({
    load: async () => /** @type {any} */ (fake),
    post: (message) => queueMicrotask(() => worker.dead || worker.onmessage?.({ data: message })),
    now: () => performance.now(),
    pause: () => new Promise((resolve) => setTimeout(resolve, 1)),
  });
  worker.postMessage = (/** @type {any} */ message) => queueMicrotask(() => worker.dead || void server.handle(message));
  return worker;
}

/** @param {number} size */
function start(size, spawn = localWorker) {
  let spawned = 0;
  const pool = createPool({ size, spawn: () => { spawned += 1; return spawn(); }, module: Promise.resolve(/** @type {any} */ ({})) });
  return { pool, spawned: () => spawned };
}

const job = (/** @type {any} */ script = {}, /** @type {any} */ extra = {}) =>
  ({ document: { frameworks_to_test: [{ name: 'a' }], fake: script }, runIndex: 0, files: new Map(), want: /** @type {const} */ ('result'), ...extra });

test('more jobs than workers: all end, one at a time a worker', async () => {
  const { pool } = start(2);
  let most = 0;
  const outcomes = await Promise.all(Array.from({ length: 5 }, () =>
    pool.run(job({ steps: 4 }, { onStart: () => { most = Math.max(most, fake.Simulation.living + 1); } })).outcome));
  assert.deepEqual(outcomes.map(({ outcome }) => outcome), Array(5).fill('done'));
  assert.ok(most <= 2);
});

test('a cancelled job answers at once, and the worker takes the next', async () => {
  const { pool } = start(1);
  const long = pool.run(job({ steps: 1e9 }));
  const next = pool.run(job());
  setTimeout(long.cancel, 20);
  assert.equal((await long.outcome).outcome, 'cancelled');
  assert.equal((await next.outcome).outcome, 'done');
});

test('a crashed worker is replaced and the next job works', async () => {
  const { pool, spawned } = start(1);
  const crashed = await pool.run(job({ crashAt: 1 })).outcome;
  assert.equal(crashed.outcome, 'crashed');
  assert.match(/** @type {any} */ (crashed).message, /unreachable/);
  assert.equal((await pool.run(job()).outcome).outcome, 'done');
  assert.equal(spawned(), 2);
});

test('workers that never start are given up, and every job is told so', async () => {
  const { pool, spawned } = start(1, () => {
    /** @type {any} */
    const worker = { onmessage: null, onerror: null, postMessage() {}, terminate() {} };
    queueMicrotask(() => worker.onerror?.({ message: 'no such script' }));
    return worker;
  });
  assert.deepEqual(await pool.run(job()).outcome, { outcome: 'crashed', message: 'no such script' });
  assert.equal((await pool.run(job()).outcome).outcome, 'crashed');
  assert.equal(spawned(), 3);
});

test('a file goes to a worker once, and again when it changes', async () => {
  /** @type {string[]} */
  const sent = [];
  const { pool } = start(1, () => {
    const worker = localWorker();
    const post = worker.postMessage;
    worker.postMessage = (/** @type {any} */ message) => { if (message.type === 'file') sent.push(message.name); post(message); };
    return worker;
  });
  const bytes = new Uint8Array(1);
  await pool.run(job({}, { files: new Map([['t', bytes]]) })).outcome;
  await pool.run(job({}, { files: new Map([['t', bytes]]) })).outcome;
  await pool.run(job({}, { files: new Map([['t', new Uint8Array(1)]]) })).outcome;
  assert.deepEqual(sent, ['t', 't']);
});
