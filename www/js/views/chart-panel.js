// A figure: title, choices, legend, the drawn canvas, a crosshair over it, a data table behind a toggle, downloads.
// The engine draws; what the pointer or the arrow keys read off is laid over it as ordinary elements.

import { h, replaceChildren, uniqueId } from '../dom.js';
import { chartTheme, isDark } from '../theme.js';
import { saveBlob, saveText } from '../download.js';
import { fileStem } from '../format.js';

/** @import { ChartTheme, Frame } from '../types.js' */

/**
 * What a chart shows of the current results. Everything is worked out when it is asked for.
 * @typedef {object} Reading
 * @property {number} x  data value the cursor snaps to
 * @property {string} title  the position, in words
 * @property {{ entryIndex: number | null, name: string, text: string, y: number | null }[]} rows
 *
 * @typedef {object} Picture
 * @property {(canvas: HTMLCanvasElement, size: { width: number, height: number, theme: ChartTheme, dark: boolean, devicePixelRatio: number }) => Frame} draw
 * @property {(size: { width: number, height: number, theme: ChartTheme, dark: boolean }) => string} svg
 * @property {string} summary  one sentence with the main numbers: the canvas' accessible name
 * @property {() => { head: string[], rows: (string | number)[][] }} table
 * @property {(frame: Frame, x: number, y: number) => Reading | null} read  at a point in data units
 * @property {(frame: Frame, x: number, direction: number) => number} step  the next position of the cursor for an arrow key
 *
 * @typedef {object} PanelOptions
 * @property {string} title
 * @property {string} id  stem of file names
 * @property {HTMLElement[]} controls
 * @property {HTMLElement} legend
 * @property {boolean} [vertical]  arrow keys and cursor move along y
 * @property {((x: number) => void)} [onPick]  a click at this x, data units
 * @property {(error: unknown) => void} onError
 */

/** Exports have a size of their own, whatever the window. */
const EXPORT = { width: 960, height: 480 };

