// The top bar: which experiment, opening files, sharing, saving, theme.

import { h, replaceChildren } from '../dom.js';
import { sameDocument } from '../document.js';
import { createMenu } from './menu.js';

/** @import { Preset, State } from '../types.js' */
/** @import { Command } from './menu.js' */

/**
 * @param {object} options
 * @param {Preset[]} options.presets
 * @param {(preset: Preset) => void} options.onPreset
 * @param {() => void} options.onOpen
 * @param {() => Command[]} options.share
 * @param {() => Command[]} options.save
 * @param {() => void} options.onTheme
 */
export function createHeader({ presets, onPreset, onOpen, share, save, onTheme }) {
  const select = h('select', { id: 'preset', on: { change: choose } });
  const description = h('p', { class: 'preset-description' });
  const theme = h('button', { type: 'button', class: 'quiet theme-toggle', 'aria-label': 'Switch between light and dark', on: { click: onTheme } }, '◐');
  const element = h('div', { class: 'toolbar' },
    h('div', { class: 'preset-picker' }, h('label', { for: 'preset' }, 'Experiment'), select),
    h('button', { type: 'button', on: { click: onOpen } }, 'Open file…'),
    createMenu('Share', share),
    createMenu('Save', save),
    theme);
  let rendered = '';

  function choose() {
    const preset = presets.find(({ name }) => name === select.value);
    if (preset) onPreset(preset);
  }

  return {
    element,
    description,
    /** @param {State} state */
    update({ preset: name, document }) {
      const preset = presets.find((candidate) => candidate.name === name);
      const edited = preset !== undefined && !sameDocument(preset.document, document);
      const key = `${name}/${edited}`;
      if (key === rendered) return;
      rendered = key;
      replaceChildren(select,
        preset && !edited ? null : h('option', { value: '' }, preset ? `${preset.title} (edited)` : 'Your own'),
        presets.map(({ name: value, title }) => h('option', { value }, title)));
      select.value = preset && !edited ? preset.name : '';
      description.textContent = preset && !edited ? preset.description : '';
    },
  };
}
