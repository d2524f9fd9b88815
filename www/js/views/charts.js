// The charts: what each shows, in numbers and words. Drawing is the engine's, the figure around it chart-panel.js's.

import { h, replaceChildren } from '../dom.js';
import { getAt } from '../document.js';
import { titleOf } from '../edit.js';
import { count, number, percent } from '../format.js';
import { withPinned } from '../pinned.js';
import { cssColor } from '../theme.js';
import { createChartPanel } from './chart-panel.js';
import { createMemoryBudget } from './memory-budget.js';
import { countUpTo, merged, style, timePicture } from './over-time.js';
import { swatch } from './swatch.js';

/** @import { Store } from '../store.js' */
/** @import { ChartTheme, Engine, LatencyName, RunResult, SeriesName, State, View } from '../types.js' */
/** @import { Picture, Range } from './chart-panel.js' */

/** @type {Record<LatencyName, { label: string, short: string, target: string | null }>} */
const LATENCIES = {
  ttftMs: { label: 'Time to first token', short: 'TTFT', target: 'metrics_config.slo.ttft_ms' },
  tpotMs: { label: 'Time per output token', short: 'TPOT', target: 'metrics_config.slo.tpot_ms' },
  e2eMs: { label: 'End to end', short: 'E2E', target: 'metrics_config.slo.e2e_ms' },
  queueMs: { label: 'Queue time', short: 'Queue', target: null },
};

/**
 * @param {Store} store
 * @param {Engine} engine
 * @param {(resultIndex: number, atS: number) => void} onMoment  a moment of an entry was picked in its timeline
 */
