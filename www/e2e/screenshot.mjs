// The README's picture: node www/e2e/screenshot.mjs [FILE], with SITE_URL as for the journeys.

import { chromium } from 'playwright-core';
import { fileURLToPath } from 'node:url';
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';

const file = process.argv[2] ?? fileURLToPath(new URL('../../docs/screenshot.png', import.meta.url));
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu', '--font-render-hinting=none'] });
const page = await browser.newPage({ viewport: { width: 1360, height: 1180 }, colorScheme: 'light', reducedMotion: 'reduce' });
await page.goto(process.env.SITE_URL ?? 'http://127.0.0.1:8080/');
await page.waitForSelector('.run-bar[data-status="done"]', { state: 'attached' });
await page.waitForTimeout(500);
mkdirSync(dirname(file), { recursive: true });
await page.screenshot({ path: file });
await browser.close();
console.log(`wrote ${file}`);
