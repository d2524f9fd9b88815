// "How far can I trust this?": published measurements against what the engine predicts for them. The report is a file of its own,
// made by `llmperforacle accuracy`; this draws it and adds nothing.

import { h, replaceChildren, svg } from '../dom.js';
import { count, number, percent, plural } from '../format.js';
import { createSensitivity } from './sensitivity.js';

/** @import { RunResult, State } from '../types.js' */

/** Beside the page, like its scripts: computed, so that the name stays as it is. */
const REPORT = ['data', 'accuracy.json'].join('/');

/**
 * @typedef {[name: string, predicted: number, measured: number]} Measured
 * @typedef {{ id: string, set: string, use: 'check' | 'calibration', framework: string, model: string | null, gpu: string | null, confidence: string | null, metrics: Measured[] }} Replay
 * @typedef {{ count: number, median: number, mean: number, p90: number, bias: number }} Statistics  absolute errors; `bias` is the signed median
 * @typedef {Record<string, Statistics>} ByQuantity
 * @typedef {{ by_use: Record<string, ByQuantity>, checks_by_framework?: Record<string, ByQuantity> }} Summary
 * @typedef {{ runs: Replay[], not_replayed: [string, string][], summary: Summary }} Report
 *
 * @typedef {{ run: Replay, predicted: number, measured: number, error: number }} Dot
 */

/** A run's number of each kind: the first of these that it was measured by. @type {Record<string, { label: string, unit: string, names: string[] }>} */
const KINDS = {
  tpot: { label: 'TPOT', unit: 'ms', names: ['tpot_mean_ms', 'tpot_ms', 'tpot_p50_ms', 'itl_mean_ms', 'itl_p50_ms'] },
  ttft: { label: 'TTFT', unit: 'ms', names: ['ttft_mean_ms', 'ttft_ms', 'ttft_p50_ms'] },
  e2e: { label: 'End to end', unit: 'ms', names: ['e2e_mean_ms', 'e2e_p50_ms', 'e2e_p99_ms'] },
  throughput: { label: 'Throughput', unit: 'tokens/s', names: ['output_tok_s', 'total_tok_s', 'tok_s_per_gpu'] },
};
const ENGINES = ['vllm', 'sglang', 'trtllm', 'other'];
const ENGINE_NAMES = /** @type {Record<string, string>} */ ({ vllm: 'vLLM', sglang: 'SGLang', trtllm: 'TensorRT-LLM', other: 'Other' });
/** Position of an engine's colour in the page's palette. */
const COLOUR = /** @type {Record<string, number>} */ ({ vllm: 0, sglang: 1, trtllm: 2, other: 6 });
const CONFIDENCE = /** @type {Record<string, string>} */ ({
  measured: 'measured: step times are fitted to kernels measured on this GPU',
  borrowed: 'borrowed: step times are fitted to a related GPU, engine or number format',
  datasheet: 'data sheet: step times follow the data sheet and typical efficiencies',
});

