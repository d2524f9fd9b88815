// What the Share and Save menus do.

import { toText, tracePath } from './document.js';
import { notify, titleOf } from './edit.js';
import { fileStem } from './format.js';
import { cliCommand, makeLink } from './link.js';
import { saveText } from './download.js';

/** @import { Store } from './store.js' */
/** @import { Engine } from './types.js' */
/** @import { createPool } from './pool.js' */
/** @import { Command } from './views/menu.js' */

/**
 * @param {Store} store
 * @param {Engine} engine
 * @returns {Command[]}
 */
export function shareCommands(store, engine) {
  const { document, view } = store.get();
  const trace = tracePath(document);
  return [
    {
      label: 'Copy link', hint: trace ? `names ${trace}, cannot carry it` : 'the whole experiment, nothing on a server',
      run: () => copy(store, () => new URL(makeLink(engine, document, view), location.href).href, trace ? `Link copied. It names ${trace} but cannot carry it: whoever opens it has to drop the same file on the page.` : 'Link copied.'),
    },
    { label: 'Copy command', hint: 'the same numbers in a terminal', run: () => copy(store, () => cliCommand(makeLink(engine, document), trace), 'Command copied.') },
  ];
}

/**
 * @param {Store} store
 * @param {Engine} engine
 * @param {Pick<ReturnType<typeof createPool>, 'run'>} pool
 * @returns {Command[]}
 */
export function saveCommands(store, engine, pool) {
  const { document, results } = store.get();
  const stem = fileStem(titleOf(document) || 'experiment');
  return [
    { label: 'Experiment as YAML', run: () => attempt(store, () => saveText(`${stem}.yaml`, engine.writeYaml(document), 'application/yaml')) },
    { label: 'Experiment as JSON', run: () => saveText(`${stem}.json`, toText(document), 'application/json') },
    ...(results.length > 0 ? [{ label: 'Results as JSON', run: () => saveText(`${stem}-results.json`, resultsText(store, engine), 'application/json') }] : []),
    ...results.map(({ name, entryIndex }) => ({
      label: `Requests of ${name} as CSV`,
      run: () => saveRun(store, pool, entryIndex, 'csv', `${stem}-${fileStem(name)}-requests.csv`),
    })),
    ...results.map(({ name, entryIndex }) => ({
      label: `Trace of ${name}`, hint: 'requests, steps and KV memory, for ui.perfetto.dev',
      run: () => saveRun(store, pool, entryIndex, 'trace', `${stem}-${fileStem(name)}-trace.json`),
    })),
  ];
}

/**
 * @param {Store} store
 * @param {Engine} engine
 */
function resultsText(store, engine) {
  const { document, results, stale } = store.get();
  return `${JSON.stringify({ engine_version: engine.version(), of_an_earlier_version: stale, document, results: results.map(({ name, hash, summary }) => ({ name, hash, summary })) }, null, 2)}\n`;
}

/**
 * Rows and traces are made by running the entry again, which gives the same bits: keeping them for every result would double its memory.
 * @param {Store} store
 * @param {Pick<ReturnType<typeof createPool>, 'run'>} pool
 * @param {number} runIndex
 * @param {'csv' | 'trace'} want
 * @param {string} fileName
 */
async function saveRun(store, pool, runIndex, want, fileName) {
  const { document, files } = store.get();
  const outcome = await pool.run({ document, runIndex, files, want }).outcome;
  if (outcome.outcome === 'csv') saveText(fileName, outcome.text, 'text/csv');
  else if (outcome.outcome === 'trace') saveText(fileName, outcome.text, 'application/json');
  else if (outcome.outcome === 'failed' || outcome.outcome === 'crashed') notify(store, { id: 'save', tone: 'error', text: `${fileName} could not be made: ${outcome.message}` });
}

/**
 * @param {Store} store
 * @param {() => string} make
 * @param {string} done
 */
async function copy(store, make, done) {
  try {
    await navigator.clipboard.writeText(make());
    notify(store, { id: 'share', tone: 'info', text: done });
  } catch (error) {
    notify(store, { id: 'share', tone: 'error', text: `Nothing was copied: ${/** @type {any} */ (error)?.message ?? error}` });
  }
}

/**
 * @param {Store} store
 * @param {() => void} action
 */
function attempt(store, action) {
  try {
    action();
  } catch (error) {
    notify(store, { id: 'save', tone: 'error', text: `Nothing was saved: ${/** @type {any} */ (error)?.message ?? error}` });
  }
}

