// What every journey needs: the site's address, a browser, a page that fails its test on any error it logs.
// `cargo xtask test page` sets SITE_URL and CHROMIUM; by hand: SITE_URL=http://127.0.0.1:8080/ node --test www/e2e/

import { after, before } from 'node:test';
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { chromium } from 'playwright-core';

export const SITE = process.env.SITE_URL ?? 'http://127.0.0.1:8080/';
export const RESULTS = new URL('./results/', import.meta.url);

const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
  // The same pixels on every machine.
  '--disable-lcd-text', '--font-render-hinting=none', '--disable-font-subpixel-positioning'];

/** @type {import('playwright-core').Browser} */
let browser;

/** Starts a browser for the tests of a file. */
export function useBrowser() {
  before(async () => {
    mkdirSync(RESULTS, { recursive: true });
    browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });
  });
  after(async () => browser?.close());
}

/**
 * A page in a fresh context. When the test ends, anything logged as an error fails it, unless `allow` names it.
 * @param {import('node:test').TestContext} t
 * @param {{ hash?: string, context?: import('playwright-core').BrowserContextOptions, prepare?: (context: import('playwright-core').BrowserContext) => Promise<void>, allow?: RegExp, goto?: boolean }} [options]
 */
export async function openPage(t, { hash = '', context: contextOptions = {}, prepare, allow, goto = true } = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 1000 }, reducedMotion: 'reduce', ...contextOptions });
  context.setDefaultTimeout(15_000);
  await prepare?.(context);
  const page = await context.newPage();
  /** @type {string[]} */
  const errors = [];
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text());
  });
  page.on('pageerror', (error) => errors.push(String(error)));
  t.after(async () => {
    await context.close();
    assert.deepEqual(errors.filter((error) => !allow?.test(error)), [], 'the page logged errors');
  });
  if (goto) {
    await page.goto(SITE + hash);
    await finished(page);
  }
  return page;
}

/** Until the run of the present document has ended. @param {import('playwright-core').Page} page */
export async function finished(page) {
  await status(page, 'done');
}

/**
 * @param {import('playwright-core').Page} page
 * @param {string} wanted
 */
export async function status(page, wanted) {
  await page.waitForSelector(`.run-bar[data-status="${wanted}"]`, { state: 'attached' });
}

/** A small experiment of two entries. */
export function smallDocument() {
  return {
    title: 'Small',
    simulation: { random_seed: 7 },
    hardware_profile: { node: 'H100-SXM' },
    workload: {
      total_requests_to_generate: 200,
      client_profiles: [{
        profile_name: 'clients',
        inter_arrival_time_dist_config: { type: 'Exponential', rate: 8 },
        prompt_tokens_dist_config: { type: 'Constant', value: 512 },
        max_output_tokens_dist_config: { type: 'Uniform', low: 20, high: 120 },
      }],
    },
    frameworks_to_test: [
      { name: 'first', type: 'VLLM', config: { model_profile_id: 'Llama-3.1-8B' } },
      { name: 'second', type: 'VLLM', config: { model_profile_id: 'Llama-3.1-8B', max_num_seqs: 4 } },
    ],
    metrics_config: { slo: { ttft_ms: 500 } },
  };
}

/**
 * Puts a text into the Text tab, as typing would.
 * @param {import('playwright-core').Page} page
 * @param {string} text
 */
export async function typeText(page, text) {
  await page.getByRole('tab', { name: 'Text' }).click();
  await page.getByLabel('Experiment as JSON or YAML text').fill(text);
}

/**
 * @param {import('playwright-core').Page} page
 * @param {Record<string, any>} document
 */
export async function setDocument(page, document) {
  await typeText(page, JSON.stringify(document, null, 2));
  await page.getByRole('tab', { name: 'Form' }).click();
  await ranWith(page, (shown) => shown === `${document.title} · LLMPerfOracle`);
}

/**
 * Until the page shows the results of a document whose window title satisfies `wanted`.
 * @param {import('playwright-core').Page} page
 * @param {(title: string) => boolean} wanted
 */
async function ranWith(page, wanted) {
  const start = Date.now();
  while (Date.now() - start < 15_000) {
    const { title, done, stale } = await page.evaluate(() => ({
      title: document.title,
      done: document.querySelector('.run-bar')?.getAttribute('data-status') === 'done',
      stale: document.querySelector('.findings')?.classList.contains('stale') ?? true,
    }));
    if (wanted(title) && done && !stale) return;
    await new Promise((later) => setTimeout(later, 25));
  }
  throw new Error('the results of this document did not come');
}

/** The experiment as the Text tab has it. @param {import('playwright-core').Page} page */
export async function documentOf(page) {
  return JSON.parse(await page.locator('#experiment-text').inputValue());
}

/**
 * The numbers of a row of the headline table, as shown.
 * @param {import('playwright-core').Page} page
 * @param {string} label
 */
export async function rowOf(page, label) {
  return page.locator('.numbers tr', { has: page.locator('th', { hasText: label }) }).first().locator('.value').allTextContents();
}

/** Hashes of the results, from "what the numbers mean". @param {import('playwright-core').Page} page */
export async function hashesOf(page) {
  await page.getByRole('button', { name: 'what the numbers mean' }).click();
  const hashes = await page.locator('.meaning code').allTextContents();
  await page.keyboard.press('Escape');
  return hashes;
}

/**
 * Drops files on the page, as a desktop would.
 * @param {import('playwright-core').Page} page
 * @param {{ name: string, text: string }[]} files
 */
export async function drop(page, files) {
  await page.evaluate((given) => {
    const dataTransfer = new DataTransfer();
    for (const { name, text } of given) dataTransfer.items.add(new File([text], name));
    for (const type of ['dragover', 'drop']) document.body.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
  }, files);
}

/**
 * An engine that is slow with entries called “slow…”, so that their run lasts as long as a test needs it.
 * @param {import('playwright-core').BrowserContext} context
 */
export async function slowEngine(context) {
  await patchEngine(context, () => 'const advance = Simulation.prototype.advance; Simulation.prototype.advance = function () { if (!this.name.startsWith("slow")) return advance.apply(this, arguments); const end = performance.now() + 5; while (performance.now() < end); return advance.call(this, 1); };');
}

/**
 * Adds script to the engine's module as it is loaded.
 * @param {import('playwright-core').BrowserContext} context
 * @param {() => string} script
 */
export async function patchEngine(context, script) {
  await context.route(/llmperforacle_wasm[^/]*\.js$/, async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: `${await response.text()}\n${script()}\n` });
  });
}

/** A trace as Microsoft Azure publishes them. @param {number} rows */
export function azureTrace(rows) {
  const start = Date.UTC(2023, 10, 16, 18, 15, 46);
  const lines = Array.from({ length: rows }, (_, i) => {
    const at = new Date(start + i * 180).toISOString().replace('T', ' ').replace('Z', '0000');
    return `${at},${300 + ((i * 37) % 900)},${20 + ((i * 13) % 150)}`;
  });
  return `TIMESTAMP,ContextTokens,GeneratedTokens\n${lines.join('\n')}\n`;
}
