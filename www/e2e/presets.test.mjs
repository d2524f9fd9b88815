// Presets with a view of their own: each loads, runs to the results that the command has (their hashes are in tests/golden, which the
// native tests hold), and shows what the summary says.

import test from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { compact, count, number, percent } from '../js/format.js';
import { check } from './axe.mjs';
import { documentOf, finished, hashesOf, openPage, setDocument, useBrowser } from './site.mjs';

useBrowser();

/** @type {{ cases: { document: unknown, set: Record<string, unknown>, hashes: { run: string, hash: string }[] }[] }} */
const golden = JSON.parse(readFileSync(new URL('../../tests/golden/hashes.json', import.meta.url), 'utf8'));

/**
 * The preset as a visitor gets it, then cut down as the golden case has it; its summaries by entry, as the page saves them.
 * @param {import('node:test').TestContext} t
 * @param {string} name
 * @param {import('playwright-core').BrowserContextOptions} [context]
 */
async function openCase(t, name, context) {
  const found = golden.cases.find(({ document }) => document === name);
  assert.ok(found, `${name} has no golden case`);
  const page = await openPage(t, context ? { context } : {});
  await page.locator('#preset').selectOption(name);
  await page.waitForFunction(() => !document.querySelector('.findings')?.classList.contains('stale'));
  await finished(page);
  const document = await documentOf(page);
  document.title = `Case of ${name}`;
  for (const [path, value] of Object.entries(found.set)) {
    const keys = path.split('.');
    const last = String(keys.pop());
    keys.reduce((at, key) => (at[key] ??= {}), document)[last] = value;
  }
  await setDocument(page, document);
  assert.deepEqual(await hashesOf(page), found.hashes.map(({ hash }) => hash), 'the results are those of the command');
  await page.locator('.menu summary', { hasText: 'Save' }).click();
  const download = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Results as JSON' }).click();
  const saved = JSON.parse(await readFile(await (await download).path(), 'utf8'));
  /** @type {Record<string, any>[]} */
  const summaries = saved.results.map((/** @type {any} */ { summary }) => summary);
  return { page, summaries, names: found.hashes.map(({ run }) => run) };
}

/** Cells of the rows of a table. @param {import('playwright-core').Locator} table */
async function cells(table) {
  return table.locator('tbody tr').evaluateAll((rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent ?? '')));
}

test('pauses: each tier’s occupancy over time, hits and times', async (t) => {
  const { page, summaries, names } = await openCase(t, 'pauses-h100@1');
  const panel = page.locator('figure', { has: page.getByRole('heading', { name: 'KV tiers below the GPU' }) });
  await panel.locator('table').first().waitFor();
  const rows = await cells(panel.locator('.table-scroll').first());
  const words = /** @type {Record<string, string>} */ ({ host: 'host memory', disk: 'disk', remote: 'remote store' });
  const expected = summaries.flatMap(({ kv_tiers: tiers, prefix_caching: caching }, index) => (tiers ? Object.keys(words).filter((tier) => tiers[tier]).map((tier) => {
    const use = tiers[tier];
    return [`${names[index]}, ${words[tier]}`, compact(caching.by_tier[tier]), compact(use.capacity_tokens), percent(use.peak_share), compact(use.written_tokens), `${number(use.read_s)}\u202fs`, `${number(use.write_s)}\u202fs`];
  }) : []));
  assert.ok(expected.length >= 4, 'host memory of three entries and a disk');
  assert.deepEqual(rows.filter(([name]) => !name?.endsWith(', GPU')).map(([name, hits, , ...rest]) => [name, hits, ...rest]), expected);
  // The curve ends with what is held at the end, and its top is the peak or a little below it: samples are at the ends of bins.
  const canvas = panel.locator('canvas');
  const label = String(await canvas.getAttribute('aria-label'));
  for (const [index, { kv_tiers: tiers }] of summaries.entries()) {
    if (!tiers?.host) continue;
    const said = new RegExp(`${names[index]?.replace(/[()+.]/g, '.')}: mean [\\d.]+\\u202f%, highest ([\\d.]+)`).exec(label);
    assert.ok(said, `${names[index]} in “${label}”`);
    const highest = Number(said[1]) / 100;
    assert.ok(highest <= tiers.host.peak_share + 0.0006 && highest > tiers.host.peak_share - 0.05, `${highest} of ${tiers.host.peak_share}`);
  }
  await panel.getByRole('button', { name: 'Disk', exact: true }).click();
  assert.match(String(await canvas.getAttribute('aria-label')), /^Disk for KV in use/);
  await check(page, 'preset pauses');
});

