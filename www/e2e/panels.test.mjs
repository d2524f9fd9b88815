// The panels below the charts: what separates the entries, a benchmark of one's own, one step, how far to trust it.

import test from 'node:test';
import assert from 'node:assert/strict';
import { documentOf, drop, finished, openPage, setDocument, smallDocument, useBrowser } from './site.mjs';

useBrowser();

/** Output of `vllm bench serve` with its requests, of a server whose tokens take twice the time. */
function benchmark() {
  const count = 60;
  const list = (/** @type {(i: number) => any} */ make) => Array.from({ length: count }, (_, i) => make(i));
  const tokens = list((i) => 20 + ((i * 13) % 100));
  return JSON.stringify({
    backend: 'vllm', model_id: 'meta-llama/Llama-3.1-8B-Instruct', num_prompts: count, request_rate: 4, max_concurrency: null, duration: 16,
    completed: count, failed: 0, total_input_tokens: count * 512, total_output_tokens: tokens.reduce((a, b) => a + b, 0),
    request_throughput: 3.7, output_throughput: 250,
    mean_ttft_ms: 60, median_ttft_ms: 58, p99_ttft_ms: 90, mean_tpot_ms: 15, median_tpot_ms: 15, p99_tpot_ms: 17,
    input_lens: list(() => 512), output_lens: tokens, start_times: list((i) => i * 0.25),
    ttfts: list((i) => 0.055 + (i % 7) * 0.002), itls: tokens.map((n) => Array.from({ length: n - 1 }, () => 0.015)),
  });
}

test('a benchmark dropped on the page is fitted, laid over the charts, and its factors go into the experiment', async (t) => {
  const page = await openPage(t);
  await setDocument(page, smallDocument());
  await drop(page, [{ name: 'bench.json', text: benchmark() }]);
  const panel = page.locator('.measured-panel');
  await panel.getByRole('button', { name: 'Put factors and requests into the experiment' }).waitFor({ timeout: 60_000 });
  assert.match(await panel.getByRole('status').innerText(), /vLLM bench serve, 60 requests: .* off by/);
  assert.match(await panel.locator('tbody tr', { hasText: 'TPOT mean' }).innerText(), /15/);
  // The curve of the requests is among the charts' words, and so is the rate.
  const canvas = page.locator('canvas').first();
  assert.match(String(await canvas.getAttribute('aria-label')), /measured: p50/);
  assert.match(String(await page.locator('canvas').nth(1).getAttribute('aria-label')), /measured mean: 250/);

  await panel.getByRole('button', { name: 'Put factors and requests into the experiment' }).click();
  await page.waitForFunction(() => document.querySelector('.run-line')?.textContent?.includes('60 requests'));
  await finished(page);
  const { frameworks_to_test: entries, workload } = await documentOf(page);
  assert.ok(entries[0].config.calibration.device_time > 1.3, JSON.stringify(entries[0].config.calibration));
  assert.match(entries[0].config.calibration.source, /bench\.json \(vLLM bench serve\)/);
  assert.equal(workload.trace.path, 'benchmark-requests.csv');
  await panel.getByRole('button', { name: 'Take the benchmark off the charts' }).click();
  assert.doesNotMatch(String(await canvas.getAttribute('aria-label')), /measured/);
});

test('a file that is nearly a benchmark’s output is refused in words', async (t) => {
  const page = await openPage(t);
  await setDocument(page, smallDocument());
  await drop(page, [{ name: 'bench.json', text: '{"mean_ttft_ms": 12}' }]);
  const status = page.locator('.measured-panel').getByRole('status');
  await status.filter({ hasText: 'cannot be used' }).waitFor();
  assert.match(await status.innerText(), /completed is missing/);
});

test('“why” names what separates the entries', async (t) => {
  const page = await openPage(t);
  const document = smallDocument();
  document.workload.client_profiles[0].inter_arrival_time_dist_config.rate = 16;
  await setDocument(page, document);
  // `second` may run four sequences at a time: its queue is held back by that rule, that of `first` is not.
  const first = page.locator('.why-list li').first();
  assert.match(await first.innerText(), /second/);
  assert.match(await first.locator('b').first().innerText(), /\d/, 'with a number');
});

test('the step inspector shows a moment, moves by steps, and shows another entry', async (t) => {
  const page = await openPage(t);
  await setDocument(page, smallDocument());
  const panel = page.locator('.inspector-panel');
  await panel.locator('summary').first().click();
  const status = panel.locator('.step-status');
  const at = panel.getByLabel('Moment, simulated seconds');
  await status.filter({ hasText: / at [\d.]+.s: / }).waitFor();
  await at.fill('5');
  await at.press('Tab');
  await status.filter({ hasText: 'first at 5' }).waitFor();
  await panel.locator('.split').waitFor();
  const facts = await panel.locator('.facts').innerText();
  assert.match(facts, /KV memory/);
  await panel.getByRole('button', { name: 'Next step' }).click();
  await page.waitForFunction(() => Number(/** @type {HTMLInputElement} */ (document.querySelector('.inspector-controls input[type="number"]')).value) > 5);
  const later = Number(await at.inputValue());
  assert.ok(later < 5.5, `the next step starts at ${later} s`);
  await panel.getByLabel('Entry to look into').selectOption({ label: 'second' });
  await status.filter({ hasText: 'second at' }).waitFor();
  assert.match(await panel.locator('.facts').innerText(), /at most 4/);
});