export function createCharts(store, engine, onMoment) {
  /** @param {Partial<View>} patch */
  const look = (patch) => store.update(({ view }) => ({ view: { ...view, ...patch } }));
  const onError = (/** @type {unknown} */ error) => {
    if (error instanceof Error) throw error;
    console.error('a chart could not be drawn:', error);
  };
  /** @type {((state: State) => void)[]} */
  const updates = [];

  /** @param {string} label @param {[string, string][]} options @param {(view: View) => string} read @param {(value: string) => Partial<View>} write */
  function choice(label, options, read, write) {
    const buttons = options.map(([value, text]) => h('button', { type: 'button', data: { value }, on: { click: () => look(write(value)) } }, text));
    updates.push(({ view }) => buttons.forEach((button) => button.setAttribute('aria-pressed', String(button.dataset.value === read(view)))));
    return h('div', { class: 'segmented', role: 'group', 'aria-label': label }, buttons);
  }

  /** @param {boolean} [withMeasured] */
  function legend(withMeasured = false) {
    const element = h('div', { class: 'legend', role: 'group', 'aria-label': 'Entries shown in the charts' });
    let shown = '';
    updates.push(({ results, view, measured }) => {
      const also = withMeasured && measured && view.latency !== 'queueMs' && measured.said.latencies[view.latency]?.length ? measured.file : '';
      const key = JSON.stringify([results.map(({ name, entryIndex }) => [name, entryIndex]), view.hidden, also]);
      if (key === shown) return;
      shown = key;
      const focused = element.contains(document.activeElement) ? document.activeElement?.textContent : null;
      replaceChildren(element, results.map(({ name, entryIndex }) =>
        h('button', { type: 'button', 'aria-pressed': String(!view.hidden.includes(name)), on: { click: () => look({ hidden: toggled(store.get().view.hidden, name) }) } }, swatch(entryIndex), h('span', {}, name))), also ? h('span', { class: 'measured-key' }, `measured (${also})`) : null);
      if (focused) for (const button of element.children) if (button.textContent === focused && button instanceof HTMLElement) button.focus();
    });
    return element;
  }

  const latency = createChartPanel({
    title: 'Latency distribution', id: 'latency', legend: legend(true), onError,
    controls: [
      choice('Latency', Object.entries(LATENCIES).map(([value, { short }]) => [value, short]), (view) => view.latency, (value) => ({ latency: /** @type {LatencyName} */ (value) })),
      choice('Scale of the x axis', [['log', 'log'], ['linear', 'linear']], (view) => (view.logLatency ? 'log' : 'linear'), (value) => ({ logLatency: value === 'log' })),
    ],
  });
  const throughput = createChartPanel({
    title: 'Throughput over time', id: 'throughput', legend: legend(), onError,
    controls: [choice('Throughput of', [['outputTokensPerS', 'Output tokens'], ['requestsPerS', 'Requests']], (view) => view.throughput, (value) => ({ throughput: value === 'requestsPerS' ? 'requestsPerS' : 'outputTokensPerS' }))],
  });
  const queue = createChartPanel({
    title: 'Requests in the engine', id: 'requests', legend: legend(), onError,
    controls: [choice('Requests that are', [['running', 'Running'], ['waiting', 'Waiting']], (view) => view.queue, (value) => ({ queue: value === 'waiting' ? 'waiting' : 'running' }))],
  });
  const memory = createChartPanel({ title: 'KV memory in use', id: 'kv', legend: legend(), onError, controls: [] });
  const power = createChartPanel({ title: 'Power over time', id: 'power', legend: legend(), onError, controls: [] });
  const budget = createMemoryBudget();
  // Only some experiments have tiers, pools or encoders.
  const special = h('div', { class: 'charts', hidden: true });
  /** @type {ReturnType<typeof import('./operation-charts.js').createOperationCharts> | null} */
  let operations = null;
  /** @param {State} state */
  async function showOperations(state) {
    special.hidden = !state.results.some(({ summary, fleet }) => summary.kv_tiers || summary.encode || (fleet && (fleet.sizes.length > 0 || fleet.replicas.some(({ role }) => role !== ''))));
    if (special.hidden) return;
    if (!operations) {
      const { createOperationCharts } = await import('./operation-charts.js');
      if (!operations) {
        operations = createOperationCharts(engine, legend, onError);
        special.append(...operations.elements);
      }
      state = withPinned(store.get());
      updates.forEach((update) => update(state));
    }
    operations.update(state.results, state.view.hidden, titleOf(state.document) || 'experiment');
  }

  const entrySelect = h('select', { 'aria-label': 'Entry whose requests are shown', on: { change: () => look({ timelineEntry: Number(entrySelect.value) }) } });
  const phases = h('div', { class: 'legend phases' }, [['queued', 'Waiting'], ['prefill', 'Prefill'], ['decode', 'Decode'], ['rejected', 'Rejected']].map(([name, label]) => h('span', {}, h('span', { class: `phase ${name}` }), label)));
  const timeline = createChartPanel({ title: 'Request timeline', id: 'timeline', vertical: true, legend: phases, onError, controls: [entrySelect], onPick: (atS) => onMoment(Number(entrySelect.value) || 0, atS) });
  timeline.element.classList.add('wide', 'tall');

  const element = h('div', { class: 'charts' }, latency.element, throughput.element, queue.element, memory.element, power.element, budget.element, timeline.element);
  const all = h('div', { class: 'all-charts' }, element, special);
  const panels = [latency, throughput, queue, memory, power, timeline];

  return {
    element: all,
    redraw: () => {
      panels.forEach((panel) => panel.redraw());
      operations?.redraw();
    },
    /**
     * @param {State} state
     * @param {State | null} previous
     */
    update(state, previous) {
      const { results, view, document } = state;
      if (previous && previous.results === results && previous.view === view && previous.measured === state.measured) return;
      all.hidden = results.length === 0;
      if (results.length === 0) return;
      updates.forEach((update) => update(state));
      const title = titleOf(document) || 'experiment';
      const shown = results.filter(({ name }) => !view.hidden.includes(name));
      latency.show(latencyPicture(engine, shown, view, targetOf(state), state.measured), title);
      throughput.show(seriesPicture(engine, shown, view.throughput, measuredRate(state)), title);
      queue.show(seriesPicture(engine, shown, view.queue), title);
      memory.show(seriesPicture(engine, shown, 'kvOccupancy'), title);
      // A device whose power limit nobody publishes has no power.
      const powered = shown.filter(({ series }) => series.powerW.length > 0);
      power.element.hidden = powered.length === 0;
      if (powered.length > 0) power.show(seriesPicture(engine, powered, 'powerW'), title);
      // A pinned result is not simulated again: its moments cannot be looked into.
      const own = store.get().results;
      budget.update(own.filter(({ name }) => !view.hidden.includes(name)));
      const chosen = own[view.timelineEntry] ?? own[0];
      replaceChildren(entrySelect, own.map(({ name }, index) => h('option', { value: String(index) }, name)));
      entrySelect.value = String(chosen ? own.indexOf(chosen) : 0);
      if (chosen) timeline.show(timelinePicture(engine, chosen), title);
      void showOperations(state).catch(onError);
    },
  };
}

