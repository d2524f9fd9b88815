// Wiring: engine, pool, store and views are made here and told of each other. No rule of the page lives in this file.

import { compileEngine, startEngine } from './engine.js';
import { createPool } from './pool.js';
import { createRunner } from './runner.js';
import { createStore, defaultView, idleRun } from './store.js';
import { byId, h } from './dom.js';
import { toText } from './document.js';
import { openPreset } from './edit.js';
import { createAddress } from './address.js';
import { createIntake } from './intake.js';
import { saveCommands, shareCommands } from './commands.js';
import { withPinned } from './pinned.js';
import { watchTheme } from './theme.js';
import { createUndo } from './undo.js';
import { createHeader } from './views/header.js';
import { createForm } from './views/form.js';
import { createTextEditor } from './views/text-editor.js';
import { createTabs } from './views/tabs.js';
import { createRunBar } from './views/run-bar.js';
import { createNotices } from './views/notices.js';
import { createResultsTable } from './views/results-table.js';
import { createCharts } from './views/charts.js';
import { createMeaning } from './views/meaning.js';
import { createWhy } from './views/why.js';
import { createLazyPanel } from './views/lazy-panel.js';

/** @import { Engine, State } from './types.js' */
/** @import { WorkerLike } from './pool.js' */

const module = compileEngine();
// Workers load their scripts while the engine compiles.
const pool = createPool({
  size: Math.min(4, Math.max(1, navigator.hardwareConcurrency || 1)),
  spawn: () => /** @type {WorkerLike} */ (/** @type {unknown} */ (new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name: 'simulation' }))),
  module,
});

module.then(startEngine).then(startPage).catch((error) => {
  byId('experiment').replaceChildren();
  byId('results').replaceChildren(h('section', { class: 'notice error', role: 'alert' }, h('div', {},
    h('p', { class: 'notice-text' }, 'The engine did not start.'),
    h('p', {}, String(error instanceof Error ? error.message : error)),
    h('p', {}, 'Reload the page. If that does not help: the page needs WebAssembly, and its files in pkg/ have to be on the server.'))));
  throw error;
});

