// A button that opens a short list of commands. Built on <details>, closed by Escape, by a choice and by a click elsewhere.

import { h } from '../dom.js';

/**
 * @typedef {{ label: string, hint?: string, run: () => void }} Command
 *
 * @param {string} label
 * @param {() => Command[]} commands  asked for when the menu opens
 */
export function createMenu(label, commands) {
  const list = h('div', { class: 'menu-list' });
  const summary = h('summary', { class: 'button' }, label);
  const menu = h('details', { class: 'menu' }, summary, list);

  const close = () => {
    menu.open = false;
  };
  menu.addEventListener('toggle', () => {
    if (!menu.open) return;
    list.replaceChildren(...commands().map(({ label: text, hint, run }) =>
      h('button', { type: 'button', on: { click: () => { close(); summary.focus(); run(); } } }, h('span', {}, text), hint ? h('small', {}, hint) : null)));
  });
  menu.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || !menu.open) return;
    event.stopPropagation();
    close();
    summary.focus();
  });
  menu.addEventListener('focusout', (event) => {
    if (event.relatedTarget instanceof Node && !menu.contains(event.relatedTarget)) close();
  });
  document.addEventListener('pointerdown', (event) => {
    if (event.target instanceof Node && !menu.contains(event.target)) close();
  });
  return menu;
}
