// Each replica's load over the run: a row a replica, a column a bin, stronger where there is more; what happened to it, as marks.

import { h, replaceChildren } from '../dom.js';
import { number } from '../format.js';

/** @import { FleetLoad, RunResult } from '../types.js' */

/** What a mark tells, by kind of event: class of its key, and words. @type {Record<string, [style: string, words: string]>} */
const MARKS = {
  failed: ['--bad-ink', 'fails'], taken_down: ['--bad-ink', 'fails'], cut_off: ['--bad-ink', 'fails'],
  starting: ['--entry-4', 'starts or drains'], draining: ['--entry-4', 'starts or drains'],
  serving: ['--good', 'serves'], reconnected: ['--good', 'serves'],
};
/** Ticks of the axis of time. */
const TICKS = 5;

/**
 * @param {object} options
 * @param {(bin: number) => void} options.onPick
 * @param {(replica: number, bin: number) => string} options.read  a cell in words
 * @param {() => void} options.onResize
 */
export function createHeat({ onPick, read, onResize }) {
  const canvas = h('canvas', { role: 'img' });
  const cursor = h('div', { class: 'fleet-cursor' });
  const tip = h('div', { class: 'tip', hidden: true });
  const rows = h('div', { class: 'heat-rows', 'aria-hidden': 'true' });
  const axis = h('div', { class: 'heat-axis', 'aria-hidden': 'true' });
  const holder = h('div', { class: 'fleet-heat' }, canvas, cursor, tip);
  const key = h('p', { class: 'heat-key muted' });
  const element = h('div', { class: 'heat' }, rows, holder, axis);
  /** @type {FleetLoad | null} */
  let fleet = null;

  /** @param {PointerEvent | MouseEvent} event */
  function cellAt(event) {
    const bounds = canvas.getBoundingClientRect();
    const at = (/** @type {number} */ share, /** @type {number} */ of) => Math.min(of - 1, Math.max(0, Math.floor(share * of)));
    return fleet ? { bin: at((event.clientX - bounds.left) / bounds.width, fleet.bins), replica: at((event.clientY - bounds.top) / bounds.height, fleet.replicas.length), bounds } : null;
  }
  canvas.addEventListener('click', (event) => {
    const cell = cellAt(event);
    if (cell) onPick(cell.bin);
  });
  canvas.addEventListener('pointermove', (event) => {
    const cell = cellAt(event);
    if (!cell) return;
    tip.textContent = read(cell.replica, cell.bin);
    tip.hidden = false;
    const [x, y] = [event.clientX - cell.bounds.left, event.clientY - cell.bounds.top];
    tip.style.transform = `translate(${Math.max(2, x > cell.bounds.width / 2 ? x - 12 - tip.offsetWidth : x + 12)}px, ${Math.max(0, Math.min(cell.bounds.height - tip.offsetHeight, y - 12))}px)`;
  });
  canvas.addEventListener('pointerleave', () => { tip.hidden = true; });
  new ResizeObserver(onResize).observe(holder);

  return {
    element,
    key,
    canvas,
    /** @param {number} bin */
    moveTo(bin) {
      if (fleet) cursor.style.left = `${(100 * (bin + 0.5)) / fleet.bins}%`;
    },
    /**
     * @param {RunResult} result
     * @param {FleetLoad} current
     * @param {Float64Array} values
     * @param {number} top
     * @param {string} strongest  in words
     */
    draw(result, current, values, top, strongest) {
      fleet = current;
      const marks = draw(canvas, holder, result, current, values, top);
      const height = Number.parseFloat(canvas.style.height) || 0;
      // As many numbers as there is room for.
      const every = Math.max(1, Math.ceil((14 * current.replicas.length) / Math.max(1, height)));
      rows.style.height = `${height}px`;
      replaceChildren(rows, current.replicas.flatMap((_, index) => {
        if (index % every !== 0) return [];
        const label = h('span', {}, String(index));
        label.style.top = `${(100 * (index + 0.5)) / current.replicas.length}%`;
        return [label];
      }));
      replaceChildren(axis, Array.from({ length: TICKS }, (_, i) => h('span', {}, `${number((result.endS * i) / (TICKS - 1))}${i === TICKS - 1 ? '\u202fs' : ''}`)));
      replaceChildren(key, h('span', {}, 'Replica by replica over simulated time'), h('span', { class: 'heat-scale' }, '0', h('span', { class: 'heat-ramp' }), strongest),
        [...marks].map(([style, words]) => h('span', { class: 'heat-mark' }, h('span', { class: `mark mark${style}` }), words)));
    },
    /** @param {string} words */
    say(words) {
      canvas.setAttribute('aria-label', words);
    },
  };
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {HTMLElement} holder
 * @param {RunResult} result
 * @param {FleetLoad} fleet
 * @param {Float64Array} values
 * @param {number} top
 * @returns {Map<string, string>} the marks that were drawn, in words
 */
function draw(canvas, holder, { endS, summary }, { replicas, bins }, values, top) {
  /** @type {Map<string, string>} */
  const drawn = new Map();
  const width = holder.clientWidth;
  const context = canvas.getContext('2d');
  if (width < 40 || !context) return drawn;
  const rows = replicas.length;
  const row = Math.max(2, Math.min(18, Math.floor(420 / rows)));
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(rows * row * ratio);
  canvas.style.height = `${rows * row}px`;
  const colors = getComputedStyle(document.documentElement);
  const color = (/** @type {string} */ name) => colors.getPropertyValue(name).trim();
  context.fillStyle = color('--sunken');
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = color('--accent');
  const gap = row >= 6 ? ratio : 0;
  for (let replica = 0; replica < rows; replica += 1) {
    for (let bin = 0; bin < bins; bin += 1) {
      const value = values[replica * bins + bin] ?? 0;
      if (!(value > 0)) continue;
      // The least load there is can be told from none.
      context.globalAlpha = 0.12 + 0.88 * Math.min(1, value / top);
      const left = Math.round((bin / bins) * canvas.width);
      context.fillRect(left, Math.round(replica * row * ratio), Math.round(((bin + 1) / bins) * canvas.width) - left, Math.round(row * ratio - gap));
    }
  }
  context.globalAlpha = 1;
  for (const { at_s: at, kind, replica } of summary.operations?.events ?? []) {
    const mark = MARKS[kind];
    if (!mark || replica === null) continue;
    drawn.set(...mark);
    context.fillStyle = color(mark[0]);
    context.fillRect(Math.round((at / Math.max(endS, 1e-9)) * canvas.width), Math.round(replica * row * ratio), Math.max(2, 2 * ratio), Math.round(row * ratio - gap));
  }
  return drawn;
}
