// Tabs over the experiment's two faces, by the ARIA pattern: arrows move, one tab stop.

import { h } from '../dom.js';

/** @import { Store } from '../store.js' */
/** @import { EditorTab, State } from '../types.js' */

/**
 * @param {Store} store
 * @param {[EditorTab, string, HTMLElement][]} tabs
 */
export function createTabs(store, tabs) {
  const buttons = tabs.map(([id, label]) =>
    h('button', { type: 'button', role: 'tab', id: `tab-${id}`, 'aria-controls': `panel-${id}`, on: { click: () => store.update({ tab: id }) } }, label));
  const panels = tabs.map(([id, , content]) => h('div', { role: 'tabpanel', id: `panel-${id}`, 'aria-labelledby': `tab-${id}` }, content));
  const list = h('div', { class: 'tabs', role: 'tablist', 'aria-label': 'The experiment as' }, buttons);
  list.addEventListener('keydown', (event) => {
    const step = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0;
    if (step === 0) return;
    const now = tabs.findIndex(([id]) => id === store.get().tab);
    const next = tabs[(now + step + tabs.length) % tabs.length];
    if (!next) return;
    store.update({ tab: next[0] });
    buttons[tabs.indexOf(next)]?.focus();
  });
  return {
    element: h('div', {}, list, panels),
    /** @param {State} state */
    update({ tab }) {
      tabs.forEach(([id], index) => {
        buttons[index]?.setAttribute('aria-selected', String(id === tab));
        buttons[index]?.setAttribute('tabindex', id === tab ? '0' : '-1');
        const panel = panels[index];
        if (panel) panel.hidden = id !== tab;
      });
    },
  };
}
