// "How much do the assumptions matter?": every entry again with one assumption changed at a time, and how far each number moves.
// Which assumptions, factors and numbers there are is the engine's; workers simulate, here the results are laid side by side.

import { h, replaceChildren } from '../dom.js';
import { delta, number, plural } from '../format.js';

/** @import { Store } from '../store.js' */
/** @import { createPool } from '../pool.js' */
/** @import { Engine, RunResult, State, Variants } from '../types.js' */

/**
 * @typedef {{ assumption: string, factor: number, value: number }} Tried
 * @typedef {{ name: string, unit: string, value: number, low: number, high: number, by: Tried[] }} Moved  as `run --sensitivity --json` has it
 */

/**
 * @param {object} options
 * @param {Store} options.store
 * @param {Pick<Engine, 'variants'>} options.engine
 * @param {Pick<ReturnType<typeof createPool>, 'run'>} options.pool
 */
export function createSensitivity({ store, engine, pool }) {
  const start = h('button', { type: 'button', on: { click: () => void run() } }, 'How much do the assumptions matter?');
  const stop = h('button', { type: 'button', hidden: true, on: { click: () => cancel('Cancelled.') } }, 'Cancel');
  const progress = h('progress', { max: 1, value: 0, 'aria-label': 'Assumptions tried', hidden: true });
  const status = h('p', { class: 'muted', role: 'status' });
  const entry = h('select', { 'aria-label': 'Entry whose numbers are shown', on: { change: () => draw() } });
  const metric = h('select', { 'aria-label': 'Number shown by assumption', on: { change: () => draw() } });
  const ranges = h('div', { class: 'table-scroll', role: 'region', 'aria-label': 'Ranges', tabindex: 0 });
  const tornado = h('div', { class: 'table-scroll', role: 'region', 'aria-label': 'By assumption', tabindex: 0 });
  const body = h('div', { class: 'sensitivity-body', hidden: true }, h('div', { class: 'inspector-controls' }, entry), ranges, h('div', { class: 'inspector-controls' }, metric), tornado);
  const element = h('section', { class: 'sensitivity' }, h('h3', {}, 'Assumptions'),
    h('p', {}, 'Some inputs are measured by nobody: the host’s times, launches, the skew of experts, rates of KV tiers, start-up times. Each is made smaller and larger in turn, the rest stays.'),
    h('div', { class: 'measured-actions' }, start, stop, progress), status, body);

  /** @type {{ cancel: () => void }[]} */
  let jobs = [];
  /** Numbers every attempt, so that a late answer is known. */
  let attempt = 0;
  /** @type {{ result: RunResult, moved: Moved[] }[]} */
  let found = [];
  /** @type {State['document'] | null} */
  let of = null;

  /** @param {string} why */
  function cancel(why) {
    if (jobs.length === 0) return;
    attempt += 1;
    jobs.forEach((job) => job.cancel());
    end(why);
  }

  /** @param {string} text */
  function end(text) {
    jobs = [];
    if (document.activeElement === stop) start.focus();
    stop.hidden = progress.hidden = true;
    start.disabled = false;
    status.textContent = text;
  }

  async function run() {
    const { document: experiment, files, results, stale } = store.get();
    if (stale || results.length === 0) return;
    const mine = (attempt += 1);
    /** @type {Variants} */
    let variants;
    try {
      variants = engine.variants(experiment);
    } catch (error) {
      status.textContent = `This cannot be tried: ${/** @type {any} */ (error)?.message ?? error}`;
      return;
    }
    of = experiment;
    found = [];
    body.hidden = true;
    const total = variants.variants.length * results.length;
    let done = 0;
    progress.value = 0;
    stop.hidden = progress.hidden = false;
    start.disabled = true;
    stop.focus();
    status.textContent = `Simulating ${plural(total, 'variant')} …`;
    const asked = variants.variants.map(([, , changed]) => results.map(({ entryIndex }) => pool.run({ document: changed, files, runIndex: entryIndex, want: 'summary' })));
    jobs = asked.flat();
    const outcomes = await Promise.all(asked.map((row) => Promise.all(row.map(async (job) => {
      const outcome = await job.outcome;
      done += 1;
      if (mine === attempt) progress.value = done / total;
      return outcome;
    }))));
    if (mine !== attempt) return;
    const failed = outcomes.flat().find((outcome) => outcome.outcome === 'failed' || outcome.outcome === 'crashed');
    if (failed && 'message' in failed) return end(`A variant could not be run: ${failed.message}`);
    found = results.map((result, index) => ({
      result,
      moved: movedBy(variants, result.summary, outcomes.map((row) => {
        const outcome = row[index];
        return outcome?.outcome === 'summary' ? outcome.summary : {};
      })),
    }));
    end(`${plural(variants.variants.length, 'variant')} of each entry, one assumption changed at a time.`);
    replaceChildren(entry, found.map(({ result }, index) => h('option', { value: String(index) }, result.name)));
    const names = [...new Set(found.flatMap(({ moved }) => moved.map(({ name }) => name)))];
    replaceChildren(metric, names.map((name) => h('option', { value: name }, name)));
    body.hidden = false;
    draw();
  }

  function draw() {
    const { result, moved } = found[Number(entry.value)] ?? {};
    if (!result || !moved) return;
    replaceChildren(ranges, h('table', { class: 'sensitivity-ranges' }, h('caption', {}, `Numbers of ${result.name}, and how far an assumption moves them`),
      h('thead', {}, h('tr', {}, ['Number', 'As assumed', 'Lowest', 'Highest'].map((text) => h('th', { scope: 'col' }, text)))),
      h('tbody', {}, moved.map(({ name, unit, value, low, high }) => h('tr', {}, h('th', { scope: 'row' }, name, h('span', { class: 'unit' }, ` ${unit}`)), h('td', {}, number(value)),
        [low, high].map((end) => h('td', {}, number(end), h('span', { class: 'muted' }, ` ${delta(end, value)}`))))))));
    const chosen = moved.find(({ name }) => name === metric.value);
    replaceChildren(tornado, chosen ? tornadoOf(chosen) : null);
  }

  return {
    element,
    /** @param {State} state */
    update({ document: experiment, results, stale }) {
      start.disabled = jobs.length > 0 || stale || results.length === 0;
      if (of === null || of === experiment) return;
      // An edit is more urgent, and these numbers are not its.
      cancel('');
      of = null;
      found = [];
      body.hidden = true;
      status.textContent = '';
    },
  };
}

