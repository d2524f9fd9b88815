// "What separates them": the engine's findings about the results shown, the largest difference first. The words are the engine's.

import { h, replaceChildren } from '../dom.js';
import { swatch } from './swatch.js';

/** @import { Engine, Finding, RunResult, State } from '../types.js' */

/**
 * @param {Pick<Engine, 'why'>} engine
 * @param {() => void} showRules  opens what is modelled and what is left out
 */
export function createWhy(engine, showRules) {
  const heading = h('h3', {}, 'What separates them');
  const list = h('ol', { class: 'why-list' });
  const element = h('section', { class: 'why', 'aria-label': 'What separates the entries' }, heading, list,
    h('p', {}, h('button', { type: 'button', class: 'link', on: { click: showRules } }, 'What of each stack is modelled, and what is left out')));
  /** @type {RunResult[] | null} */
  let shown = null;
  return {
    element,
    /** @param {State} state */
    update({ results }) {
      if (results === shown) return;
      shown = results;
      const findings = results.length === 0 ? [] : engine.why({ results: results.map(({ name, summary }) => ({ name, summary })) });
      element.hidden = results.length === 0;
      heading.textContent = results.length === 1 ? 'What it waited for' : 'What separates them';
      replaceChildren(list, findings.length === 0 ? h('li', { class: 'muted' }, 'Nothing that was counted: no difference above 1 %.') : findings.map((finding) => item(finding, results)));
    },
  };
}

/**
 * @param {Finding} finding
 * @param {RunResult[]} results
 */
function item({ title, entry, sentence }, results) {
  return h('li', {},
    h('strong', {}, swatch(results[entry]?.entryIndex ?? entry), ` ${title}`),
    h('p', {}, sentence.map(({ kind, text }) => (kind === 'text' ? text : h(kind === 'number' ? 'b' : 'span', {}, text)))));
}