/**
 * @param {string[]} hidden
 * @param {string} name
 */
function toggled(hidden, name) {
  return hidden.includes(name) ? hidden.filter((other) => other !== name) : [...hidden, name];
}

/**
 * The benchmark's mean of the rate that is shown.
 * @param {State} state
 */
function measuredRate({ measured, view }) {
  const value = measured?.said.measured[view.throughput === 'requestsPerS' ? 'req_s' : 'output_tok_s'];
  return value === undefined ? null : { value, label: 'measured mean' };
}

/** @param {State} state */
function targetOf({ document, view }) {
  const path = LATENCIES[view.latency].target;
  const value = path === null ? undefined : getAt(document, path);
  return typeof value === 'number' ? value : null;
}

// ---- latency -----------------------------------------------------------------------------------------------

/**
 * @param {Engine} engine
 * @param {RunResult[]} results
 * @param {View} view
 * @param {number | null} target
 * @param {State['measured']} measured
 * @returns {Picture}
 */
function latencyPicture(engine, results, view, target, measured) {
  const { label, short } = LATENCIES[view.latency];
  const sorted = results.map((result) => result.latencies[view.latency]);
  // A benchmark that lists its requests has a curve, any other its percentiles.
  const column = (view.latency === 'queueMs' ? undefined : measured?.said.latencies[view.latency]) ?? new Float64Array();
  const marks = ['p50', 'p99'].flatMap((share) => {
    const value = measured?.said.measured[`${short.toLowerCase()}_${share}_ms`];
    return value === undefined || column.length > 0 ? [] : [{ value, label: `measured ${share}` }];
  });
  // A logarithmic axis has no place for zero, which a queue time often is.
  const xLog = view.logLatency && sorted.every((values) => values.length === 0 || (values[0] ?? 0) > 0);
  /** @param {{ width: number, height: number, theme: ChartTheme, devicePixelRatio?: number, range?: Range }} size */
  const options = ({ width, height, theme, devicePixelRatio, range }) => ({
    width, height, theme, devicePixelRatio: devicePixelRatio ?? 1, xLabel: label, xUnit: 'ms', yLabel: 'Share of requests', yUnit: '%', xLog,
    xMarks: [...(target === null ? [] : [{ value: target, label: 'target' }]), ...marks], ...range,
  });
  const lines = (/** @type {boolean} */ dark) => [
    ...results.map((result, i) => ({ ...style(result, dark), values: sorted[i] ?? new Float64Array() })),
    ...(column.length > 0 ? [{ name: 'measured', color: cssColor('--ink'), dash: /** @type {const} */ ('dotted'), values: column }] : []),
  ];
  const said = [...marks.map((mark) => `${mark.label} ${ms(mark.value)}`), ...(column.length > 0 ? [`measured: p50 ${ms(quantile(column, 0.5))}, p90 ${ms(quantile(column, 0.9))}, p99 ${ms(quantile(column, 0.99))}`] : [])];
  const columns = [...sorted, ...(column.length > 0 ? [column] : [])];
  return {
    label,
    draw: (canvas, size) => engine.drawCdf(canvas, lines(size.dark), options(size)),
    svg: (size) => engine.svgCdf(lines(size.dark), options(size)),
    summary: `${label}, cumulative distribution. ${results.map(({ name }, i) => `${name}: p50 ${ms(quantile(sorted[i], 0.5))}, p90 ${ms(quantile(sorted[i], 0.9))}, p99 ${ms(quantile(sorted[i], 0.99))}`).join('. ') || '0 entries shown'}.${said.length > 0 ? ` ${said.join('. ')}.` : ''}`,
    table: () => ({
      head: ['Share', ...results.map(({ name }) => `${name}, ms`), ...(column.length > 0 ? ['measured, ms'] : [])],
      rows: [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1].map((share) => [`p${number(share * 100)}`, ...columns.map((values) => number(quantile(values, share)))]),
    }),
    csv: () => ({
      head: ['share', ...results.map(({ name }) => `${name}, ms`), ...(column.length > 0 ? ['measured, ms'] : [])],
      rows: Array.from({ length: 1001 }, (_, i) => [i / 1000, ...columns.map((values) => quantile(values, i / 1000))]),
    }),
    read: (_frame, x) => ({
      x,
      title: `${label} ≤ ${ms(x)}`,
      rows: [
        ...results.map(({ name, entryIndex }, i) => {
          const share = shareBelow(sorted[i], x);
          return { entryIndex, name, text: percent(share), y: Number.isNaN(share) ? null : share };
        }),
        ...(column.length > 0 ? [{ entryIndex: null, name: 'measured', text: percent(shareBelow(column, x)), y: null }] : []),
      ],
    }),
    step: (frame, x, direction) => {
      const steps = Math.max(-60, Math.min(60, direction));
      const next = frame.xLog ? x * (frame.xMax / frame.xMin) ** (steps / 60) : x + ((frame.xMax - frame.xMin) * steps) / 60;
      return Math.min(frame.xMax, Math.max(frame.xMin, next));
    },
  };
}

