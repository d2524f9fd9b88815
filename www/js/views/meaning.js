// "What the numbers mean": every metric in words, how far the results can be trusted, where they were made.

import { h, replaceChildren } from '../dom.js';
import { HEADLINE, MORE, meaningOf } from '../metrics.js';

/** @import { State, Catalog } from '../types.js' */

/**
 * @param {string} engineVersion
 * @param {Catalog} catalog
 */
export function createMeaning(engineVersion, catalog) {
  const body = h('div', { class: 'meaning-body' });
  const dialog = h('dialog', { class: 'meaning', 'aria-labelledby': 'meaning-title' },
    h('form', { method: 'dialog', class: 'dialog-head' }, h('h2', { id: 'meaning-title' }, 'What the numbers mean'), h('button', { class: 'quiet', 'aria-label': 'Close' }, '×')),
    body);
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close();
  });
  return {
    element: dialog,
    /** @param {State} state */
    open({ results }) {
      const calibrated = catalog.devices.filter((device) => device.calibrated).map(({ name }) => name);
      replaceChildren(body,
        h('section', {}, h('h3', {}, 'How far to trust them'),
          h('p', {}, 'These are simulations: every request, batch and KV block is followed through the scheduler’s rules, and each engine step takes the time a cost model gives it. ',
            'Network, tokenizer and client are idealised unless the experiment says otherwise. Differences between entries are more certain than absolute values.'),
          h('p', {}, calibrated.length > 0 ? `Step times of ${list(calibrated)} are fitted to published kernel measurements; other GPUs use their datasheets and typical efficiencies, and are marked uncalibrated.` : 'Step times follow datasheets and typical efficiencies; no GPU here is calibrated yet.'),
          ...results.map((result) => provenance(result)),
          h('p', {}, `Engine ${engineVersion}. The same document, seed and engine version give the same results to the last bit, here and on the command line.`)),
        h('section', {}, h('h3', {}, 'Definitions'),
          h('dl', {}, [...HEADLINE, ...MORE].flatMap(({ metrics }) => metrics.flatMap((metric) => [h('dt', {}, metric.label, metric.unit ? h('span', { class: 'unit' }, ` ${metric.unit}`) : null), h('dd', {}, meaningOf(catalog.definitions, metric))]))),
          h('p', {}, 'Percentiles are numpy’s linear ones, over successful requests that arrived after the warm-up.')));
      dialog.showModal();
    },
  };
}

/** @param {State['results'][number]} result */
function provenance({ name, summary, hash }) {
  const { confidence, seed, stacks } = summary.provenance ?? {};
  const stack = Array.isArray(stacks) ? stacks[0] : undefined;
  const made = [stack?.framework, stack?.model, stack?.device].filter((part) => typeof part === 'string' && part !== '').join(' · ');
  return h('p', {}, h('strong', {}, name), made ? `: ${made}` : '', typeof confidence === 'string' && confidence !== '' ? `. ${confidence}` : '', `. Seed ${seed ?? 0}, result `, h('code', {}, hash), '.');
}

/** @param {string[]} words */
function list(words) {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}

/**
 * One line about trust for the run bar.
 * @param {State['results']} results
 */
export function confidenceOf(results) {
  const words = new Set(results.map(({ summary }) => summary.provenance?.confidence).filter((word) => typeof word === 'string' && word !== ''));
  return [...words].join('; ');
}
