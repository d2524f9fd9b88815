// The ways the experiment changes. Each replaces document, text and what belongs to them in one step.

import { sameDocument, toText, tracePath, withTrace } from './document.js';
import { inWords } from './format.js';
import { idleRun } from './store.js';

/** @import { Store } from './store.js' */
/** @import { DocumentObject, Engine, Preset, State, View } from './types.js' */

/**
 * An edit in the form.
 * @param {Store} store
 * @param {(document: DocumentObject) => DocumentObject} change
 */
export function editDocument(store, change) {
  const { document } = store.get();
  const edited = change(document);
  if (!sameDocument(edited, document)) replaceDocument(store, edited, {});
}

/**
 * @param {Store} store
 * @param {DocumentObject} document
 * @param {Partial<State>} patch
 */
export function replaceDocument(store, document, patch) {
  store.update((state) => ({ document, text: toText(document), textIsBroken: false, diagnostics: [], stale: state.results.length > 0, ...patch }));
}

/**
 * @param {Store} store
 * @param {Preset} preset
 */
export function openPreset(store, preset) {
  replaceDocument(store, structuredClone(preset.document), { preset: preset.name });
}

/**
 * An edit of the text: taken over when it can be read, kept as a draft beside the last good document when not.
 * @param {Store} store
 * @param {Pick<Engine, 'readDocument'>} engine
 * @param {string} text
 */
export function editText(store, engine, text) {
  const { document, diagnostics } = engine.readDocument(text, 'experiment.json');
  if (!document) {
    store.update((state) => ({ text, textIsBroken: true, diagnostics, run: { ...idleRun(), id: state.run.id, status: 'invalid' }, stale: state.results.length > 0 }));
    return;
  }
  store.update((state) => {
    if (sameDocument(document, state.document)) return { text, textIsBroken: false, diagnostics, document: { ...document } };
    return { text, textIsBroken: false, diagnostics, document, stale: state.results.length > 0 };
  });
}

/**
 * A document file. With errors nothing is replaced but the text, which shows them.
 * @param {Store} store
 * @param {Pick<Engine, 'readDocument'>} engine
 * @param {string} text
 * @param {string} fileName
 * @returns {boolean} whether it could be read
 */
export function openDocument(store, engine, text, fileName) {
  const { document, diagnostics, original } = engine.readDocument(text, fileName);
  if (!document) {
    store.update((state) => ({ text, textIsBroken: true, tab: 'text', diagnostics, preset: '', run: { ...idleRun(), id: state.run.id, status: 'invalid' }, stale: state.results.length > 0 }));
    return false;
  }
  const warnings = diagnostics.map((finding) => `${finding.path ? `${finding.path}: ` : ''}${inWords(finding)}`);
  const read = original ? `${fileName} is written for the original LLMPerfOracle and was read in its meaning.` : `${fileName} was read.`;
  const text2 = warnings.length > 0 ? `${read} ${warnings.length === 1 ? 'One thing' : `${warnings.length} things`} to know:` : read;
  replaceDocument(store, document, { preset: '', notices: [...store.get().notices.filter(({ id }) => id !== 'opened'), { id: 'opened', tone: warnings.length > 0 ? 'warning' : 'info', text: text2, details: warnings }] });
  return true;
}

/**
 * Makes the experiment replay a trace file.
 * @param {Store} store
 * @param {string} name
 * @param {Uint8Array} bytes
 */
export function openTrace(store, name, bytes) {
  const files = new Map(store.get().files).set(name, bytes);
  const document = tracePath(store.get().document) === name ? { ...store.get().document } : withTrace(store.get().document, name);
  replaceDocument(store, document, { files, preset: '' });
}

/**
 * A document and view from a link or from storage.
 * @param {Store} store
 * @param {DocumentObject} document
 * @param {View} view
 * @param {Preset[]} presets
 */
export function openShared(store, document, view, presets) {
  const preset = presets.find((candidate) => sameDocument(candidate.document, document));
  replaceDocument(store, document, { view, preset: preset?.name ?? '' });
}

/**
 * @param {Store} store
 * @param {State['notices'][number]} notice  replaces one of the same id
 */
export function notify(store, notice) {
  store.update(({ notices }) => ({ notices: [...notices.filter(({ id }) => id !== notice.id), notice] }));
}

/**
 * @param {Store} store
 * @param {string} id
 */
export function dismiss(store, id) {
  store.update(({ notices }) => (notices.some((notice) => notice.id === id) ? { notices: notices.filter((notice) => notice.id !== id) } : {}));
}

/**
 * The findings about a place and what is inside it.
 * @param {State['diagnostics']} diagnostics
 * @param {string} path
 */
export function findingsAt(diagnostics, path) {
  return diagnostics.filter((finding) => finding.path === path || finding.path.startsWith(`${path}.`) || finding.path.startsWith(`${path}[`));
}

/** @param {DocumentObject} document */
export function titleOf(document) {
  return typeof document.title === 'string' && document.title !== '' ? document.title : '';
}

