// "What is modelled, and what is left out": the tables of docs/frameworks.md, stack by stack. The data are made from that document and
// tested against it; this draws them and adds nothing.

import { h, replaceChildren } from '../dom.js';

/** @import { RunResult, State } from '../types.js' */

/** Beside the page, like its scripts: computed, so that the name stays as it is. */
const TABLES = ['data', 'frameworks.json'].join('/');

/**
 * @typedef {{ heading: string } | { text: string } | { head: string[], rows: string[][] }} Block
 * @typedef {{ title: string, blocks: Block[] }} Section
 */

export async function createRules() {
  const response = await fetch(new URL(TABLES, document.baseURI));
  if (!response.ok) throw new Error(`the tables are not on the server (${response.status})`);
  /** @type {{ sections: Section[] }} */
  const { sections } = await response.json();
  const parts = sections.map((section) => ({ title: section.title, element: sectionElement(section) }));
  const element = h('div', { class: 'rules' },
    h('p', {}, 'Each rule is held by tests whose numbers were worked out by hand from the frameworks’ sources; options that a run cannot honour are refused, never dropped in silence.'),
    parts.map((part) => part.element));
  /** @type {RunResult[] | null} */
  let shown = null;
  return {
    element,
    /** Opens the sections of the stacks that the results are of. @param {State} state */
    update({ results }) {
      if (results === shown) return;
      shown = results;
      const stacks = new Set(results.flatMap((result) => sectionsOf(result)));
      for (const part of parts) part.element.open = stacks.has(part.title);
    },
  };
}

/**
 * Titles of the sections about the stack of a result.
 * @param {Pick<RunResult, 'summary'>} result
 * @returns {string[]}
 */
export function sectionsOf({ summary }) {
  const stacks = /** @type {{ framework?: string }[]} */ (summary.provenance?.stacks ?? []);
  return stacks.flatMap(({ framework = '' }) => {
    const name = framework.toLowerCase();
    if (name.includes('dynamo')) return ['Dynamo, replicas and routers'];
    if (name.includes('sglang')) return ['SGLang'];
    if (name.includes('tensorrt') || name.includes('trt')) return ['TensorRT-LLM'];
    return ['vLLM'];
  });
}

/** @param {Section} section */
function sectionElement({ title, blocks }) {
  const body = h('div', {});
  const element = /** @type {HTMLDetailsElement} */ (h('details', { class: 'rules-section' }, h('summary', {}, title), body));
  let heading = '';
  replaceChildren(body, blocks.map((block) => {
    if ('heading' in block) {
      heading = block.heading;
      return h('h4', {}, block.heading);
    }
    if ('text' in block) return h('p', {}, inline(block.text));
    return h('div', { class: 'table-scroll', role: 'region', 'aria-label': `${title}: ${heading}`, tabindex: 0 },
      h('table', {}, h('thead', {}, h('tr', {}, block.head.map((cell) => h('th', { scope: 'col' }, cell)))),
        h('tbody', {}, block.rows.map((row) => h('tr', {}, row.map((cell, index) => h(index === 0 ? 'th' : 'td', index === 0 ? { scope: 'row' } : {}, inline(cell))))))));
  }));
  return element;
}

/**
 * Words in backticks as code; of links, their text.
 * @param {string} text
 * @returns {(string | HTMLElement)[]}
 */
export function inline(text) {
  return text.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').split('`').map((part, index) => (index % 2 === 1 ? h('code', {}, part) : part)).filter((part) => part !== '');
}
