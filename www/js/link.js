// The address bar is the experiment: '#v1.…' holds document and view. What the fragment means is the engine's business.

import { defaultView, readView, shortView } from './store.js';

/** @import { DocumentObject, Engine, View, Diagnostic } from './types.js' */

/**
 * @typedef {{ kind: 'none' } | { kind: 'link', document: DocumentObject, view: View, madeWith: string, diagnostics: Diagnostic[] }
 *   | { kind: 'broken', message: string }} Opened
 */

/** Longer than any link the engine makes; more is refused before it is looked at. */
const MAX_FRAGMENT = 16_384;

/**
 * @param {Pick<Engine, 'linkDecode'>} engine
 * @param {string} hash  as location.hash has it
 * @returns {Opened}
 */
export function openLink(engine, hash) {
  const fragment = hash.replace(/^#/, '');
  if (fragment === '') return { kind: 'none' };
  if (fragment.length > MAX_FRAGMENT) return { kind: 'broken', message: `The link is ${fragment.length} characters long; at most ${MAX_FRAGMENT} are read.` };
  try {
    const { document, view, madeWith, diagnostics } = engine.linkDecode(fragment);
    return { kind: 'link', document, view: readView(view), madeWith, diagnostics };
  } catch (error) {
    // A crash of the engine on a link is no less a broken link to the reader, but it must not pass for one.
    if (error instanceof Error && error.name !== 'EngineError') return { kind: 'broken', message: `The engine failed on this link: ${error.message}` };
    return { kind: 'broken', message: messageOf(error) };
  }
}

/**
 * @param {Pick<Engine, 'linkEncode'>} engine
 * @param {DocumentObject} document
 * @param {View} [view]
 * @returns {string} '#v1.…'
 */
export function makeLink(engine, document, view = defaultView()) {
  return `#${engine.linkEncode(document, shortView(view))}`;
}

/** @param {unknown} error */
function messageOf(error) {
  return typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : String(error);
}

/**
 * The command that gives the same numbers in a terminal.
 * @param {string} fragment  '#v1.…'
 * @param {string} traceFile  '' for none
 */
export function cliCommand(fragment, traceFile) {
  const open = `llmperforacle open '${fragment.replace(/^#/, '')}' | llmperforacle run -`;
  return traceFile ? `# needs ${traceFile.replace(/[\r\n]/g, ' ')} in this directory\n${open}` : open;
}