test('autoscaling: sizes of the fleets over time and on average', async (t) => {
  const { page, summaries } = await openCase(t, 'autoscaling-h100@1');
  const panel = page.locator('figure', { has: page.getByRole('heading', { name: 'Replicas and pools over time' }) });
  await panel.locator('table').first().waitFor();
  const rows = await cells(panel.locator('.table-scroll').first());
  const kept = summaries.filter(({ operations }) => operations);
  assert.deepEqual(rows.map(([, serving]) => serving), kept.map(({ operations: { replicas } }) => `${number(replicas.mean)} (${count(replicas.min)} to ${count(replicas.max)})`));
  assert.ok(kept.some(({ operations: { replicas } }) => replicas.max > replicas.min), 'something is scaled');
  // The mean of the curve is that of the summary: both are over time.
  const label = String(await panel.locator('canvas').getAttribute('aria-label'));
  for (const { operations: { replicas } } of kept) assert.ok(label.includes(`mean ${number(replicas.mean)} replicas, highest ${number(replicas.max)} replicas`), `${replicas.mean} in “${label}”`);
  await panel.getByRole('button', { name: 'Starting', exact: true }).click();
  assert.match(String(await panel.locator('canvas').getAttribute('aria-label')), /^Replicas that start/);
  await check(page, 'preset autoscaling');
});

test('failures: the fleet’s history, its marks, and what the inspector tells of a moment', async (t) => {
  const { page, summaries } = await openCase(t, 'failures-h100@1');
  const panel = page.locator('.fleet-panel');
  await panel.locator('summary').first().click();
  await panel.locator('.tile').first().waitFor();
  const { operations } = summaries[0] ?? {};
  assert.ok(operations.failures > 0);
  await panel.locator('summary', { hasText: 'Events (' }).click();
  const told = await panel.locator('.fleet-events li').evaluateAll((all) => all.map((line) => line.lastElementChild?.textContent));
  assert.deepEqual(told, operations.events.map((/** @type {any} */ { sentence }) => sentence));
  assert.match(await panel.locator('.facts').innerText(), new RegExp(`Failures\\s+${operations.failures}`));
  assert.match(await panel.locator('.heat-key').innerText(), /fails/);
  // A replica that is down looks so.
  const failed = operations.events.find((/** @type {any} */ { kind }) => kind === 'failed');
  const looks = await panel.getByLabel('Moment').evaluate((element, replica) => {
    const slider = /** @type {HTMLInputElement} */ (element);
    return Array.from({ length: Number(slider.max) + 1 }, (_, bin) => {
      slider.value = String(bin);
      slider.dispatchEvent(new Event('input', { bubbles: true }));
      return document.querySelectorAll('.fleet .tile')[replica]?.getAttribute('class') ?? '';
    });
  }, failed.replica);
  assert.ok(looks.includes('tile serving') && looks.includes('tile down'), [...new Set(looks)].join());
  const inspector = page.locator('.inspector-panel');
  await inspector.locator('summary').first().click();
  const at = inspector.getByLabel('Moment, simulated seconds');
  await inspector.locator('.step-status').filter({ hasText: / at [\d.,]+.s, replica \d+: / }).waitFor();
  await at.fill(String(failed.at_s + 1));
  await at.press('Tab');
  const lines = inspector.locator('.fleet-lines');
  await lines.locator('li', { hasText: failed.sentence }).first().waitFor();
  assert.match(await lines.innerText(), /Router: [^]*req_\d+ to replica \d+ of \d+[^]*Fleet[^]*Tried again[^]*req_\d+ (was lost|did not get in): /);
  // One replica at a time, the one that is chosen.
  const chosen = inspector.getByLabel('Replica to look into');
  assert.match(await inspector.locator('.step-status').innerText(), /3 of 4 replicas are at work/);
  await chosen.selectOption(String(failed.replica));
  assert.match(await inspector.locator('.step-status').innerText(), new RegExp(`replica ${failed.replica}: no step is under way`));
  await check(page, 'preset failures');
});

