// The headline numbers: a row a metric, a column an entry. The best value carries a word and a mark, not only a colour;
// the others say how far they are from the first entry.

import { h, replaceChildren } from '../dom.js';
import { MISSING, count, delta, number, percent } from '../format.js';
import { HEADLINE, MORE, meaningOf, readMetric } from '../metrics.js';
import { swatch } from './swatch.js';

/** @import { Definition, State, RunResult } from '../types.js' */
/** @import { Metric, MetricGroup } from '../metrics.js' */

/** @param {Definition[]} definitions */
export function createResultsTable(definitions) {
  const head = h('div', { class: 'table-scroll', role: 'region', 'aria-label': 'Headline numbers', tabindex: 0 });
  const moreTable = h('div', { class: 'table-scroll', role: 'region', 'aria-label': 'More numbers', tabindex: 0 });
  const more = h('details', { class: 'more' }, h('summary', {}, 'More numbers'), moreTable);
  const notes = h('ul', { class: 'run-notes', 'aria-label': 'What was changed to run it' });
  const element = h('div', { class: 'headline' }, head, notes, more);
  /** @type {RunResult[] | null} */
  let shown = null;
  return {
    element,
    /** @param {State} state */
    update({ results }) {
      if (results === shown) return;
      shown = results;
      element.hidden = results.length === 0;
      if (results.length === 0) return;
      replaceChildren(head, table('Headline numbers', HEADLINE, results, definitions));
      const said = notesOf(results);
      notes.hidden = said.length === 0;
      replaceChildren(notes, said.map((text) => h('li', {}, text)));
      replaceChildren(moreTable, table('More numbers', MORE, results, definitions));
      if (performance.getEntriesByName('first-numbers').length === 0) performance.mark('first-numbers');
      more.hidden = !MORE.some(({ metrics }) => metrics.some((metric) => results.some((result) => readMetric(metric, result) !== null)));
    },
  };
}

/**
 * @param {string} caption
 * @param {MetricGroup[]} groups
 * @param {RunResult[]} results
 * @param {Definition[]} definitions
 */
function table(caption, groups, results, definitions) {
  const columns = h('tr', {}, h('td', {}), results.map(({ name, entryIndex, summary }) => h('th', { scope: 'col' }, h('span', { class: 'column-head' }, swatch(entryIndex), h('span', { class: 'column-name' }, name)), confidence(summary))));
  const width = results.length === 1 ? ' single' : results.length > 4 ? ' many' : '';
  return h('table', { class: `numbers${width}` },
    h('caption', { class: 'visually-hidden' }, caption),
    h('thead', {}, columns),
    groups.map(({ metrics }) => {
      const rows = metrics.map((metric) => row(metric, results, definitions)).filter((made) => made !== null);
      return rows.length > 0 ? h('tbody', {}, rows) : null;
    }),
  );
}

/** What the step times rest on, in a word; the panel “How far can I trust this?” says more. @type {Record<string, string>} */
const CONFIDENCE = { measured: 'measured kernels', borrowed: 'borrowed kernels', datasheet: 'data sheet' };

/** @param {RunResult['summary']} summary */
function confidence(summary) {
  const known = summary.provenance?.confidence;
  return typeof known === 'string' && known !== '' ? h('small', { class: 'confidence', title: 'What the step times rest on' }, CONFIDENCE[known] ?? known) : null;
}

/**
 * What was said while they ran, once each; with the entry's name where not all say it.
 * @param {RunResult[]} results
 */
export function notesOf(results) {
  /** @type {Map<string, string[]>} */
  const by = new Map();
  for (const { name, warnings } of results) {
    for (const { message, hint } of warnings) {
      const text = hint ? `${message} (${hint})` : message;
      by.set(text, [...(by.get(text) ?? []), name]);
    }
  }
  return [...by].map(([text, names]) => (names.length === results.length ? text : `${names.join(', ')}: ${text}`));
}

/**
 * @param {Metric} metric
 * @param {RunResult[]} results
 * @param {Definition[]} definitions
 */
function row(metric, results, definitions) {
  const values = results.map((result) => readMetric(metric, result));
  if (values.every((value) => value === null)) return null;
  const best = bestOf(metric, values);
  const base = values[0];
  return h('tr', {},
    h('th', { scope: 'row', title: meaningOf(definitions, metric) || null }, metric.label, metric.unit ? h('span', { class: 'unit' }, ` ${metric.unit}`) : null),
    values.map((value, index) => {
      const isBest = best.has(index);
      const change = index > 0 && value !== null && typeof base === 'number' ? delta(value, base) : '';
      return h('td', { class: isBest ? 'best' : null }, h('span', { class: 'cell' },
        h('span', { class: 'compare' }, isBest ? h('span', { class: 'best-mark' }, '★ best') : null, change ? h('span', { class: 'delta' }, change) : null),
        h('span', { class: 'value' }, show(metric, value))));
    }));
}

/**
 * @param {Metric} metric
 * @param {number | null} value
 */
function show(metric, value) {
  if (value === null) return MISSING;
  return metric.style === 'percent' ? percent(value) : metric.style === 'count' ? count(value) : number(value);
}

/** Entries closer than this are as good as each other: no seed would decide between them. */
const TIE = 0.005;

/**
 * Which values are the best, judged by what is shown: two that read the same are equally good. None when all are.
 * @param {Metric} metric
 * @param {(number | null)[]} values
 * @returns {Set<number>}
 */
export function bestOf(metric, values) {
  const known = values.filter((value) => value !== null);
  if (metric.better === null || known.length < 2) return new Set();
  const best = metric.better === 'lower' ? Math.min(...known) : Math.max(...known);
  const worst = metric.better === 'lower' ? Math.max(...known) : Math.min(...known);
  if (Math.abs(best - worst) <= TIE * Math.abs(worst)) return new Set();
  const label = show(metric, best);
  const winners = values.flatMap((value, index) => (value !== null && show(metric, value) === label ? [index] : []));
  return new Set(winners.length === values.length ? [] : winners);
}
