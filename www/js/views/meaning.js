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
      const calibrated = catalog.devices.filter((device) => device.calibrated).length;
      replaceChildren(body,
        h('section', {}, h('h3', {}, 'How far to trust them'),
          h('p', {}, 'These are simulations: every request, batch and KV block is followed through the scheduler’s rules, and each engine step takes the time a cost model gives it. ',
            'Network, tokenizer and client are idealised unless the experiment says otherwise. Differences between entries are more certain than absolute values.'),
          h('p', {}, `Step times of ${calibrated} of the ${catalog.devices.length} GPUs are fitted to published kernel measurements, of the GPU itself or of its architecture; the others follow their data sheets and typical efficiencies, and are marked uncalibrated.`),
          ...results.map((result) => provenance(result)),
          h('p', {}, `Engine ${engineVersion}. The same document, seed and engine version give the same results to the last bit, here and on the command line.`)),
        h('section', {}, h('h3', {}, 'Definitions'),
          h('dl', {}, [...HEADLINE, ...MORE].flatMap(({ metrics }) => metrics.flatMap((metric) => [h('dt', {}, metric.label, metric.unit ? h('span', { class: 'unit' }, ` ${metric.unit}`) : null), h('dd', {}, meaningOf(catalog.definitions, metric))]))),
          h('p', {}, 'Percentiles are numpy’s linear ones, over successful requests that arrived after the warm-up.')));
      dialog.showModal();
    },
  };
}

/** How step times were come by, in the engine's words and in ours. @type {Record<string, string>} */
const CONFIDENCE = {
  measured: 'Step times: fitted to measured kernels of this GPU.',
  borrowed: 'Step times: fitted to measured kernels of a related GPU, engine or number format.',
  datasheet: 'Step times: data sheet and typical efficiencies; uncalibrated.',
};

/** @param {State['results'][number]} result */
function provenance({ name, summary, hash }) {
  const { confidence, seed, stacks } = summary.provenance ?? {};
  const stack = Array.isArray(stacks) ? stacks[0] : undefined;
  const made = [stack?.framework, stack?.model, stack?.device].filter((part) => typeof part === 'string' && part !== '').join(' · ');
  return h('p', {}, h('strong', {}, name), made ? `: ${made}` : '', `. ${CONFIDENCE[confidence] ?? ''}`, ` Seed ${seed ?? 0}, result `, h('code', {}, hash), '.');
}

