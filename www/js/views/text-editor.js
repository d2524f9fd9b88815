// The experiment as JSON text: a textarea with line numbers, errors under it and in the gutter.
// A plain textarea keeps undo, spelling of screen readers and phones' keyboards as they are.

import { h, replaceChildren } from '../dom.js';
import { editText } from '../edit.js';
import { inWords } from '../format.js';
import { lineOf } from '../text-position.js';

/** @import { Store } from '../store.js' */
/** @import { Engine, State } from '../types.js' */

/**
 * @param {{ store: Store, engine: Pick<Engine, 'readDocument' | 'writeYaml'> }} context
 */
export function createTextEditor({ store, engine }) {
  const gutter = h('div', { class: 'gutter', 'aria-hidden': 'true' });
  const errors = h('div', { class: 'text-errors', id: 'text-errors' });
  const area = h('textarea', {
    id: 'experiment-text',
    class: 'code',
    'aria-label': 'Experiment as JSON or YAML text',
    spellcheck: 'false',
    autocapitalize: 'off',
    autocomplete: 'off',
    wrap: 'off',
    rows: 30,
    on: {
      input: () => editText(store, engine, area.value),
      scroll: () => {
        gutter.scrollTop = area.scrollTop;
      },
    },
  });
  const element = h('div', { class: 'text-editor' }, h('div', { class: 'code-frame' }, gutter, area), errors);
  let shownLines = '';

  /** @param {number} line */
  function goTo(line) {
    const lines = area.value.split('\n');
    const start = lines.slice(0, line - 1).reduce((sum, text) => sum + text.length + 1, 0);
    area.focus();
    area.setSelectionRange(start, start + (lines[line - 1]?.length ?? 0));
    area.scrollTop = Math.max(0, (line - 4) * parseFloat(getComputedStyle(area).lineHeight));
  }

  return {
    element,
    /** @param {State} state */
    update({ text, diagnostics, textIsBroken }) {
      if (area.value !== text) area.value = text;
      const findings = diagnostics.map((finding) => ({ ...finding, at: finding.line ?? (textIsBroken || finding.path === '' ? null : lineOf(text, finding.path)) }));
      const bad = new Map(findings.flatMap(({ at, severity }) => (at === null ? [] : [/** @type {const} */ ([at, severity])])));
      const total = text.split('\n').length;
      const key = `${total}:${[...bad].join()}`;
      if (key !== shownLines) {
        shownLines = key;
        replaceChildren(gutter, Array.from({ length: total }, (_, i) => h('span', { class: bad.get(i + 1) ?? null }, String(i + 1))));
        gutter.scrollTop = area.scrollTop;
      }
      area.toggleAttribute('aria-invalid', false);
      if (findings.some(({ severity }) => severity === 'error')) area.setAttribute('aria-invalid', 'true');
      if (findings.length > 0) area.setAttribute('aria-describedby', errors.id);
      else area.removeAttribute('aria-describedby');
      replaceChildren(errors,
        findings.map(({ severity, path, message, hint, at }) =>
          h('p', { class: `finding ${severity}` },
            at === null ? null : h('button', { type: 'button', class: 'quiet small', on: { click: () => goTo(at) } }, `Line ${at}`), ' ',
            path ? h('code', {}, path) : null, path ? ' ' : null, inWords({ message, hint }))),
        textIsBroken ? h('p', { class: 'note' }, 'The form and the results still show the last version that could be read.') : null,
      );
    },
  };
}