test('pools that are planned: the size and the load of each', async (t) => {
  const { page, summaries, names } = await openCase(t, 'planned-pools-h100@1');
  const panel = page.locator('figure', { has: page.getByRole('heading', { name: 'Replicas and pools over time' }) });
  await panel.locator('table').first().waitFor();
  const rows = await cells(panel.locator('.table-scroll').first());
  const expected = summaries.flatMap(({ operations: { pools } }, index) => pools.map((/** @type {any} */ pool) => [`${names[index]}, ${pool.role}`, `${number(pool.mean)} (${count(pool.min)} to ${count(pool.max)})`]));
  assert.equal(expected.length, 4);
  assert.deepEqual(rows.map(([name, serving]) => [name, serving]), expected);
  await panel.getByRole('button', { name: 'KV in use', exact: true }).click();
  const label = String(await panel.locator('canvas').getAttribute('aria-label'));
  for (const [name] of expected) assert.ok(label.includes(`${String(name).replace(', ', ': ')}: mean `), label);
  await check(page, 'preset planned pools');
});

test('images: encoders’ use, queue and times', async (t) => {
  const { page, summaries } = await openCase(t, 'images-h100@1');
  const images = page.locator('section[aria-label="Images"]');
  await images.locator('table').waitFor();
  const spread = (/** @type {any} */ times) => (typeof times?.p50 === 'number' ? `${number(times.p50)} / ${number(times.p99)}\u202fms` : '–');
  const expected = summaries.map(({ encode }) => [count(encode.images), encode.encoders > 0 ? count(encode.encoders) : 'in the engines', percent(encode.utilization), spread(encode.wait_ms), spread(encode.time_ms), spread(encode.transfer_ms)]);
  assert.deepEqual((await cells(images)).map((row) => row.slice(1, 7)), expected);
  const panel = page.locator('figure', { has: page.getByRole('heading', { name: 'Encoders over time' }) });
  await panel.getByRole('button', { name: 'Encoding', exact: true }).click();
  // Encoders at work, in the mean over the run, are about their utilisation times their number; that leaves the warm-up out.
  const means = [...String(await panel.locator('canvas').getAttribute('aria-label')).matchAll(/mean ([\d.]+) encoders/g)].map(([, mean]) => Number(mean));
  const pooled = summaries.filter(({ encode }) => encode.encoders > 0);
  assert.ok(pooled.length > 0);
  assert.equal(means.length, pooled.length);
  pooled.forEach(({ encode }, i) => assert.ok(Math.abs((means[i] ?? NaN) / (encode.utilization * encode.encoders) - 1) < 0.03, `${means[i]} of ${encode.utilization}`));
  await check(page, 'preset images');
});

test('adapters: how often they are there, and what waiting for them costs', async (t) => {
  const { page, summaries } = await openCase(t, 'lora-h100@1');
  await page.locator('summary', { hasText: 'More numbers' }).click();
  const row = page.locator('.more tr', { has: page.locator('th', { hasText: 'Adapters found on the GPU' }) });
  assert.deepEqual(await row.locator('.value').allTextContents(), summaries.map(({ lora }) => (typeof lora?.hit_rate === 'number' ? percent(lora.hit_rate) : '–')));
  assert.ok(summaries.some(({ lora }) => lora?.loads > 0));
  await check(page, 'preset adapters');
});

test('every preset runs, on a phone nothing scrolls sideways', async (t) => {
  const page = await openPage(t, { context: { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true } });
  const names = await page.locator('#preset option').evaluateAll((options) => options.map((option) => /** @type {HTMLOptionElement} */ (option).value));
  assert.ok(names.length >= 18);
  for (const name of names) {
    await page.locator('#preset').selectOption(name);
    await page.waitForFunction(() => document.querySelector('.run-bar')?.getAttribute('data-status') === 'done' && !document.querySelector('.findings')?.classList.contains('stale'), null, { timeout: 60_000 });
    const { scroll, client } = await page.evaluate(() => ({ scroll: document.documentElement.scrollWidth, client: document.documentElement.clientWidth }));
    assert.ok(scroll <= client, `${name} is ${scroll} px wide in ${client}`);
  }
});
