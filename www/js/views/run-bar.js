// What the simulation is doing, in one line: running, waiting for a click, cancelled, finished. The live region
// speaks at most once a second and never repeats itself.

import { h, replaceChildren } from '../dom.js';
import { compact, elapsed, plural } from '../format.js';

/** @import { State, Run } from '../types.js' */

const SHOW_PROGRESS_AFTER_MS = 300;

/**
 * @param {{ start: (options?: { beyondBudget?: boolean }) => void, cancel: () => void }} runner
 * @param {{ engineVersion: string, explain: () => void, pin: (results: State['results']) => void }} options
 */
export function createRunBar(runner, { engineVersion, explain, pin }) {
  const line = h('p', { class: 'run-line' });
  const progress = h('progress', { max: 1, 'aria-label': 'Simulation progress', hidden: true });
  const cancel = h('button', { type: 'button', class: 'small', hidden: true, on: { click: () => runner.cancel() } }, 'Cancel', h('kbd', {}, 'Esc'));
  const runAnyway = h('button', { type: 'button', class: 'primary small', hidden: true, on: { click: () => runner.start({ beyondBudget: true }) } }, 'Run anyway');
  const again = h('button', { type: 'button', class: 'small', hidden: true, on: { click: () => runner.start({ beyondBudget: true }) } }, 'Run again');
  /** @type {State['results']} */
  let present = [];
  const pinIt = h('button', { type: 'button', class: 'quiet small', hidden: true, title: 'They stay in the table and the charts while the experiment changes', on: { click: () => pin(present) } }, 'Pin these results');
  const unpin = h('button', { type: 'button', class: 'quiet small', hidden: true, on: { click: () => pin([]) } }, 'Unpin');
  const live = h('p', { class: 'visually-hidden', role: 'status', 'aria-live': 'polite' });
  const problems = h('ul', { class: 'entry-problems', hidden: true });
  const element = h('div', { class: 'run-bar' }, h('div', { class: 'run-main' }, line, progress, cancel, runAnyway, again, pinIt, unpin), problems, live);

  let spoken = '';
  /** @type {ReturnType<typeof setTimeout> | null} */
  let speakTimer = null;
  /** @type {ReturnType<typeof setTimeout> | null} */
  let showTimer = null;

  /** @param {string} text */
  function speak(text) {
    if (speakTimer !== null) clearTimeout(speakTimer);
    if (text === spoken || text === '') return;
    speakTimer = setTimeout(() => {
      spoken = text;
      live.textContent = text;
    }, 1000);
  }

  return {
    element,
    /**
     * @param {State} state
     * @param {State | null} previous
     */
    update(state, previous) {
      const { run, results, stale } = state;
      if (previous && previous.run === run && previous.results === results && previous.stale === stale && previous.pinned === state.pinned) return;
      present = results;
      const focused = document.activeElement;
      pinIt.hidden = run.status !== 'done' || stale || results.length === 0 || state.pinned === results;
      unpin.hidden = state.pinned.length === 0;
      unpin.textContent = state.pinned === results ? 'Pinned: unpin' : 'Unpin';
      if (focused === pinIt && pinIt.hidden) unpin.focus();
      if (focused === unpin && unpin.hidden) pinIt.focus();
      const fraction = run.entries.length > 0 ? run.entries.reduce((sum, entry) => sum + entry.fraction, 0) / run.entries.length : 0;
      const running = run.status === 'running';
      if (!running || previous?.run.id !== run.id) {
        if (showTimer !== null) clearTimeout(showTimer);
        showTimer = null;
        progress.hidden = true;
        cancel.hidden = true;
      }
      if (running) {
        progress.value = fraction;
        showTimer ??= setTimeout(() => {
          progress.hidden = false;
          cancel.hidden = false;
        }, SHOW_PROGRESS_AFTER_MS);
      }
      runAnyway.hidden = run.status !== 'waiting';
      again.hidden = run.status !== 'cancelled' && run.status !== 'failed';
      element.setAttribute('data-status', run.status);
      replaceChildren(line, sentence(state, fraction), run.status === 'done' ? [trust(results), ' · engine ', engineVersion, h('span', { class: 'nowrap' }, ' · ', h('button', { type: 'button', class: 'link', on: { click: explain } }, 'what the numbers mean'))] : null);
      speak(running ? (fraction >= 0.25 ? `Running, ${Math.floor(fraction * 4) * 25} percent` : 'Running') : sentence(state, fraction));
      const failed = run.entries.filter((entry) => entry.state === 'failed' || entry.state === 'crashed');
      problems.hidden = failed.length === 0;
      replaceChildren(problems, failed.map((entry) => h('li', { class: 'finding error' }, h('strong', {}, entry.name), ' ', entry.state === 'crashed' ? `stopped: the engine crashed (${entry.message}). Its worker was replaced; the experiment is unharmed.` : entry.message)));
    },
  };
}

/**
 * @param {State} state
 * @param {number} fraction
 */
function sentence({ run, results, stale, diagnostics, textIsBroken }, fraction) {
  const entries = plural(run.entries.length, 'entry').replace('entrys', 'entries');
  switch (run.status) {
    case 'idle':
      return stale ? 'Edited. Running in a moment …' : 'Starting …';
    case 'invalid': {
      const errors = diagnostics.filter(({ severity }) => severity === 'error').length;
      const where = textIsBroken ? 'The text cannot be read' : 'This experiment cannot be run';
      return `${where}: ${plural(errors, 'error')}.${results.length > 0 ? ' The results below are of the last version that ran.' : ''}`;
    }
    case 'waiting':
      return `This experiment is large: about ${compact(run.estimatedWork)} steps. It runs when you say so.`;
    case 'running':
      return `Running ${entries} … ${Math.round(fraction * 100)} %`;
    case 'cancelled':
      return results.length > 0 ? 'Cancelled. The results below are of the last version that ran.' : 'Cancelled.';
    case 'failed':
      return 'Not every entry could be run.';
    case 'done':
      return doneSentence(run, results, entries);
    default:
      return '';
  }
}

/** @type {Record<string, string>} */
const TRUST = { measured: 'step times from measured kernels', borrowed: 'step times from related kernels', datasheet: 'step times uncalibrated' };

/**
 * The weakest ground that the results stand on.
 * @param {State['results']} results
 */
function trust(results) {
  const given = new Set(results.map(({ summary }) => summary.provenance?.confidence));
  const weakest = ['datasheet', 'borrowed', 'measured'].find((word) => given.has(word));
  return weakest ? ` · ${TRUST[weakest]}` : '';
}

/**
 * @param {Run} run
 * @param {State['results']} results
 * @param {string} entries
 */
function doneSentence(run, results, entries) {
  const requests = new Set(results.map(({ requestCount }) => requestCount));
  const each = requests.size === 1 ? `${plural([...requests][0] ?? 0, 'request')}${results.length > 1 ? ' each' : ''}` : 'requests as listed';
  return `Simulated ${entries}, ${each}, in ${elapsed(run.elapsedMs)}`;
}
