// Messages above the results: what was restored, what a link said, what a file contained. And the list of everything
// that keeps the experiment from running.

import { h, replaceChildren } from '../dom.js';
import { dismiss } from '../edit.js';
import { inWords } from '../format.js';

/** @import { Store } from '../store.js' */
/** @import { State } from '../types.js' */

/** @param {Store} store */
export function createNotices(store) {
  const element = h('div', { class: 'notices' });
  return {
    element,
    /**
     * @param {State} state
     * @param {State | null} previous
     */
    update({ notices, diagnostics, textIsBroken, run }, previous) {
      if (previous && previous.notices === notices && previous.diagnostics === diagnostics && previous.textIsBroken === textIsBroken && previous.run.status === run.status) return;
      const errors = run.status === 'invalid' ? diagnostics.filter(({ severity }) => severity === 'error') : [];
      const warnings = textIsBroken ? [] : diagnostics.filter(({ severity }) => severity === 'warning');
      replaceChildren(element,
        errors.length > 0
          ? h('section', { class: 'notice error', 'aria-label': 'Errors' },
              h('div', {}, h('p', { class: 'notice-text' }, 'What stands in the way'),
                h('ul', {}, errors.map(findingItem))))
          : null,
        warnings.length > 0
          ? h('details', { class: 'notice warning' }, h('summary', {}, warnings.length === 1 ? 'One thing to know about this experiment' : `${warnings.length} things to know about this experiment`), h('ul', {}, warnings.map(findingItem)))
          : null,
        notices.map(({ id, tone, text, details, action }) =>
          h('section', { class: `notice ${tone}`, 'aria-label': tone === 'error' ? 'Error' : 'Note' },
            h('div', {}, h('p', { class: 'notice-text' }, text), details && details.length > 0 ? h('ul', {}, details.map((detail) => h('li', {}, detail))) : null),
            action ? h('button', { type: 'button', class: 'small', on: { click: action.run } }, action.label) : null,
            h('button', { type: 'button', class: 'quiet small close', 'aria-label': 'Dismiss', on: { click: () => dismiss(store, id) } }, '×'))),
      );
    },
  };
}

/** @param {State['diagnostics'][number]} finding */
function findingItem(finding) {
  const { path, line } = finding;
  return h('li', {}, line === null ? null : `Line ${line}: `, path ? h('code', {}, path) : null, path ? ' ' : null, inWords(finding));
}