/** @param {Parameters<typeof createSensitivity>[0]} options */
export async function createTrust(options) {
  const response = await fetch(new URL(REPORT, document.baseURI));
  if (!response.ok) throw new Error(`the accuracy report is not on the server (${response.status})`);
  /** @type {Report} */
  const report = await response.json();
  let kind = 'tpot';

  const own = h('ul', { class: 'plain' });
  const figure = h('div', { class: 'trust-figure' });
  const buttons = Object.entries(KINDS).map(([value, { label }]) => h('button', { type: 'button', data: { value }, on: { click: () => { kind = value; draw(); } } }, label));
  const holder = h('div', { class: 'table-scroll', role: 'region', 'aria-label': 'Errors by engine', tabindex: 0 });
  const reasons = h('details', { class: 'data' }, h('summary', {}, `${count(report.not_replayed.length)} runs could not be replayed, and why`), reasonList(report.not_replayed));
  const sensitivity = createSensitivity(options);
  const element = h('div', { class: 'trust' },
    h('h3', {}, 'These results'), own,
    h('p', { class: 'muted' }, 'How much a real server differs from itself between two runs of one benchmark is hardly known: of the published runs two pairs were run alike (gpt-oss-120b on four H200, TensorRT-LLM); their times per output token are 0.7 and 3.4 % apart, their times to first token 16 and 27 %.'),
    sensitivity.element,
    h('h3', {}, 'Predicted against measured'),
    h('p', {}, `${count(report.runs.length)} published benchmark runs, replayed. “Calibration” runs may be looked at when a constant is chosen, “checks” are only compared with; docs/accuracy.md names the choices for which some were in view. A dot on the diagonal is exact.`),
    h('div', { class: 'segmented', role: 'group', 'aria-label': 'Metric compared' }, buttons), figure, holder, reasons);

  function draw() {
    for (const button of buttons) button.setAttribute('aria-pressed', String(button.dataset.value === kind));
    const dots = dotsOf(report.runs, kind);
    replaceChildren(figure, scatter(dots, kind, report.summary), legend(dots));
    replaceChildren(holder, errorTable(report.summary, kind));
  }
  draw();

  return {
    element,
    /** @param {State} state */
    update(state) {
      const { results } = state;
      sensitivity.update(state);
      replaceChildren(own, results.map((result) => h('li', {}, h('strong', {}, result.name), ` – ${CONFIDENCE[result.summary.provenance?.confidence] ?? String(result.summary.provenance?.confidence ?? 'unknown')}. ${errorsLike(report.summary, result)}`)));
    },
  };
}

/**
 * The errors of checks of the same engine, in a sentence.
 * @param {Summary} report
 * @param {RunResult} result
 */
function errorsLike(report, { summary }) {
  // A report made before it had this group says nothing of frameworks.
  if (!report.checks_by_framework) return '';
  const framework = String(summary.provenance?.stacks?.[0]?.framework ?? '').toLowerCase();
  const engine = framework.includes('sglang') ? 'sglang' : framework.includes('trt') ? 'trtllm' : 'vllm';
  const parts = ['tpot', 'ttft', 'throughput'].flatMap((kind) => {
    const found = report.checks_by_framework?.[engine]?.[kind];
    return found ? [`${KINDS[kind]?.label} ${percent(found.median)} (${plural(found.count, 'number')})`] : [];
  });
  return parts.length === 0 ? `No published run of ${ENGINE_NAMES[engine]} has been replayed as a check.` : `Median error on checks of ${ENGINE_NAMES[engine]}: ${parts.join(', ')}.`;
}

/**
 * @param {Replay[]} runs
 * @param {string} kind
 * @returns {Dot[]}
 */
export function dotsOf(runs, kind) {
  const names = KINDS[kind]?.names ?? [];
  return runs.flatMap((run) => {
    const found = names.map((name) => run.metrics.find(([own]) => own === name)).find((metric) => metric !== undefined);
    if (!found || !(found[1] > 0) || !(found[2] > 0)) return [];
    return [{ run, predicted: found[1], measured: found[2], error: found[1] / found[2] - 1 }];
  });
}

const SIZE = { width: 560, height: 420, left: 64, right: 28, top: 10, bottom: 44 };

/**
 * Log-log, a dot a run.
 * @param {Dot[]} dots
 * @param {string} kind
 * @param {Summary} report
 */
