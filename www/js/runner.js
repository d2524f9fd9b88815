// From an edit to results: waits for the last keystroke, checks the document, runs its entries side by side in the pool,
// drops what belongs to an earlier document. Old results stay until new ones arrive.

import { defaultView } from './store.js';

/** @import { Store } from './store.js' */
/** @import { Engine, EntryRun, RunResult, State } from './types.js' */
/** @import { createPool, Outcome } from './pool.js' */

export const DEBOUNCE_MS = 150;
/** Units of work a run may take without being asked for: about a million requests, some seconds of one core. */
export const WORK_BUDGET = 4_000_000;

/**
 * @param {object} options
 * @param {Store} options.store
 * @param {Pick<Engine, 'checkDocument'>} options.engine
 * @param {Pick<ReturnType<typeof createPool>, 'run'>} options.pool
 * @param {() => number} [options.now]
 * @param {number} [options.workBudget]
 */
export function createRunner({ store, engine, pool, now = () => performance.now(), workBudget = WORK_BUDGET }) {
  /** @type {ReturnType<typeof setTimeout> | null} */
  let timer = null;
  /** @type {{ cancel: () => void }[]} */
  let jobs = [];
  let lastId = 0;

  function dropJobs() {
    for (const job of jobs) job.cancel();
    jobs = [];
  }

  /** The document changed: what runs is of no use any more; run the new one when the edit has settled. */
  function schedule() {
    if (timer !== null) clearTimeout(timer);
    stop('idle');
    timer = setTimeout(() => start(), DEBOUNCE_MS);
  }

  /** @param {{ beyondBudget?: boolean }} [options] */
  function start({ beyondBudget = false } = {}) {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    dropJobs();
    lastId += 1;
    const id = lastId;
    const { document, files } = store.get();
    const startedMs = now();
    const { diagnostics, runs, estimatedWork } = engine.checkDocument(document, files);
    if (runs.length === 0 || diagnostics.some((finding) => finding.severity === 'error')) {
      store.update({ diagnostics, run: { id, status: 'invalid', entries: [], startedMs, elapsedMs: 0, estimatedWork } });
      return;
    }
    const entries = runs.map(({ name }) => entry(name));
    if (estimatedWork > workBudget && !beyondBudget) {
      store.update({ diagnostics, run: { id, status: 'waiting', entries, startedMs, elapsedMs: 0, estimatedWork } });
      return;
    }
    store.update({ diagnostics, run: { id, status: 'running', entries, startedMs, elapsedMs: 0, estimatedWork } });
    /** @type {(RunResult | undefined)[]} */
    const fresh = runs.map(() => undefined);
    jobs = runs.map((_, runIndex) => {
      const job = pool.run({
        document,
        runIndex,
        files,
        want: 'result',
        onStart: () => change(id, runIndex, { state: 'running' }),
        onProgress: ({ fraction, simulatedS }) => change(id, runIndex, { fraction, simulatedS }),
      });
      void job.outcome.then((outcome) => receive(id, runIndex, outcome, fresh));
      return job;
    });
  }

  /**
   * @param {number} id
   * @param {number} runIndex
   * @param {Partial<EntryRun>} patch
   */
  function change(id, runIndex, patch) {
    store.update((state) => {
      if (state.run.id !== id) return {};
      const entries = state.run.entries.map((entry, index) => (index === runIndex ? { ...entry, ...patch } : entry));
      return { run: { ...state.run, entries, elapsedMs: now() - state.run.startedMs } };
    });
  }

  /**
   * @param {number} id
   * @param {number} runIndex
   * @param {Outcome} outcome
   * @param {(RunResult | undefined)[]} fresh
   */
  function receive(id, runIndex, outcome, fresh) {
    if (store.get().run.id !== id || (outcome.outcome !== 'done' && outcome.outcome !== 'failed' && outcome.outcome !== 'crashed')) return;
    if (outcome.outcome === 'done') {
      fresh[runIndex] = outcome.result;
      change(id, runIndex, { state: 'done', fraction: 1 });
    } else {
      change(id, runIndex, { state: outcome.outcome === 'failed' ? 'failed' : 'crashed', message: outcome.message });
    }
    const { run } = store.get();
    if (run.entries.some(({ state }) => state === 'queued' || state === 'running')) return;
    const results = fresh.filter((result) => result !== undefined);
    const failed = run.entries.filter(({ state }) => state !== 'done');
    store.update((state) => ({
      run: { ...run, status: failed.length > 0 ? 'failed' : 'done', elapsedMs: now() - run.startedMs },
      ...(results.length > 0 ? { results, stale: false, view: viewFor(state, results) } : {}),
      ...(outcome.outcome === 'failed' && outcome.diagnostics.length > 0 ? { diagnostics: outcome.diagnostics } : {}),
    }));
  }

  /** @param {'cancelled' | 'idle'} status */
  function stop(status) {
    dropJobs();
    store.update((state) =>
      state.run.status === 'running' || state.run.status === 'waiting'
        ? { run: { ...state.run, id: (lastId += 1), status, elapsedMs: now() - state.run.startedMs } }
        : {},
    );
  }

  return {
    schedule,
    start,
    /** Ends a run at the reader's wish. */
    cancel() {
      if (timer !== null) clearTimeout(timer);
      timer = null;
      stop('cancelled');
    },
  };
}

/**
 * @param {string} name
 * @returns {EntryRun}
 */
function entry(name) {
  return { name, state: 'queued', fraction: 0, simulatedS: 0, message: '' };
}

/**
 * The view without names and entries that the new results do not have.
 * @param {State} state
 * @param {RunResult[]} results
 */
function viewFor({ view }, results) {
  const names = new Set(results.map(({ name }) => name));
  const hidden = view.hidden.filter((name) => names.has(name));
  return {
    ...view,
    hidden: hidden.length < names.size ? hidden : defaultView().hidden,
    timelineEntry: view.timelineEntry < results.length ? view.timelineEntry : 0,
  };
}