/** @param {PanelOptions} options */
export function createChartPanel({ title, id, controls, legend, vertical = false, onPick, onError }) {
  const canvas = h('canvas', { role: 'img', 'aria-label': `${title}: no data yet` });
  const line = h('div', { class: vertical ? 'cursor-line horizontal' : 'cursor-line', hidden: true });
  const dots = h('div', {});
  const tip = h('div', { class: 'tip', hidden: true });
  const overlay = h('div', {
    class: 'overlay', role: 'slider', tabindex: 0, 'aria-label': `Cursor in “${title}”`, 'aria-valuemin': 0, 'aria-valuemax': 100, 'aria-valuenow': 0,
    'aria-valuetext': 'Arrow keys read values off', 'aria-orientation': vertical ? 'vertical' : 'horizontal',
  }, line, dots, tip);
  const plot = h('div', { class: 'plot' }, canvas, overlay);
  const tableHolder = h('div', { class: 'table-scroll', role: 'region', 'aria-label': `${title}: data`, tabindex: 0 });
  const data = h('details', { class: 'data' }, h('summary', {}, 'Data'), tableHolder);
  const save = h('div', { class: 'chart-saves' },
    h('button', { type: 'button', class: 'quiet small', 'aria-label': `${title}: download SVG`, on: { click: () => saveSvg() } }, 'SVG'),
    h('button', { type: 'button', class: 'quiet small', 'aria-label': `${title}: download PNG`, on: { click: () => savePng() } }, 'PNG'));
  const headingId = uniqueId('chart');
  const element = h('figure', { class: 'chart', 'aria-labelledby': headingId },
    h('div', { class: 'chart-head' }, h('h3', { id: headingId }, title), h('div', { class: 'chart-controls' }, controls)),
    plot, legend,
    h('div', { class: 'chart-foot' }, data, save));

  /** @type {Picture | null} */
  let picture = null;
  /** @type {Frame | null} */
  let frame = null;
  let requested = 0;
  /** @type {{ x: number, y: number } | null} */
  let cursor = null;
  let fileName = id;

  function requestDraw() {
    if (requested === 0) requested = requestAnimationFrame(draw);
  }

  function draw() {
    requested = 0;
    const { width, height } = plot.getBoundingClientRect();
    if (!picture || width < 80 || height < 60) return;
    try {
      frame = picture.draw(canvas, { width, height, theme: chartTheme(), dark: isDark(), devicePixelRatio: window.devicePixelRatio });
    } catch (error) {
      frame = null;
      onError(error);
    }
    overlay.hidden = frame === null || frame.empty;
    if (cursor) place(cursor.x, cursor.y);
  }

  /**
   * @param {number} x
   * @param {number} y
   */
  function place(x, y) {
    const reading = frame && !frame.empty ? picture?.read(frame, x, y) : null;
    if (!frame || !reading) return clear();
    cursor = { x: reading.x, y: vertical ? reading.x : y };
    const main = vertical ? yToPx(frame, reading.x) : xToPx(frame, reading.x);
    line.hidden = false;
    if (vertical) {
      line.style.width = `${frame.width}px`;
      line.style.transform = `translate(${frame.x}px, ${main}px)`;
    } else {
      line.style.height = `${frame.height}px`;
      line.style.transform = `translate(${main}px, ${frame.y}px)`;
    }
    const current = frame;
    replaceChildren(dots, vertical ? null : reading.rows.filter(({ y: value }) => value !== null).map(({ entryIndex, y: value }) => {
      const dot = h('div', { class: `dot entry-${(entryIndex ?? 0) % 8}` });
      dot.style.transform = `translate(${main}px, ${yToPx(current, value ?? 0)}px)`;
      return dot;
    }));
    replaceChildren(tip, h('p', { class: 'tip-title' }, reading.title), reading.rows.map(({ entryIndex, name, text }) =>
      h('p', { class: 'tip-row' }, entryIndex === null ? null : h('span', { class: `tip-key entry-${entryIndex % 8}` }), h('span', {}, name), h('strong', {}, text))));
    tip.hidden = false;
    const left = vertical ? current.x + current.width / 2 : main;
    const flip = left > current.x + current.width / 2;
    tip.classList.toggle('flip', flip);
    const top = vertical ? (main > current.y + current.height / 2 ? main - 12 - tip.offsetHeight : main + 12) : current.y + 8;
    tip.style.transform = vertical
      ? `translate(${Math.max(4, left - tip.offsetWidth / 2)}px, ${top}px)`
      : `translate(${flip ? Math.max(4, left - 12 - tip.offsetWidth) : Math.min(left + 12, current.x + current.width - tip.offsetWidth)}px, ${top}px)`;
    const span = vertical ? current.yMax - current.yMin : current.xMax - current.xMin;
    const from = vertical ? current.yMin : current.xMin;
    overlay.setAttribute('aria-valuenow', String(Math.round((100 * (reading.x - from)) / span) || 0));
    overlay.setAttribute('aria-valuetext', `${reading.title}. ${reading.rows.map(({ name, text }) => `${name}: ${text}`).join('; ')}`);
  }

  function clear() {
    cursor = null;
    line.hidden = true;
    tip.hidden = true;
    replaceChildren(dots);
  }

  overlay.addEventListener('pointermove', (event) => {
    if (!frame) return;
    const box = overlay.getBoundingClientRect();
    place(pxToX(frame, event.clientX - box.left), pxToY(frame, event.clientY - box.top));
  });
  overlay.addEventListener('click', (event) => {
    if (frame && !frame.empty) onPick?.(pxToX(frame, event.clientX - overlay.getBoundingClientRect().left));
  });
  overlay.addEventListener('pointerleave', () => {
    if (document.activeElement !== overlay) clear();
  });
  overlay.addEventListener('blur', clear);
  overlay.addEventListener('keydown', (event) => {
    const directions = /** @type {Record<string, number>} */ ({ ArrowRight: 1, ArrowLeft: -1, ArrowUp: vertical ? -1 : 1, ArrowDown: vertical ? 1 : -1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity });
    const direction = directions[event.key];
    if (!frame || !picture || direction === undefined) {
      if (event.key === 'Escape') clear();
      return;
    }
    event.preventDefault();
    const middle = vertical ? (frame.yMin + frame.yMax) / 2 : pxToX(frame, frame.x + frame.width / 2);
    const from = cursor?.x ?? middle;
    const to = cursor ? picture.step(frame, from, direction) : from;
    place(vertical ? middle : to, vertical ? to : 0);
  });

  function saveSvg() {
    if (picture) saveText(`${fileName}.svg`, picture.svg({ ...EXPORT, theme: chartTheme(), dark: isDark() }), 'image/svg+xml');
  }

  function savePng() {
    if (!picture) return;
    const sheet = document.createElement('canvas');
    picture.draw(sheet, { ...EXPORT, theme: chartTheme(), dark: isDark(), devicePixelRatio: 2 });
    sheet.toBlob((blob) => {
      if (blob) saveBlob(`${fileName}.png`, blob);
    }, 'image/png');
  }

  function fillTable() {
    if (!data.open || !picture) return;
    const { head, rows } = picture.table();
    replaceChildren(tableHolder, h('table', {}, h('caption', { class: 'visually-hidden' }, title),
      h('thead', {}, h('tr', {}, head.map((text) => h('th', { scope: 'col' }, text)))),
      h('tbody', {}, rows.map(([first, ...rest]) => h('tr', {}, h('th', { scope: 'row' }, first), rest.map((cell) => h('td', {}, cell)))))));
  }
  data.addEventListener('toggle', fillTable);

  new ResizeObserver(requestDraw).observe(plot);

  return {
    element,
    redraw: requestDraw,
    /**
     * @param {Picture} next
     * @param {string} experiment
     */
    show(next, experiment) {
      picture = next;
      fileName = `${fileStem(experiment)}-${id}`;
      canvas.setAttribute('aria-label', next.summary);
      fillTable();
      requestDraw();
    },
  };
}

/**
 * @param {Frame} frame
 * @param {number} px
 */
function pxToX(frame, px) {
  const share = Math.min(1, Math.max(0, (px - frame.x) / frame.width));
  if (frame.xLog) return frame.xMin * (frame.xMax / frame.xMin) ** share;
  return frame.xMin + share * (frame.xMax - frame.xMin);
}

/**
 * @param {Frame} frame
 * @param {number} px
 */
function pxToY(frame, px) {
  const share = Math.min(1, Math.max(0, (px - frame.y) / frame.height));
  return frame.yMax + share * (frame.yMin - frame.yMax);
}

/**
 * @param {Frame} frame
 * @param {number} value
 */
function xToPx(frame, value) {
  const share = frame.xLog ? Math.log(value / frame.xMin) / Math.log(frame.xMax / frame.xMin) : (value - frame.xMin) / (frame.xMax - frame.xMin);
  return frame.x + Math.min(1, Math.max(0, share)) * frame.width;
}

/**
 * @param {Frame} frame
 * @param {number} value
 */
function yToPx(frame, value) {
  const share = (value - frame.yMax) / (frame.yMin - frame.yMax);
  return frame.y + Math.min(1, Math.max(0, share)) * frame.height;
}