function scatter(dots, kind, report) {
  const { label = '', unit = '' } = KINDS[kind] ?? {};
  const all = dots.flatMap(({ predicted, measured }) => [predicted, measured]);
  const from = Math.floor(Math.log10(Math.min(...all, 1e9)));
  const to = Math.max(from + 1, Math.ceil(Math.log10(Math.max(...all, 1e-9))));
  const { width, height, left, right, top, bottom } = SIZE;
  const x = (/** @type {number} */ value) => left + ((Math.log10(value) - from) / (to - from)) * (width - left - right);
  const y = (/** @type {number} */ value) => height - bottom - ((Math.log10(value) - from) / (to - from)) * (height - top - bottom);
  const decades = Array.from({ length: to - from + 1 }, (_, i) => 10 ** (from + i));
  const checks = report.by_use.check?.[kind];
  const name = `${label}: predicted against measured, ${count(dots.length)} runs. ${checks ? `Median error of the ${count(checks.count)} numbers of checks ${percent(checks.median)}.` : ''}`;
  return svg('svg', { viewBox: `0 0 ${width} ${height}`, class: 'scatter', role: 'img', 'aria-label': name },
    decades.flatMap((value) => [
      svg('line', { class: 'grid', x1: x(value), x2: x(value), y1: top, y2: height - bottom }),
      svg('line', { class: 'grid', x1: left, x2: width - right, y1: y(value), y2: y(value) }),
      svg('text', { x: x(value), y: height - bottom + 16, 'text-anchor': 'middle' }, number(value)),
      svg('text', { x: left - 6, y: y(value) + 4, 'text-anchor': 'end' }, number(value)),
    ]),
    svg('line', { class: 'diagonal', x1: x(10 ** from), y1: y(10 ** from), x2: x(10 ** to), y2: y(10 ** to) }),
    svg('text', { x: (left + width - right) / 2, y: height - 6, 'text-anchor': 'middle' }, `measured, ${unit}`),
    svg('text', { transform: `translate(14 ${(top + height - bottom) / 2}) rotate(-90)`, 'text-anchor': 'middle' }, `predicted, ${unit}`),
    dots.map(({ run, predicted, measured, error }) => svg('circle', { class: `mark-${COLOUR[run.framework] ?? 6} ${run.use}`, cx: x(measured), cy: y(predicted), r: 4 },
      svg('title', {}, `${run.id} (${[ENGINE_NAMES[run.framework] ?? run.framework, run.model, run.gpu, run.use].filter(Boolean).join(', ')}): predicted ${number(predicted)}, measured ${number(measured)} ${unit}, ${percent(error)}`))));
}

/** @param {Dot[]} dots */
function legend(dots) {
  const engines = ENGINES.filter((engine) => dots.some(({ run }) => run.framework === engine));
  return h('div', { class: 'legend phases' },
    engines.map((engine) => h('span', {}, h('span', { class: `phase key-${COLOUR[engine]}` }), ENGINE_NAMES[engine])),
    h('span', { class: 'muted' }, 'filled: check, ring: calibration'));
}

/**
 * The report's own statistics: over every number that runs were measured by, means and tails alike.
 * @param {Summary} report
 * @param {string} kind
 */
function errorTable(report, kind) {
  /** @param {string} label @param {Statistics | undefined} found */
  const row = (label, found) =>
    found ? h('tr', {}, h('th', { scope: 'row' }, label), [count(found.count), percent(found.median), percent(found.mean), percent(found.p90), percent(found.bias)].map((cell) => h('td', {}, cell))) : null;
  return h('table', {}, h('caption', { class: 'visually-hidden' }, 'Absolute errors'),
    h('thead', {}, h('tr', {}, ['Runs', 'Numbers', 'Median error', 'Mean', 'p90', 'Median bias'].map((text) => h('th', { scope: 'col' }, text)))),
    h('tbody', {}, row('Checks', report.by_use.check?.[kind]), ENGINES.map((engine) => row(`Checks, ${ENGINE_NAMES[engine]}`, report.checks_by_framework?.[engine]?.[kind])), row('Calibration', report.by_use.calibration?.[kind])));
}

/** @param {[string, string][]} left */
function reasonList(left) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const [, reason] of left) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  return h('ul', {}, [...counts].sort((a, b) => b[1] - a[1]).map(([reason, runs]) => h('li', {}, `${count(runs)}: ${reason}`)));
}
