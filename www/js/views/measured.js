// A benchmark of the reader's own beside the simulation: it is laid over the charts, and a worker fits the factors on the step times that
// bring both together. The fit is the engine's, the same as `llmperforacle calibrate`.

import { h, replaceChildren } from '../dom.js';
import { entriesOf, setAt } from '../document.js';
import { notify, replaceDocument } from '../edit.js';
import { keepTrace } from '../files.js';
import { count, number, percent } from '../format.js';

/** @import { Store } from '../store.js' */
/** @import { createPool } from '../pool.js' */
/** @import { BenchmarkSaid, Engine, Fitted, State } from '../types.js' */

/** What a metric's name means, in the words of the page. @type {Record<string, string>} */
const QUANTITIES = { ttft: 'TTFT', tpot: 'TPOT', itl: 'Gap between tokens', e2e: 'End to end', output_tok_s: 'Output tokens/s', req_s: 'Requests/s', total_tok_s: 'Tokens/s' };

/** @type {[keyof Fitted['calibration'], string, string][]} */
const FACTORS = [
  ['device_time', 'Time on the GPUs', '×'],
  ['host_time', 'Time on the host', '×'],
  ['per_request_ms', 'Before the engine sees a request', 'ms'],
];

/**
 * @param {object} options
 * @param {Store} options.store
 * @param {Pick<Engine, 'readBenchmark'>} options.engine
 * @param {Pick<ReturnType<typeof createPool>, 'run'>} options.pool
 * @param {() => void} options.chooseFile
 */
