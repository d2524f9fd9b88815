// The written site, served below a path as a shared host would: it runs, from hashed names, and asks for nothing else.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';

const SITE_URL = process.env.SITE_URL ?? '';
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const HASHED = /-[0-9a-f]{10}\.(js|css|wasm)$/;
const TYPES = { js: 'text/javascript', css: 'text/css', wasm: 'application/wasm' };

/** @type {import('playwright-core').Browser} */
let browser;

before(async () => {
  assert.notEqual(SITE_URL, '', 'SITE_URL is not set: run `cargo xtask test page`');
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });
});

after(() => browser?.close());

test('the distributed site loads below a path, from hashed names only', async () => {
  const page = await browser.newPage();
  const problems = [];
  const loaded = [];
  page.on('pageerror', (error) => problems.push(`error: ${error.message}`));
  page.on('console', (message) => message.type() === 'error' && problems.push(`console: ${message.text()}`));
  page.on('requestfailed', (request) => problems.push(`failed: ${request.url()} ${request.failure()?.errorText}`));
  page.on('response', (response) => loaded.push(response));

  const wasm = page.waitForResponse((response) => response.url().endsWith('.wasm'));
  await page.goto(SITE_URL);
  await wasm;
  await page.waitForSelector('.run-bar[data-status="done"]');
  await page.waitForLoadState('networkidle');

  const kinds = new Set();
  for (const response of loaded) {
    const url = response.url();
    if (url.startsWith('blob:') || url.startsWith('data:')) continue;
    assert.ok(url.startsWith(SITE_URL), `${url} is outside ${SITE_URL}`);
    assert.ok(response.status() < 400, `${url}: ${response.status()}`);
    const kind = new URL(url).pathname.split('.').pop();
    if (!(kind in TYPES)) continue;
    kinds.add(kind);
    assert.match(new URL(url).pathname, HASHED);
    assert.ok((await response.headerValue('content-type'))?.startsWith(TYPES[kind]), `${url}: content type`);
  }
  assert.deepEqual([...kinds].sort(), Object.keys(TYPES).sort());
  assert.ok(page.workers().length > 0, 'no worker was started');
  assert.deepEqual(problems, []);
});
