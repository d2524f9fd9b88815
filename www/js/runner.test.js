import test from 'node:test';
import assert from 'node:assert/strict';
import { createRunner } from './runner.js';
import { createStore, defaultView, idleRun } from './store.js';
import * as fake from '../e2e/fake-engine.mjs';

/** A pool whose jobs end when the test says so. */
function handPool() {
  /** @type {{ request: any, cancelled: boolean, end: (outcome: any) => Promise<void> }[]} */
  const jobs = [];
  return {
    jobs,
    run(/** @type {any} */ request) {
      /** @type {any} */
      let resolve;
      const outcome = new Promise((settled) => { resolve = settled; });
      const job = { request, cancelled: false, end: async (/** @type {any} */ value) => { resolve(value); await new Promise((later) => setTimeout(later)); } };
      jobs.push(job);
      return { outcome, cancel: () => { job.cancelled = true; resolve({ outcome: 'cancelled' }); } };
    },
  };
}

function start(/** @type {any} */ document) {
  const store = createStore(/** @type {any} */ ({ document, text: '', textIsBroken: false, diagnostics: [], preset: '', run: idleRun(), results: [], stale: false, view: defaultView(), tab: 'form', files: new Map(), notices: [] }));
  const pool = handPool();
  const runner = createRunner({ store, engine: /** @type {any} */ (fake), pool, workBudget: 100 });
  return { store, pool, runner };
}
const two = { frameworks_to_test: [{ name: 'a' }, { name: 'b' }] };
const done = (/** @type {string} */ name) => ({ outcome: 'done', result: { name } });

test('results appear when the last entry has ended', async () => {
  const { store, pool, runner } = start(two);
  runner.start();
  assert.equal(store.get().run.status, 'running');
  await pool.jobs[1]?.end(done('b'));
  assert.equal(store.get().results.length, 0);
  await pool.jobs[0]?.end(done('a'));
  assert.deepEqual(store.get().results.map(({ name }) => name), ['a', 'b']);
  assert.equal(store.get().run.status, 'done');
});

test('a new start drops what the old one still brings', async () => {
  const { store, pool, runner } = start(two);
  runner.start();
  const [old] = pool.jobs;
  runner.start();
  assert.equal(old?.cancelled, true);
  await old?.end(done('stale'));
  assert.equal(store.get().results.length, 0);
  assert.equal(store.get().run.entries[0]?.state, 'queued');
});

test('an edit waits for the last keystroke', async () => {
  const { pool, runner } = start(two);
  runner.schedule();
  runner.schedule();
  assert.equal(pool.jobs.length, 0);
  await new Promise((later) => setTimeout(later, 200));
  assert.equal(pool.jobs.length, 2);
});

test('a document with errors does not run; old results stay', async () => {
  const { store, pool, runner } = start(two);
  runner.start();
  for (const job of pool.jobs) await job.end(done('x'));
  store.update({ document: { ...two, bad: true }, stale: true });
  runner.start();
  assert.equal(store.get().run.status, 'invalid');
  assert.equal(store.get().results.length, 2);
  assert.equal(store.get().stale, true);
});

test('too much work waits for a click', () => {
  const { store, pool, runner } = start({ ...two, fake: { work: 101 } });
  runner.start();
  assert.equal(store.get().run.status, 'waiting');
  assert.equal(pool.jobs.length, 0);
  runner.start({ beyondBudget: true });
  assert.equal(pool.jobs.length, 2);
});

test('a crash of one entry leaves the results of the others', async () => {
  const { store, pool, runner } = start(two);
  runner.start();
  await pool.jobs[0]?.end({ outcome: 'crashed', message: 'unreachable' });
  await pool.jobs[1]?.end(done('b'));
  assert.equal(store.get().run.status, 'failed');
  assert.deepEqual(store.get().results.map(({ name }) => name), ['b']);
  assert.equal(store.get().run.entries[0]?.message, 'unreachable');
});

test('cancel ends the run at once', () => {
  const { store, pool, runner } = start(two);
  runner.start();
  runner.cancel();
  assert.equal(store.get().run.status, 'cancelled');
  assert.ok(pool.jobs.every(({ cancelled }) => cancelled));
});