export function createMeasured({ store, engine, pool, chooseFile }) {
  const entry = h('select', { on: { change: () => void fit() } });
  const entryField = h('label', { class: 'inline-field' }, 'What was measured ', entry);
  const own = h('input', { type: 'checkbox', checked: true, on: { change: () => void fit() } });
  const perRequest = h('input', { type: 'checkbox', on: { change: () => void fit() } });
  const ownField = h('label', { class: 'check' }, own, ' with the benchmark’s own requests (lengths, rate or concurrency)');
  const choices = h('div', { class: 'measured-choices', hidden: true }, entryField, ownField,
    h('label', { class: 'check' }, perRequest, ' fit the time before the engine sees a request too'));
  const status = h('p', { role: 'status' });
  const progress = h('progress', { max: 1, 'aria-label': 'Progress of the fit', hidden: true });
  const body = h('div', {});
  const element = h('div', { class: 'measured' },
    h('p', { class: 'muted' }, 'Drop the output of ', h('code', {}, 'vllm bench serve --save-result'), ', SGLang’s ', h('code', {}, 'bench_serving --output-file'), ' or AIPerf (', h('code', {}, 'profile_export_aiperf.json'), ') here. It stays in this browser. The simulation is replayed until two or three factors on its step times fit what you measured.'),
    h('p', {}, h('button', { type: 'button', on: { click: chooseFile } }, 'Open a benchmark’s output')),
    choices, status, progress, body);

  let text = '';
  let names = '';
  /** @type {{ cancel: () => void } | null} */
  let job = null;

  /** @param {State} state */
  function offer(state) {
    const entries = entriesOf(state.document).map(({ name }) => String(name));
    if (entries.join('\n') !== names) {
      names = entries.join('\n');
      const kept = entry.value;
      replaceChildren(entry, entries.map((name) => h('option', { value: name }, name)));
      if (entries.includes(kept)) entry.value = kept;
    }
    entryField.hidden = entries.length < 2;
    choices.hidden = state.measured === null;
  }

  async function fit() {
    const { document, files, measured } = store.get();
    if (!measured) return;
    job?.cancel();
    const { said, file } = measured;
    const ownRequests = own.checked && said.workload !== null;
    replaceChildren(body);
    status.textContent = `Fitting ${entry.value} to ${file} …`;
    progress.hidden = false;
    progress.removeAttribute('value');
    const mine = pool.run({
      document, files, runIndex: 0, want: 'calibration',
      calibration: { text, source: file, entry: entry.value || null, perRequest: perRequest.checked, ownRequests },
      onProgress: ({ fraction }) => { progress.value = fraction; },
    });
    job = mine;
    const outcome = await mine.outcome;
    if (job !== mine || outcome.outcome === 'cancelled') return;
    job = null;
    progress.hidden = true;
    if (outcome.outcome === 'calibrated') show(outcome.fitted, said, ownRequests);
    else if ('message' in outcome) {
      const details = 'diagnostics' in outcome ? outcome.diagnostics.map(({ path, message }) => `${path}: ${message}`) : [];
      status.textContent = `Nothing was fitted: ${outcome.message}`;
      replaceChildren(body, details.length > 0 ? h('ul', {}, details.map((line) => h('li', {}, line))) : null);
    }
  }

  /**
   * @param {Fitted} fitted
   * @param {BenchmarkSaid} said
   * @param {boolean} ownRequests
   */
  function show(fitted, said, ownRequests) {
    status.textContent = `${said.tool}${said.requests === null ? '' : `, ${count(said.requests)} requests`}: with the factors below ${fitted.entry} is off by ${percent(fitted.error.after)} instead of ${percent(fitted.error.before)} (root mean square, ${count(fitted.simulations)} simulations).`;
    const factors = FACTORS.filter(([key]) => fitted.calibration[key] !== undefined);
    const remarks = [...fitted.held, ...fitted.notes];
    replaceChildren(body,
      h('dl', { class: 'facts' }, factors.map(([key, label, unit]) => h('div', {}, h('dt', {}, label), h('dd', {}, unit === '×' ? `× ${number(fitted.calibration[key])}` : `${number(fitted.calibration[key])}\u202f${unit}`)))),
      remarks.length > 0 ? h('ul', { class: 'remarks' }, remarks.map((line) => h('li', {}, line))) : null,
      h('div', { class: 'table-scroll', role: 'region', 'aria-label': 'Measured and simulated', tabindex: 0 }, table(fitted)),
      h('p', { class: 'measured-actions' },
        h('button', { type: 'button', class: 'primary', on: { click: () => apply(fitted, said, ownRequests) } }, ownRequests ? 'Put factors and requests into the experiment' : 'Put the factors into the experiment'),
        h('button', { type: 'button', class: 'quiet', on: { click: forget } }, 'Take the benchmark off the charts')));
  }

  /**
   * @param {Fitted} fitted
   * @param {BenchmarkSaid} said
   * @param {boolean} ownRequests
   */
  function apply(fitted, said, ownRequests) {
    const { document, files } = store.get();
    const index = entriesOf(document).findIndex(({ name }) => name === fitted.entry);
    if (index < 0) return;
    let changed = setAt(document, `frameworks_to_test[${index}].config.calibration`, fitted.calibration);
    let kept = files;
    if (ownRequests && said.workload) {
      const bytes = new TextEncoder().encode(said.trace);
      changed = { ...changed, workload: said.workload };
      kept = new Map(files).set(said.traceName, bytes);
      keepTrace(said.traceName, bytes).catch(() => notify(store, { id: 'trace', tone: 'warning', text: 'This browser could not keep the benchmark’s requests: after a reload the file has to be opened again.' }));
    }
    replaceDocument(store, changed, { files: kept, preset: '' });
    notify(store, { id: 'measured', tone: 'info', text: `${fitted.entry} runs with the factors fitted to your benchmark now${ownRequests ? ', all entries with its requests' : ''}.` });
  }

  function forget() {
    job?.cancel();
    job = null;
    status.textContent = '';
    progress.hidden = true;
    replaceChildren(body);
    store.update({ measured: null });
  }

  return {
    element,
    /**
     * A benchmark's output: over the charts at once, then fitted.
     * @param {string} file
     * @param {string} given
     */
    take(file, given) {
      try {
        const said = engine.readBenchmark(given);
        text = given;
        own.disabled = said.workload === null;
        own.checked = said.workload !== null;
        ownField.title = said.noWorkload ?? '';
        store.update({ measured: { file, said } });
        offer(store.get());
        void fit();
      } catch (error) {
        if (error instanceof Error) throw error;
        status.textContent = `${file} cannot be used: ${/** @type {any} */ (error)?.message ?? error}`;
        replaceChildren(body);
      }
    },
    /** @param {State} state */
    update: offer,
  };
}

/** @param {Fitted} fitted */
function table({ metrics }) {
  /** @param {number | null} value @param {number} measured */
  const off = (value, measured) => (value === null ? '' : ` (${value >= measured ? '+' : '−'}${percent(Math.abs(value / measured - 1))})`);
  return h('table', {}, h('caption', { class: 'visually-hidden' }, 'Measured, simulated with factors 1, simulated with the fitted factors'),
    h('thead', {}, h('tr', {}, ['', 'Measured', 'Factors 1', 'Fitted'].map((label) => h('th', { scope: 'col' }, label)))),
    h('tbody', {}, metrics.map(({ name, measured, before, after, weight }) => h('tr', { class: weight > 0 ? null : 'muted', title: weight > 0 ? null : 'Not part of the fit: it follows from the others' },
      h('th', { scope: 'row' }, label(name)), h('td', {}, number(measured)),
      h('td', {}, `${number(before)}${off(before, measured)}`), h('td', {}, `${number(after)}${off(after, measured)}`)))));
}

/** `ttft_p99_ms` -> "TTFT p99, ms". @param {string} name */
function label(name) {
  const rate = QUANTITIES[name];
  if (rate) return rate;
  const [quantity = '', statistic = ''] = name.split('_');
  return `${QUANTITIES[quantity] ?? quantity} ${statistic}, ms`;
}
