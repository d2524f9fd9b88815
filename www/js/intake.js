// Opening files by drop or picker: a document becomes the experiment, a trace its workload, a benchmark's output is laid over the results.

import { h } from './dom.js';
import { tracePath } from './document.js';
import { dismiss, notify, openDocument, openTrace } from './edit.js';
import { MAX_FILE_BYTES, keepTrace, keptTrace, kindOfFile } from './files.js';
import { count } from './format.js';

/** @import { Store } from './store.js' */
/** @import { Engine } from './types.js' */

/** @param {{ store: Store, engine: Pick<Engine, 'readDocument'>, dropTarget: HTMLElement, onBenchmark: (name: string, text: string) => void }} options */
export function createIntake({ store, engine, dropTarget, onBenchmark }) {
  const input = h('input', { type: 'file', hidden: true, multiple: true, accept: '.yaml,.yml,.json,.csv,.jsonl,.ndjson,.gz', id: 'file', 'aria-label': 'Open a document, a trace or a benchmark’s output' });
  const veil = h('div', { class: 'drop-veil', hidden: true }, h('p', {}, 'Drop an experiment (YAML, JSON), a trace (CSV, JSONL) or a benchmark’s output (vLLM, SGLang, AIPerf)'));
  const element = h('div', {}, input, veil);
  input.addEventListener('change', () => {
    void take([...(input.files ?? [])]);
    input.value = '';
  });

  const carriesFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes('Files') ?? false;
  dropTarget.addEventListener('dragover', (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    veil.hidden = false;
  });
  dropTarget.addEventListener('dragleave', (event) => {
    if (event.relatedTarget === null) veil.hidden = true;
  });
  dropTarget.addEventListener('drop', (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    veil.hidden = true;
    void take([...(event.dataTransfer?.files ?? [])]);
  });

  /**
   * Documents first, so that a trace dropped together with the document that names it ends up beside it.
   * @param {File[]} given
   */
  async function take(given) {
    dismiss(store, 'file');
    const read = [];
    for (const file of given) {
      if (file.size > MAX_FILE_BYTES) {
        refuse(`${file.name} has ${count(file.size / 1024 / 1024)} MB; at most ${count(MAX_FILE_BYTES / 1024 / 1024)} MB can be opened.`);
      } else if (file.size === 0) {
        refuse(`${file.name} is empty.`);
      } else {
        try {
          const bytes = new Uint8Array(await file.arrayBuffer());
          read.push({ name: file.name, bytes, kind: kindOfFile(file.name, new TextDecoder().decode(bytes.subarray(0, 4096))) });
        } catch (error) {
          refuse(`${file.name} could not be read: ${error instanceof Error ? error.message : error}`);
        }
      }
    }
    for (const { name, bytes } of read.filter(({ kind }) => kind === 'document')) {
      if (openDocument(store, engine, new TextDecoder().decode(bytes), name)) await recall();
    }
    for (const { name, bytes } of read.filter(({ kind }) => kind === 'trace')) await takeTrace(name, bytes);
    for (const { name, bytes } of read.filter(({ kind }) => kind === 'benchmark')) onBenchmark(name, new TextDecoder().decode(bytes));
  }

  /** @param {string} text */
  function refuse(text) {
    notify(store, { id: 'file', tone: 'error', text });
  }

  /**
   * @param {string} name
   * @param {Uint8Array} bytes
   */
  async function takeTrace(name, bytes) {
    openTrace(store, name, bytes);
    notify(store, { id: 'trace', tone: 'info', text: `The requests now come from ${name}. It stays in this browser: a link names it but cannot carry it.` });
    try {
      await keepTrace(name, bytes);
    } catch {
      notify(store, { id: 'trace', tone: 'warning', text: `The requests now come from ${name}. This browser could not keep the file: after a reload it has to be opened again.` });
    }
  }

  /** Brings back the kept trace that the experiment names. */
  async function recall() {
    const { document, files } = store.get();
    const name = tracePath(document);
    if (name === '' || files.has(name)) return;
    try {
      const kept = await keptTrace(name);
      if (kept.size > 0) store.update({ files: new Map([...files, ...kept]) });
    } catch {
      // Storage is off: the check of the document says that the file is missing.
    }
  }

  return { element, choose: () => input.click(), recall };
}
