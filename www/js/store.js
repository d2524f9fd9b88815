// The one place where state lives and the one door through which it changes.

/** @import { State } from './types.js' */

/**
 * @typedef {(state: State, previous: State) => void} Listener
 * @typedef {ReturnType<typeof createStore>} Store
 */

/** @param {State} initial */
export function createStore(initial) {
  let state = initial;
  /** @type {Set<Listener>} */
  const listeners = new Set();
  let notifying = false;

  return {
    get: () => state,

    /**
     * Puts `patch` over the state and tells every listener. A listener may update again: it is told once more after
     * this round, with the state it made.
     * @param {Partial<State> | ((state: State) => Partial<State>)} patch
     */
    update(patch) {
      const before = state;
      const change = typeof patch === 'function' ? patch(state) : patch;
      state = { ...state, ...change };
      if (notifying) return;
      notifying = true;
      try {
        let previous = before;
        while (previous !== state) {
          const current = state;
          for (const listener of [...listeners]) listener(current, previous);
          previous = current;
        }
      } finally {
        notifying = false;
      }
    },

    /**
     * @param {Listener} listener
     * @returns {() => void} unsubscribes
     */
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** @returns {State['view']} */
export function defaultView() {
  return { latency: 'ttftMs', throughput: 'outputTokensPerS', queue: 'running', timelineEntry: 0, logLatency: true, hidden: [] };
}

/**
 * A view from a link or from storage: only known words are taken over.
 * @param {unknown} value
 * @returns {State['view']}
 */
export function readView(value) {
  const view = defaultView();
  if (typeof value !== 'object' || value === null) return view;
  const given = /** @type {Record<string, unknown>} */ (value);
  if (given.latency === 'ttftMs' || given.latency === 'tpotMs' || given.latency === 'e2eMs' || given.latency === 'queueMs') view.latency = given.latency;
  if (given.throughput === 'outputTokensPerS' || given.throughput === 'requestsPerS') view.throughput = given.throughput;
  if (given.queue === 'running' || given.queue === 'waiting') view.queue = given.queue;
  if (typeof given.timelineEntry === 'number' && Number.isInteger(given.timelineEntry) && given.timelineEntry >= 0) view.timelineEntry = given.timelineEntry;
  if (typeof given.logLatency === 'boolean') view.logLatency = given.logLatency;
  if (Array.isArray(given.hidden)) view.hidden = given.hidden.filter((name) => typeof name === 'string').slice(0, 64);
  return view;
}

/**
 * The part of a view that differs from the default: what a link has to carry.
 * @param {State['view']} view
 * @returns {Partial<State['view']>}
 */
export function shortView(view) {
  const standard = /** @type {Record<string, unknown>} */ (defaultView());
  return Object.fromEntries(Object.entries(view).filter(([key, value]) => JSON.stringify(value) !== JSON.stringify(standard[key])));
}

/** @returns {State['run']} */
export function idleRun() {
  return { id: 0, status: 'idle', entries: [], startedMs: 0, elapsedMs: 0, estimatedWork: 0 };
}
