// Keeps the address bar and the experiment the same thing, and the last experiment in this browser.
// Edits replace the address (debounced: browsers limit the rate), a preset makes a new entry of the history.

import { notify, dismiss, openShared } from './edit.js';
import { inWords } from './format.js';
import { makeLink, openLink } from './link.js';
import { readView, shortView } from './store.js';

/** @import { Store } from './store.js' */
/** @import { Engine, Preset } from './types.js' */

const KEY = 'llmperforacle.experiment';
const DEBOUNCE_MS = 500;

/** @param {{ store: Store, engine: Engine, presets: Preset[] }} options */
export function createAddress({ store, engine, presets }) {
  /** @type {ReturnType<typeof setTimeout> | null} */
  let timer = null;
  let written = '';

  function fragment() {
    const { document, view } = store.get();
    return makeLink(engine, document, view);
  }

  /** @param {'replaceState' | 'pushState'} how */
  function write(how) {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    const { document, view } = store.get();
    try {
      written = fragment();
      history[how](null, '', written);
      dismiss(store, 'unlinkable');
    } catch (error) {
      if (error instanceof Error) throw error;
      // Too large for an address: it stays in this browser and can be saved as a file.
      if (location.hash !== '') history.replaceState(null, '', location.pathname + location.search);
      notify(store, { id: 'unlinkable', tone: 'warning', text: `This experiment does not fit into a link (${/** @type {any} */ (error)?.message ?? error}). Save it as a file to share it.` });
    }
    remember(JSON.stringify({ document, view: shortView(view) }));
  }

  /** The experiment of the address bar, else the last one of this browser, else the first preset. */
  async function open() {
    const opened = openLink(engine, location.hash);
    if (opened.kind === 'link') {
      openShared(store, opened.document, opened.view, presets);
      // Errors of the document are shown by its check; what the link itself has to say is a warning.
      const warnings = opened.diagnostics.filter(({ severity }) => severity === 'warning');
      if (warnings.length > 0) {
        notify(store, { id: 'link', tone: 'info', text: 'About this link:', details: warnings.map((finding) => `${finding.path ? `${finding.path}: ` : ''}${inWords(finding)}`) });
      } else dismiss(store, 'link');
    } else if (opened.kind === 'broken') {
      notify(store, { id: 'link', tone: 'error', text: 'This link cannot be opened, so the experiment below is another one.', details: [opened.message, 'Links break when they are cut short or wrapped in a message: copy the whole of it.'] });
    } else {
      const kept = recollect();
      if (kept) openShared(store, kept.document, readView(kept.view), presets);
    }
  }

  return {
    open,
    /** A new entry in the history, for the experiment as it is now. */
    push: () => write('pushState'),
    /** From now on every change is written, and a link typed into the address bar is opened. */
    follow() {
      store.subscribe((state, previous) => {
        if (state.document === previous.document && state.view === previous.view) return;
        if (timer !== null) clearTimeout(timer);
        timer = setTimeout(() => write('replaceState'), DEBOUNCE_MS);
      });
      window.addEventListener('hashchange', () => {
        if (location.hash !== written) void open();
      });
      timer = setTimeout(() => write('replaceState'), DEBOUNCE_MS);
    },
  };
}

/** @param {string} text */
function remember(text) {
  try {
    localStorage.setItem(KEY, text);
  } catch {
    // Storage is off or full: the address still holds the experiment.
  }
}

/** @returns {{ document: Record<string, any>, view: unknown } | null} */
function recollect() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? 'null');
    return typeof kept?.document === 'object' && kept.document !== null ? kept : null;
  } catch {
    return null;
  }
}

