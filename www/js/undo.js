// Edits of the experiment can be taken back. Changes that follow each other closely are one: nobody undoes a number digit by digit.

import { sameDocument } from './document.js';
import { replaceDocument } from './edit.js';

/** @import { Store } from './store.js' */
/** @import { DocumentObject } from './types.js' */

const TOGETHER_MS = 1000;
const MOST = 100;

/**
 * @param {Store} store
 * @param {() => number} now  ms
 */
export function createUndo(store, now = () => performance.now()) {
  /** @typedef {{ document: DocumentObject, preset: string }} Version */
  /** @type {Version[]} */
  const past = [];
  /** @type {Version[]} */
  let future = [];
  let lastEdit = -Infinity;
  let travelling = false;

  store.subscribe((state, previous) => {
    if (travelling || state.document === previous.document || sameDocument(state.document, previous.document)) return;
    const at = now();
    // A preset is a step of its own.
    if (at - lastEdit > TOGETHER_MS || past.length === 0 || state.preset !== previous.preset) {
      past.push({ document: previous.document, preset: previous.preset });
      if (past.length > MOST) past.shift();
    }
    lastEdit = at;
    future = [];
  });

  /** @param {Version[]} from @param {Version[]} to */
  function travel(from, to) {
    const version = from.pop();
    if (!version) return;
    const { document, preset } = store.get();
    to.push({ document, preset });
    travelling = true;
    try {
      replaceDocument(store, version.document, { preset: version.preset });
    } finally {
      travelling = false;
    }
    lastEdit = -Infinity;
  }

  return {
    undo: () => travel(past, future),
    redo: () => travel(future, past),
    can: () => ({ undo: past.length > 0, redo: future.length > 0 }),
  };
}