/** @param {number} value */
function ms(value) {
  if (!Number.isFinite(value)) return 'no data';
  return value >= 10_000 ? `${number(value / 1000)}\u202fs` : `${number(value)}\u202fms`;
}

/**
 * numpy's linear percentile of ascending values.
 * @param {Float64Array | undefined} sorted
 * @param {number} share
 */
export function quantile(sorted, share) {
  if (!sorted || sorted.length === 0) return NaN;
  const place = share * (sorted.length - 1);
  const low = Math.floor(place);
  const from = sorted[low] ?? NaN;
  const to = sorted[Math.min(low + 1, sorted.length - 1)] ?? from;
  return from + (to - from) * (place - low);
}

/**
 * The share of ascending values at or below x.
 * @param {Float64Array | undefined} sorted
 * @param {number} x
 */
export function shareBelow(sorted, x) {
  if (!sorted || sorted.length === 0) return NaN;
  return countUpTo(sorted, x) / sorted.length;
}

// ---- over time ---------------------------------------------------------------------------------------------

/** @type {Record<SeriesName, { label: string, unit: string, gauge: boolean }>} */
const SERIES = {
  outputTokensPerS: { label: 'Output tokens', unit: 'tokens/s', gauge: false },
  requestsPerS: { label: 'Requests finished', unit: 'req/s', gauge: false },
  running: { label: 'Running', unit: 'requests', gauge: true },
  waiting: { label: 'Waiting', unit: 'requests', gauge: true },
  kvOccupancy: { label: 'KV blocks in use', unit: '%', gauge: true },
  powerW: { label: 'Power of the GPUs', unit: 'W', gauge: false },
  tierHost: { label: 'Host memory for KV in use', unit: '%', gauge: true },
  tierDisk: { label: 'Disk for KV in use', unit: '%', gauge: true },
  tierRemote: { label: 'Remote store for KV in use', unit: '%', gauge: true },
};

/**
 * @param {Engine} engine
 * @param {RunResult[]} results
 * @param {SeriesName} name
 * @param {{ value: number, label: string } | null} [mark]
 * @returns {Picture}
 */
