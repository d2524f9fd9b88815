// Pictures of something over simulated time: a line a run, read off and told in words like every chart.

import { compact, number, percent } from '../format.js';
import { entryColor, entryDash } from '../palette.js';

/** @import { ChartSeries, ChartTheme, Engine, RunResult } from '../types.js' */
/** @import { Picture, Range } from './chart-panel.js' */

/**
 * @typedef {object} Line
 * @property {string} name
 * @property {number} entryIndex  decides its colour
 * @property {number} [dashIndex]  and this its dash, where an entry has several lines
 * @property {number} binS
 * @property {Float64Array} values  one a bin
 * @property {Float64Array} [atS]  in place of bins: from when on each value holds
 *
 * @typedef {object} Quantity
 * @property {string} label
 * @property {string} unit  `%` of fractions of one
 * @property {boolean} gauge  a sample at the end of its bin, not a rate or mean over it
 * @property {{ value: number, label: string } | null} [mark]
 */

/**
 * @param {Engine} engine
 * @param {Quantity} quantity
 * @param {Line[]} runs
 * @returns {Picture}
 */
export function timePicture(engine, { label, unit, gauge, mark = null }, runs) {
  const show = (/** @type {number | undefined} */ value) => (unit === '%' ? percent(value) : `${compact(value)} ${unit}`);
  const offset = gauge ? 1 : 0.5;
  const stepped = runs.some(({ atS }) => atS !== undefined);
  /** @param {{ width: number, height: number, theme: ChartTheme, devicePixelRatio?: number, range?: Range }} size */
  const options = ({ width, height, theme, devicePixelRatio, range }) => ({
    width, height, theme, devicePixelRatio: devicePixelRatio ?? 1, xLabel: 'Simulated time', xUnit: 's', yLabel: label, yUnit: unit, xMin: 0, yFromZero: true, yMarks: mark ? [mark] : [],
    ...(stepped ? { mode: /** @type {const} */ ('step') } : {}), ...range,
  });
  /** @returns {ChartSeries[]} */
  const lines = (/** @type {boolean} */ dark) => runs.map(({ name, entryIndex, dashIndex, values, atS, binS }) => ({
    name, color: entryColor(entryIndex, dark), dash: entryDash(dashIndex ?? entryIndex), values, ...(atS ? { x: atS } : { xStart: binS * offset, xStep: binS }),
  }));
  const at = (/** @type {Line} */ run, /** @type {number} */ timeS) => (run.atS ? run.values[lastAt(run.atS, timeS)] : run.values[Math.round(timeS / run.binS - offset)]);
  const binS = Math.min(...runs.map((run) => run.binS));
  const cell = (/** @type {number | undefined} */ value) => (unit === '%' ? percent(value) : number(value));

  /** @param {number} most  rows */
  function moments(most) {
    if (stepped) {
      const all = [...new Set(runs.flatMap(({ atS }) => [...(atS ?? [])]))].sort((a, b) => a - b);
      const stride = Math.max(1, Math.ceil(all.length / most));
      return all.filter((_, i) => i % stride === 0);
    }
    const longest = Math.max(0, ...runs.map((run) => run.values.length));
    const stride = Math.max(1, Math.ceil(longest / most));
    return Array.from({ length: Math.ceil(longest / stride) }, (_, i) => (i * stride + offset) * binS);
  }
  const head = ['Time, s', ...runs.map((run) => `${run.name}, ${unit}`)];

  return {
    label,
    draw: (canvas, size) => engine.drawLines(canvas, lines(size.dark), options(size)),
    svg: (size) => engine.svgLines(lines(size.dark), options(size)),
    summary: `${label} over simulated time. ${runs.map((run) => `${run.name}: mean ${show(meanOf(run))}, highest ${show(highest(run.values))}`).join('. ') || '0 entries shown'}.${mark ? ` ${mark.label}: ${show(mark.value)}.` : ''}`,
    table: () => ({ head, rows: moments(40).map((timeS) => [number(timeS), ...runs.map((run) => cell(at(run, timeS)))]) }),
    csv: () => ({ head: head.map((text) => text.replace(/, %$/, ', share')), rows: moments(Infinity).map((timeS) => [timeS, ...runs.map((run) => at(run, timeS))]) }),
    read(_frame, x) {
      if (runs.length === 0) return null;
      const timeS = stepped ? x : (Math.max(0, Math.round(x / binS - offset)) + offset) * binS;
      return {
        x: timeS,
        title: `${number(timeS)}\u202fs`,
        rows: runs.map((run) => {
          const value = at(run, timeS);
          return { entryIndex: run.entryIndex, name: run.name, text: value === undefined ? 'ended' : show(value), y: value ?? null };
        }),
      };
    },
    step(frame, x, direction) {
      if (!Number.isFinite(direction)) return direction < 0 ? frame.xMin : frame.xMax;
      const stride = stepped ? (frame.xMax - frame.xMin) / 120 : binS * Math.max(1, Math.round((frame.xMax - frame.xMin) / binS / 120));
      return Math.min(frame.xMax, Math.max(frame.xMin, x + direction * stride));
    },
  };
}

/**
 * How many of ascending values are at or below x.
 * @param {Float64Array} ascending
 * @param {number} x
 */
export function countUpTo(ascending, x) {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (/** @type {number} */ (ascending[middle]) <= x) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * The last of ascending values at or below x; 0 when there is none.
 * @param {Float64Array} ascending
 * @param {number} x
 */
export const lastAt = (ascending, x) => Math.max(0, countUpTo(ascending, x) - 1);

/** Over time where values hold for unequal spans. @param {Line} line */
function meanOf({ values, atS }) {
  if (!atS || atS.length < 2) return mean(values);
  let sum = 0;
  for (let i = 0; i + 1 < atS.length; i += 1) sum += (values[i] ?? 0) * ((atS[i + 1] ?? 0) - (atS[i] ?? 0));
  const span = (atS.at(-1) ?? 0) - (atS[0] ?? 0);
  return span > 0 ? sum / span : mean(values);
}

/**
 * Means of every `count` values.
 * @param {Float64Array} values
 * @param {number} count
 */
export function merged(values, count) {
  if (count <= 1) return values;
  return Float64Array.from({ length: Math.ceil(values.length / count) }, (_, i) => mean(values.subarray(i * count, (i + 1) * count)));
}

/** @param {Float64Array} values */
export function mean(values) {
  return values.length === 0 ? NaN : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** @param {Float64Array} values */
function highest(values) {
  return values.reduce((top, value) => (value > top ? value : top), 0);
}

/**
 * What of an entry decides how its line looks.
 * @param {Pick<RunResult, 'name' | 'entryIndex'>} result
 * @param {boolean} dark
 */
export function style({ name, entryIndex }, dark) {
  return { name, color: entryColor(entryIndex, dark), dash: entryDash(entryIndex) };
}