test('what is modelled of each stack, and what is left out, is a step away from what separates the entries', async (t) => {
  const page = await openPage(t);
  await setDocument(page, smallDocument());
  await page.getByRole('button', { name: /^What of each stack is modelled/ }).click();
  const panel = page.locator('.rules-panel');
  // The sections of the stacks shown are open.
  await panel.locator('.rules-section[open]', { hasText: 'Running first' }).first().waitFor();
  const open = panel.locator('.rules-section[open]');
  assert.match(await open.first().innerText(), /What is modelled[^]*What is left out/);
  const { sections } = await page.evaluate(async () => (await fetch('data/frameworks.json')).json());
  assert.equal(await panel.locator('.rules-section').count(), sections.length);
  // No mark-up is left in what a reader sees.
  await panel.locator('.rules-section').evaluateAll((all) => all.forEach((section) => { /** @type {HTMLDetailsElement} */ (section).open = true; }));
  assert.doesNotMatch(await panel.innerText(), /`|\]\(/);
});

test('the trust panel shows predicted against measured, each result’s class, and what the report says', async (t) => {
  const page = await openPage(t);
  await setDocument(page, smallDocument());
  const panel = page.locator('.trust-panel');
  await panel.locator('summary').first().click();
  await panel.locator('svg.scatter circle').first().waitFor();
  assert.ok((await panel.locator('svg.scatter circle').count()) > 20, 'a dot a run');
  assert.match(await panel.innerText(), /first/);
  const report = await page.evaluate(async () => (await fetch('data/accuracy.json')).json());
  assert.ok(report.runs.length > 50);
});

/** Sixteen replicas behind a router that weighs what they have cached. @param {number} replicas */
function fleetDocument(replicas) {
  const document = smallDocument();
  document.workload = /** @type {any} */ ({ preset: 'chat', rate_scale: replicas / 4, total_requests_to_generate: 40 * replicas });
  document.frameworks_to_test = /** @type {any} */ ([{ name: 'fleet', type: 'VLLM', replicas, router: { policy: 'kv' }, config: { model_profile_id: 'Llama-3.1-8B' } }]);
  return document;
}

test('a fleet is drawn with its load, its router’s scores, and its cost', async (t) => {
  const page = await openPage(t);
  assert.ok(await page.locator('.fleet-panel').isVisible(), 'the first page compares fleets or engines that are one');
  await setDocument(page, fleetDocument(16));
  const panel = page.locator('.fleet-panel');
  await panel.locator('summary').first().click();
  await panel.locator('.tile').first().waitFor();
  assert.equal(await panel.locator('.tile').count(), 16);
  assert.match(await panel.locator('.facts').innerText(), /16 on 16 GPUs[^]*GPU hours[^]*\$/);
  const readout = panel.locator('.fleet-readout');
  const before = await readout.innerText();
  await panel.getByLabel('Moment').fill('100');
  assert.notEqual(await readout.innerText(), before);
  await panel.getByRole('button', { name: 'KV in use' }).click();
  assert.match(await readout.innerText(), /kv in use .*%/);
  await panel.getByRole('button', { name: 'What did the router weigh' }).click();
  await panel.locator('.score-list li').first().waitFor();
  assert.equal(await panel.locator('.score-list li').count(), 16, 'every candidate has a score');
  assert.equal(await panel.locator('.score-list li.chosen').count(), 1);
  await panel.locator('details.data summary').click();
  await panel.locator('tbody tr').first().waitFor();
  assert.equal(await panel.locator('tbody tr').count(), 16);
});

test('64 replicas are readable on a phone and move smoothly', async (t) => {
  const page = await openPage(t, { context: { viewport: { width: 390, height: 844 } } });
  await page.locator('[data-pane-button="experiment"]').click();
  await setDocument(page, fleetDocument(64));
  await page.locator('[data-pane-button="results"]').click();
  const panel = page.locator('.fleet-panel');
  await panel.locator('summary').first().click();
  await panel.locator('.tile').nth(63).waitFor();
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), 'nothing is wider than the screen');
  const tile = await panel.locator('.tile').first().boundingBox();
  assert.ok(tile && tile.width >= 30, 'a tile can be read');
  const perMove = await page.evaluate(() => {
    const slider = /** @type {HTMLInputElement} */ (document.querySelector('.fleet input[type="range"]'));
    const start = performance.now();
    for (let i = 0; i < 20; i += 1) {
      slider.value = String(i * 5);
      slider.dispatchEvent(new Event('input', { bubbles: true }));
      document.body.getBoundingClientRect();
    }
    return (performance.now() - start) / 20;
  });
  t.diagnostic(`${perMove.toFixed(1)} ms a move`);
  assert.ok(perMove < 50, `${perMove} ms a move`);
});

test('replicas, router and pools are fields of the form, with the schema’s words', async (t) => {
  const page = await openPage(t);
  const document = smallDocument();
  document.frameworks_to_test.length = 1;
  await setDocument(page, document);
  const entry = page.locator('.entry').first();
  await entry.locator('summary').first().click();
  await entry.getByRole('spinbutton', { name: 'Replicas', exact: true }).fill('3');
  const router = entry.getByRole('combobox', { name: 'Router' });
  await router.waitFor();
  assert.ok((await router.locator('option').allTextContents()).includes('power of two'));
  await router.selectOption({ label: 'power of two' });
  await finished(page);
  const { replicas, router: said } = (await documentOf(page)).frameworks_to_test[0];
  assert.deepEqual([replicas, said], [3, { policy: 'power_of_two' }]);
  await router.selectOption({ label: 'default' });
  assert.equal((await documentOf(page)).frameworks_to_test[0].router, undefined);
});