function seriesPicture(engine, results, name, mark = null) {
  const { gauge } = SERIES[name];
  // A rate over a short bin is mostly noise: it is averaged over more of them. A gauge is what it is.
  const runs = results.map(({ name: entry, entryIndex, binS, series }) => {
    const merge = gauge ? 1 : Math.ceil(series[name].length / RATE_BINS);
    return { name: entry, entryIndex, binS: binS * merge, values: merged(series[name], merge) };
  });
  return timePicture(engine, { ...SERIES[name], mark }, runs);
}

const RATE_BINS = 120;

// ---- timeline ----------------------------------------------------------------------------------------------

/**
 * @param {Engine} engine
 * @param {RunResult} result
 * @returns {Picture}
 */
function timelinePicture(engine, result) {
  const { timeline, name, endS } = result;
  const total = timeline.arrivalMs.length;
  /** @param {{ width: number, height: number, theme: ChartTheme, devicePixelRatio?: number, range?: Range }} size */
  const options = ({ width, height, theme, devicePixelRatio, range }) => ({
    width, height, theme, devicePixelRatio: devicePixelRatio ?? 1, xLabel: 'Simulated time', xUnit: 's', yLabel: 'Request', yUnit: '',
    queuedColor: cssColor('--queued'), prefillColor: cssColor('--prefill'), decodeColor: cssColor('--decode'), rejectedColor: cssColor('--rejected'), ...range,
  });
  const data = { ...timeline, endMs: endS * 1000 };
  const row = (/** @type {number} */ index) => {
    const arrival = timeline.arrivalMs[index] ?? NaN;
    const scheduled = timeline.scheduledMs[index] ?? NaN;
    const first = timeline.firstTokenMs[index] ?? NaN;
    const finish = timeline.finishMs[index] ?? NaN;
    const rejected = timeline.status[index] === 2;
    return { arrival, waited: scheduled - arrival, prefill: first - scheduled, decode: finish - first, state: rejected ? 'rejected' : timeline.status[index] === 3 ? 'cancelled' : Number.isNaN(finish) ? 'unfinished' : 'done' };
  };
  const ended = timeline.status.reduce((sum, status) => sum + (status === 1 ? 1 : 0), 0);
  return {
    label: name,
    draw: (canvas, size) => engine.drawTimeline(canvas, data, options(size)),
    svg: (size) => engine.svgTimeline(data, options(size)),
    summary: `Timeline of ${count(total)} requests of ${name} over ${number(endS)} simulated seconds; ${count(ended)} got their last token.`,
    table() {
      const stride = Math.max(1, Math.ceil(total / 50));
      const rows = Array.from({ length: Math.ceil(total / stride) }, (_, i) => i * stride);
      return {
        head: ['Request', 'Arrival, s', 'Waiting, ms', 'Prefill, ms', 'Decode, ms', 'End'],
        rows: rows.map((index) => {
          const { arrival, waited, prefill, decode, state } = row(index);
          return [count(index + 1), number(arrival / 1000), number(waited), number(prefill), number(decode), state];
        }),
      };
    },
    csv: () => ({
      head: ['request', 'arrival_ms', 'waiting_ms', 'prefill_ms', 'decode_ms', 'end'],
      rows: Array.from({ length: total }, (_, index) => {
        const { arrival, waited, prefill, decode, state } = row(index);
        return [index + 1, arrival, waited, prefill, decode, state];
      }),
    }),
    read(_frame, _x, y) {
      if (total === 0) return null;
      const index = Math.min(total - 1, Math.max(0, Math.round(y) - 1));
      const { arrival, waited, prefill, decode, state } = row(index);
      return {
        x: index + 1,
        title: `Request ${count(index + 1)}, arrived at ${number(arrival / 1000)}\u202fs`,
        rows: [
          { entryIndex: null, name: 'Waiting', text: ms(waited), y: null },
          { entryIndex: null, name: 'Prefill', text: ms(prefill), y: null },
          { entryIndex: null, name: 'Decode', text: state === 'done' ? ms(decode) : state, y: null },
        ],
      };
    },
    step: (_frame, y, direction) => Math.min(total, Math.max(1, y + (Number.isFinite(direction) ? direction : direction < 0 ? -total : total))),
  };
}