/**
 * The numbers of an entry with the least and the most that a variant makes of them.
 * @param {Variants} variants
 * @param {Record<string, any>} base  summary
 * @param {Record<string, any>[]} then  those of the variants, in their order
 * @returns {Moved[]}
 */
export function movedBy({ metrics, variants }, base, then) {
  return metrics.flatMap(([name, unit, pointer]) => {
    const value = at(base, pointer);
    const values = then.map((summary) => at(summary, pointer));
    if (value === null || values.some((one) => one === null)) return [];
    const by = variants.map(([assumption, factor], index) => ({ assumption, factor, value: values[index] ?? NaN }));
    const all = [value, ...by.map((one) => one.value)];
    return [{ name, unit, value, low: Math.min(...all), high: Math.max(...all), by }];
  });
}

/** @param {Record<string, any>} summary @param {string} pointer  RFC 6901, of plain names @returns {number | null} */
function at(summary, pointer) {
  /** @type {any} */
  let value = summary;
  for (const key of pointer.split('/').slice(1)) value = value?.[key];
  return typeof value === 'number' ? value : null;
}

/** A row an assumption, the one that moves most first: bars from the number as assumed. @param {Moved} moved */
function tornadoOf({ name, unit, value, low, high, by }) {
  const rows = [...new Set(by.map(({ assumption }) => assumption))].map((assumption) => by.filter((one) => one.assumption === assumption));
  const reach = (/** @type {Tried[]} */ row) => Math.max(...row.map((one) => Math.abs(one.value - value)));
  rows.sort((a, b) => reach(b) - reach(a));
  const span = Math.max(high - low, Math.abs(value) * 1e-9, 1e-300);
  const place = (/** @type {number} */ one) => (100 * (one - low)) / span;
  return h('table', { class: 'tornado' }, h('caption', {}, `${name}, ${unit}: what each assumption alone makes of ${number(value)}`),
    h('thead', {}, h('tr', {}, ['Assumption', 'Less', '', 'More'].map((text, i) => (i === 2 ? h('td', { class: 'tornado-scale' }, h('span', {}, number(low)), h('span', {}, number(high))) : h('th', { scope: 'col' }, text))))),
    h('tbody', {}, rows.map((row) => {
      const track = h('div', { class: 'tornado-track', 'aria-hidden': 'true' });
      for (const { value: then, factor } of row) {
        const bar = h('span', { class: factor < 1 ? 'tornado-bar down' : 'tornado-bar up' });
        bar.style.left = `${Math.min(place(value), place(then))}%`;
        bar.style.width = `${Math.abs(place(then) - place(value))}%`;
        track.append(bar);
      }
      const mark = h('span', { class: 'tornado-base' });
      mark.style.left = `${place(value)}%`;
      track.append(mark);
      const cell = (/** @type {Tried | undefined} */ one) => h('td', {}, one ? [number(one.value), h('span', { class: 'muted' }, ` ${delta(one.value, value) || '='}`), h('small', { class: 'factor' }, `×${number(one.factor)}`)] : null);
      return h('tr', {}, h('th', { scope: 'row' }, row[0]?.assumption ?? ''), cell(row.find(({ factor }) => factor < 1)), h('td', {}, track), cell(row.find(({ factor }) => factor >= 1)));
    })));
}
