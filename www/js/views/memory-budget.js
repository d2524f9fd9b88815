// Where the memory of a GPU goes, by entry: a bar each, and the same numbers as words for those who do not see it.

import { h, replaceChildren } from '../dom.js';
import { number } from '../format.js';

/** @import { RunResult } from '../types.js' */

const GIB = 2 ** 30;

/** Parts of a bar: key in the summary, its word, and the class that colours it. @type {[string, string, string][]} */
const PARTS = [
  ['weights_bytes', 'Weights', 'weights'],
  ['activations_bytes', 'Activations', 'activations'],
  ['graphs_bytes', 'CUDA graphs', 'graphs'],
  ['libraries_bytes', 'Libraries', 'libraries'],
  ['states_bytes', 'States', 'states'],
  ['kv_bytes', 'KV cache', 'kv'],
  ['unused_bytes', 'Left free', 'unused'],
];

/** The panel, empty until results come. */
export function createMemoryBudget() {
  const bars = h('div', { class: 'budget-bars' });
  const legend = h('div', { class: 'legend budget-legend' });
  const element = h('section', { class: 'chart memory-budget', 'aria-label': 'Memory of one GPU' }, h('div', { class: 'chart-head' }, h('h3', {}, 'Memory of one GPU')), legend, bars);
  return {
    element,
    /** @param {RunResult[]} results */
    update(results) {
      const budgets = results.flatMap(({ summary }) => /** @type {Record<string, any>[]} */ (summary.memory ?? []));
      const known = budgets.filter(({ gpu_total_bytes: total }) => total > 0);
      element.hidden = known.length === 0;
      const shown = PARTS.filter(([key]) => known.some((budget) => Number(budget[key] ?? 0) > 0));
      replaceChildren(legend, shown.map(([, label, name]) => h('span', {}, h('span', { class: `budget-part ${name}` }), label)));
      replaceChildren(bars, known.map(bar));
    },
  };
}

/** @param {Record<string, any>} budget */
function bar(budget) {
  const total = budget.gpu_total_bytes;
  const parts = PARTS.map(([key, label, name]) => ({ label, name, bytes: Number(budget[key] ?? 0) })).filter(({ bytes }) => bytes > 0);
  const words = parts.map(({ label, bytes }) => `${label} ${number(bytes / GIB)}\u202fGiB`).join(', ');
  const segments = parts.map(({ name, bytes }) => {
    const segment = h('span', { class: `budget-part ${name}` });
    segment.style.flexGrow = String(bytes / total);
    return segment;
  });
  return h('div', { class: 'budget' }, h('p', {}, h('strong', {}, String(budget.entry)), `: ${words}`), h('div', { class: 'budget-bar', 'aria-hidden': 'true' }, segments));
}
