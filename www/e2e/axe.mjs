// axe over the page as it is, and what axe does not see in a canvas.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { RESULTS } from './site.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

/**
 * @param {import('playwright-core').Page} page
 * @param {string} state  its name, and that of its picture
 */
export async function check(page, state) {
  await page.evaluate(() => window.scrollTo(0, 0));
  await page.evaluate(axe);
  const violations = await page.evaluate(async (tags) => {
    const { violations: found } = await /** @type {any} */ (window).axe.run(document, { runOnly: tags });
    return found.map((/** @type {any} */ { id, nodes }) => `${id}, ${nodes.length} times, first at ${nodes[0].target.join(' ')}: ${nodes[0].failureSummary}`);
  }, TAGS);
  assert.deepEqual(violations, [], state);
  const canvases = await page.evaluate(() => [...document.querySelectorAll('canvas')].filter((canvas) => canvas.checkVisibility()).map((canvas) => ({
    role: canvas.getAttribute('role'), label: canvas.getAttribute('aria-label') ?? '', hasData: (canvas.closest('figure') ?? canvas.closest('.fleet'))?.querySelector('details.data') !== null,
  })));
  for (const canvas of canvases) {
    assert.equal(canvas.role, 'img', state);
    assert.match(canvas.label, /\d/, `${state}: a canvas’ name has its numbers`);
    assert.ok(canvas.hasData, `${state}: a canvas has its data as a table`);
  }
  await page.screenshot({ path: fileURLToPath(new URL(`${state.replaceAll(' ', '-')}.png`, RESULTS)), fullPage: true });
}
