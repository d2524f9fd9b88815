// A figure: title, choices, legend, the drawn canvas, a crosshair over it, a data table behind a toggle, downloads.
// The engine draws; what the pointer or the arrow keys read off is laid over it as ordinary elements.

import { h, replaceChildren, uniqueId } from '../dom.js';
import { chartTheme, isDark } from '../theme.js';
import { saveBlob, saveText } from '../download.js';
import { fileStem } from '../format.js';

/** @import { ChartTheme, Frame } from '../types.js' */

/**
 * The part of the axes that is shown; all of them where it is absent. Zooming keeps to x, in vertical charts to both.
 * @typedef {{ xMin?: number, xMax?: number, yMin?: number, yMax?: number }} Range
 *
 * What a chart shows of the current results. Everything is worked out when it is asked for.
 * @typedef {object} Reading
 * @property {number} x  data value the cursor snaps to
 * @property {string} title  the position, in words
 * @property {{ entryIndex: number | null, name: string, text: string, y: number | null }[]} rows
 *
 * @typedef {object} Picture
 * @property {(canvas: HTMLCanvasElement, size: { width: number, height: number, theme: ChartTheme, dark: boolean, devicePixelRatio: number, range?: Range }) => Frame} draw
 * @property {(size: { width: number, height: number, theme: ChartTheme, dark: boolean, range?: Range }) => string} svg
 * @property {string} label  what is drawn: a zoom is kept while it stays the same
 * @property {string} summary  one sentence with the main numbers: the canvas' accessible name
 * @property {() => { head: string[], rows: (string | number)[][] }} table  as much as a reader takes in
 * @property {() => { head: string[], rows: (string | number | undefined)[][] }} csv  everything, as numbers
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
  const box = h('div', { class: 'zoom-box', hidden: true });
  const overlay = h('div', {
    class: 'overlay', role: 'slider', tabindex: 0, 'aria-label': `Cursor in “${title}”`, 'aria-valuemin': 0, 'aria-valuemax': 100, 'aria-valuenow': 0,
    'aria-valuetext': 'Arrow keys read values off, plus and minus zoom, 0 shows everything', 'aria-orientation': vertical ? 'vertical' : 'horizontal',
  }, line, dots, box, tip);
  const plot = h('div', { class: 'plot' }, canvas, overlay);
  const tableHolder = h('div', { class: 'table-scroll', role: 'region', 'aria-label': `${title}: data`, tabindex: 0 });
  const data = h('details', { class: 'data' }, h('summary', {}, 'Data'), tableHolder);
  const closer = h('button', { type: 'button', class: 'quiet small', 'aria-label': `${title}: zoom in`, title: 'Zoom in: drag over the chart, or +', on: { click: () => zoomBy(0.5) } }, 'Zoom in');
  const wider = h('button', { type: 'button', class: 'quiet small', 'aria-label': `${title}: zoom out`, title: 'Zoom out: −', hidden: true, on: { click: () => zoomBy(2) } }, 'Zoom out');
  const whole = h('button', { type: 'button', class: 'quiet small', 'aria-label': `${title}: show everything`, title: 'Show everything: double click, or 0', hidden: true, on: { click: () => zoomTo(null) } }, 'Show all');
  const save = h('div', { class: 'chart-saves' }, closer, wider, whole,
    h('button', { type: 'button', class: 'quiet small', 'aria-label': `${title}: download CSV`, on: { click: () => saveCsv() } }, 'CSV'),
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
  /** @type {Range | null} */
  let range = null;
  /** What is shown without a range. @type {Frame | null} */
  let full = null;

  function requestDraw() {
    if (requested === 0) requested = requestAnimationFrame(draw);
  }

  function draw() {
    requested = 0;
    const { width, height } = plot.getBoundingClientRect();
    if (!picture || width < 80 || height < 60) return;
    try {
      frame = picture.draw(canvas, { width, height, theme: chartTheme(), dark: isDark(), devicePixelRatio: window.devicePixelRatio, ...(range ? { range } : {}) });
      if (frame.empty && range) {
        range = null;
        frame = picture.draw(canvas, { width, height, theme: chartTheme(), dark: isDark(), devicePixelRatio: window.devicePixelRatio });
      }
      if (!range) full = frame;
    } catch (error) {
      frame = null;
      onError(error);
    }
    overlay.hidden = frame === null || frame.empty;
    closer.hidden = overlay.hidden;
    // A button that goes away must not take the focus with it.
    if (!range && (document.activeElement === wider || document.activeElement === whole)) closer.focus();
    wider.hidden = whole.hidden = range === null;
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

  /** @param {Range | null} to */
  function zoomTo(to) {
    range = to;
    clear();
    requestDraw();
  }

  /** Makes the shown span `factor` times as long, about the cursor or the middle. @param {number} factor */
  function zoomBy(factor) {
    if (!frame || frame.empty || !full) return;
    const scale = (/** @type {number} */ value) => (frame?.xLog ? Math.log(value) : value);
    const back = (/** @type {number} */ value) => (frame?.xLog ? Math.exp(value) : value);
    const [from, to] = [scale(frame.xMin), scale(frame.xMax)];
    const about = cursor && !vertical ? scale(cursor.x) : (from + to) / 2;
    const [least, most] = [scale(full.xMin), scale(full.xMax)];
    const [low, high] = [Math.max(least, about - (about - from) * factor), Math.min(most, about + (to - about) * factor)];
    if (low <= least && high >= most) return zoomTo(null);
    // Nothing is finer than a millionth of the whole.
    if (high - low > (most - least) * 1e-6) zoomTo({ ...range, xMin: back(low), xMax: back(high) });
  }

  /** @type {{ id: number, x: number, y: number, moved: boolean } | null} */
  let drag = null;
  overlay.addEventListener('pointerdown', (event) => {
    // A finger scrolls and reads values off; it zooms by the buttons.
    if (event.button !== 0 || event.pointerType === 'touch' || !frame || frame.empty) return;
    const bounds = overlay.getBoundingClientRect();
    drag = { id: event.pointerId, x: event.clientX - bounds.left, y: event.clientY - bounds.top, moved: false };
  });
  overlay.addEventListener('pointerup', (event) => {
    const done = drag;
    box.hidden = true;
    if (!done?.moved || !frame) {
      drag = null;
      return;
    }
    const bounds = overlay.getBoundingClientRect();
    const [x, y] = [event.clientX - bounds.left, event.clientY - bounds.top];
    const xs = [pxToX(frame, done.x), pxToX(frame, x)].sort((a, b) => a - b);
    const ys = [pxToY(frame, done.y), pxToY(frame, y)].sort((a, b) => a - b);
    zoomTo({ xMin: xs[0] ?? 0, xMax: xs[1] ?? 0, ...(vertical && Math.abs(y - done.y) > 12 ? { yMin: Math.max(1, Math.floor(ys[0] ?? 1)), yMax: Math.ceil(ys[1] ?? 1) } : {}) });
    // The click that follows is the end of the drag.
    setTimeout(() => { drag = null; }, 0);
  });
  overlay.addEventListener('dblclick', () => zoomTo(null));

  /** @param {number} x @param {number} y */
  function dragTo(x, y) {
    if (!drag || !frame) return;
    if (!drag.moved && Math.abs(x - drag.x) < 5) return;
    if (!drag.moved) overlay.setPointerCapture(drag.id);
    drag.moved = true;
    const clip = (/** @type {number} */ px) => Math.min(frame ? frame.x + frame.width : px, Math.max(frame?.x ?? 0, px));
    const [left, right] = [clip(Math.min(x, drag.x)), clip(Math.max(x, drag.x))];
    const tall = vertical && Math.abs(y - drag.y) > 12;
    const [top, bottom] = tall ? [Math.min(y, drag.y), Math.max(y, drag.y)] : [frame.y, frame.y + frame.height];
    box.hidden = false;
    box.style.transform = `translate(${left}px, ${top}px)`;
    box.style.width = `${right - left}px`;
    box.style.height = `${bottom - top}px`;
  }

  overlay.addEventListener('pointermove', (event) => {
    if (!frame) return;
    if (drag) dragTo(event.clientX - overlay.getBoundingClientRect().left, event.clientY - overlay.getBoundingClientRect().top);
    const bounds = overlay.getBoundingClientRect();
    place(pxToX(frame, event.clientX - bounds.left), pxToY(frame, event.clientY - bounds.top));
  });
  overlay.addEventListener('click', (event) => {
    if (frame && !frame.empty && !drag?.moved) onPick?.(pxToX(frame, event.clientX - overlay.getBoundingClientRect().left));
  });
  overlay.addEventListener('pointerleave', () => {
    if (document.activeElement !== overlay) clear();
  });
  overlay.addEventListener('blur', clear);
  overlay.addEventListener('keydown', (event) => {
    const directions = /** @type {Record<string, number>} */ ({ ArrowRight: 1, ArrowLeft: -1, ArrowUp: vertical ? -1 : 1, ArrowDown: vertical ? 1 : -1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity });
    const direction = directions[event.key];
    const zoom = /** @type {Record<string, () => void>} */ ({ '+': () => zoomBy(0.5), '=': () => zoomBy(0.5), '-': () => zoomBy(2), 0: () => zoomTo(null) })[event.key];
    if (zoom && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      zoom();
      return;
    }
    if (!frame || !picture || direction === undefined) {
      if (event.key === 'Escape') clear();
      return;
    }
    event.preventDefault();
    const middle = vertical ? (frame.yMin + frame.yMax) / 2 : pxToX(frame, frame.x + frame.width / 2);
    const from = cursor?.x ?? middle;
    // Beyond the shown part the axis follows.
    const to = cursor ? picture.step(range && full && !vertical ? { ...frame, xMin: full.xMin, xMax: full.xMax } : frame, from, direction) : from;
    if (range && !vertical && (to < frame.xMin || to > frame.xMax)) {
      const scale = frame.xLog ? to / (to < frame.xMin ? frame.xMin : frame.xMax) : 1;
      const shift = frame.xLog ? 0 : to - (to < frame.xMin ? frame.xMin : frame.xMax);
      range = { ...range, xMin: frame.xMin * scale + shift, xMax: frame.xMax * scale + shift };
      cancelAnimationFrame(requested);
      draw();
    }
    place(vertical ? middle : to, vertical ? to : 0);
  });

  function saveSvg() {
    if (picture) saveText(`${fileName}.svg`, picture.svg({ ...EXPORT, theme: chartTheme(), dark: isDark(), ...(range ? { range } : {}) }), 'image/svg+xml');
  }

  function saveCsv() {
    if (!picture) return;
    const { head, rows } = picture.csv();
    saveText(`${fileName}.csv`, csvText([head, ...rows]), 'text/csv');
  }

  function savePng() {
    if (!picture) return;
    const sheet = document.createElement('canvas');
    picture.draw(sheet, { ...EXPORT, theme: chartTheme(), dark: isDark(), devicePixelRatio: 2, ...(range ? { range } : {}) });
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
      // Another quantity is seen whole; the same one after an edit is looked at where it was.
      if (picture && picture.label !== next.label) range = null;
      picture = next;
      fileName = `${fileStem(experiment)}-${id}`;
      canvas.setAttribute('aria-label', next.summary);
      fillTable();
      requestDraw();
    },
  };
}

/**
 * As RFC 4180 has it. Missing numbers are empty.
 * @param {(string | number | undefined)[][]} rows
 */
export function csvText(rows) {
  const cell = (/** @type {string | number | undefined} */ value) => {
    const text = value === undefined || Number.isNaN(value) ? '' : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => `${row.map(cell).join(',')}\r\n`).join('');
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