/** @param {Engine} engine */
async function startPage(engine) {
  const catalog = engine.catalog();
  const schema = JSON.parse(engine.schema());
  const fallback = catalog.presets[0]?.document ?? {};
  const store = createStore({
    document: fallback, text: toText(fallback), textIsBroken: false, diagnostics: [], preset: catalog.presets[0]?.name ?? '',
    run: idleRun(), results: [], pinned: [], stale: false, view: defaultView(), tab: 'form', files: new Map(), notices: [], measured: null,
  });
  const runner = createRunner({ store, engine, pool });
  const address = createAddress({ store, engine, presets: catalog.presets });
  const intake = createIntake({
    store, engine, dropTarget: document.documentElement,
    onBenchmark: (name, text) => void measured.open().then((view) => view.take(name, text)),
  });
  await address.open();
  await intake.recall();
  // The first run starts before anything is built to show it.
  runner.start();

  const meaning = createMeaning(engine.version(), catalog);
  const rules = createLazyPanel({
    title: 'What is modelled, and what is left out', name: 'rules-panel', state: store.get,
    load: async () => (await import('./views/rules.js')).createRules(),
  });
  const why = createWhy(engine, () => void rules.open());
  const inspector = createLazyPanel({
    title: 'Step inspector: who is in the batch, and what held the next one back?', name: 'inspector-panel', state: store.get,
    load: async () => (await import('./views/inspector.js')).createInspector({ store, pool }),
  });
  const measured = createLazyPanel({
    title: 'Compare with a benchmark of your own', name: 'measured-panel', state: store.get,
    load: async () => (await import('./views/measured.js')).createMeasured({ store, engine, pool, chooseFile: intake.choose }),
  });
  const fleet = createLazyPanel({
    title: 'The fleet: replicas, their load, and what the router weighed', name: 'fleet-panel', state: store.get,
    wanted: ({ results }) => results.some((result) => result.fleet !== null),
    load: async () => (await import('./views/fleet.js')).createFleet({ store, pool }),
  });
  const trust = createLazyPanel({
    title: 'How far can I trust this?', name: 'trust-panel', state: store.get,
    load: async () => (await import('./views/trust.js')).createTrust({ store, engine, pool }),
  });
  const charts = createCharts(store, engine, (entry, atS) => void inspector.open().then((view) => view.pick(entry, atS)));
  const theme = watchTheme(charts.redraw);
  const header = createHeader({
    presets: catalog.presets,
    onPreset: (preset) => { openPreset(store, preset); address.push(); },
    onOpen: intake.choose,
    share: () => shareCommands(store, engine),
    save: () => saveCommands(store, engine, pool),
    onTheme: theme.toggle,
  });
  const form = createForm({ store, schema, catalog, chooseFile: intake.choose });
  const text = createTextEditor({ store, engine });
  const tabs = createTabs(store, [['form', 'Form', form.element], ['text', 'Text', text.element]]);
  const history = createUndo(store);
  const undo = h('button', { type: 'button', class: 'quiet small', title: 'Undo (Ctrl+Z)', on: { click: history.undo } }, 'Undo');
  const redo = h('button', { type: 'button', class: 'quiet small', title: 'Redo (Ctrl+Shift+Z)', on: { click: history.redo } }, 'Redo');
  const runBar = createRunBar(runner, { engineVersion: engine.version(), explain: () => meaning.open(store.get()), pin: (pinned) => store.update({ pinned }) });
  const notices = createNotices(store);
  const table = createResultsTable(catalog.definitions);
  const title = h('h2', { class: 'title' });
  const findings = h('div', { class: 'findings' }, table.element, why.element, charts.element, fleet.element, inspector.element, measured.element, rules.element, trust.element);

  byId('toolbar').append(header.element);
  byId('experiment').replaceChildren(h('div', { class: 'history', role: 'group', 'aria-label': 'Edits' }, undo, redo), tabs.element);
  byId('results').replaceChildren(title, header.description, runBar.element, notices.element, findings);
  document.body.append(meaning.element, intake.element);

  /**
   * @param {State} state
   * @param {State | null} previous
   */
  function show(state, previous) {
    if (previous?.document !== state.document || previous.diagnostics !== state.diagnostics || previous.textIsBroken !== state.textIsBroken || previous.files !== state.files) form.update(state);
    if (previous?.text !== state.text || previous.diagnostics !== state.diagnostics || previous.tab !== state.tab) text.update(state);
    if (previous?.tab !== state.tab) tabs.update(state);
    undo.disabled = !history.can().undo;
    redo.disabled = !history.can().redo;
    header.update(state);
    runBar.update(state, previous);
    notices.update(state, previous);
    findings.classList.toggle('stale', state.stale);
    const compared = withPinned(state);
    table.update(compared);
    why.update(state);
    charts.update(compared, previous && withPinned(previous));
    fleet.update(state);
    inspector.update(state);
    measured.update(state);
    rules.update(state);
    trust.update(state);
    const name = typeof state.document.title === 'string' && state.document.title ? state.document.title : catalog.presets.find((preset) => preset.name === state.preset)?.title ?? 'Your experiment';
    title.textContent = name;
    document.title = `${name} · LLMPerfOracle`;
  }

  store.subscribe(show);
  show(store.get(), null);
  store.subscribe((state, previous) => {
    if (state.textIsBroken ? !previous.textIsBroken : false) runner.cancel();
    else if (state.document !== previous.document || state.files !== previous.files) runner.schedule();
  });
  address.follow();

  document.addEventListener('keydown', (event) => {
    // In a field the browser has an undo of its own.
    const writes = event.target instanceof HTMLTextAreaElement || (event.target instanceof HTMLInputElement && event.target.type !== 'range' && event.target.type !== 'checkbox');
    const key = event.key.toLowerCase();
    if ((event.ctrlKey || event.metaKey) && !event.altKey && !writes && (key === 'z' || key === 'y')) {
      event.preventDefault();
      if (key === 'y' || event.shiftKey) history.redo();
      else history.undo();
    }
    const { status } = store.get().run;
    if (event.key === 'Escape' && status === 'running') runner.cancel();
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) runner.start({ beyondBudget: true });
  });
  watchPixelRatio(charts.redraw);
  watchPanes();
}

/**
 * Canvases are redrawn when the window moves to a screen with other pixels, or is zoomed.
 * @param {() => void} onChange
 */
function watchPixelRatio(onChange) {
  window.matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`).addEventListener('change', () => {
    onChange();
    watchPixelRatio(onChange);
  }, { once: true });
}

/** On a narrow screen one of the two panes is shown. */
function watchPanes() {
  const buttons = [...document.querySelectorAll('[data-pane-button]')].filter((button) => button instanceof HTMLElement);
  for (const button of buttons) {
    button.addEventListener('click', () => {
      document.body.dataset.pane = button.dataset.paneButton;
      for (const other of buttons) other.setAttribute('aria-pressed', String(other === button));
      window.scrollTo({ top: 0 });
    });
  }
}
