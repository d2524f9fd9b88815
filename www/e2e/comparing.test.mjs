// What makes a comparison comfortable: looking closer, taking numbers away, keeping results beside later ones, taking an edit back, and
// asking how much the assumptions matter.

import test from 'node:test';
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { number } from '../js/format.js';
import { check } from './axe.mjs';
import { documentOf, finished, openPage, patchEngine, rowOf, setDocument, smallDocument, useBrowser } from './site.mjs';

useBrowser();

test('a chart is zoomed by dragging, by keys and by buttons, and shows everything again', async (t) => {
  const page = await openPage(t);
  await setDocument(page, smallDocument());
  const figure = page.locator('figure', { has: page.getByRole('heading', { name: 'Throughput over time' }) });
  const cursor = figure.getByRole('slider');
  await figure.scrollIntoViewIfNeeded();
  const seconds = async (/** @type {string} */ key) => {
    await cursor.press(key);
    return Number.parseFloat(String(await cursor.getAttribute('aria-valuetext')));
  };
  await cursor.focus();
  await cursor.press('ArrowRight');
  const [first, last] = [await seconds('Home'), await seconds('End')];
  assert.ok(last > 20, `the run lasts ${last} s`);

  const box = await cursor.boundingBox();
  assert.ok(box);
  await page.mouse.move(box.x + box.width * 0.4, box.y + 40);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.5, box.y + 60);
  await page.mouse.move(box.x + box.width * 0.6, box.y + 60);
  assert.ok(await figure.locator('.zoom-box').isVisible());
  await page.mouse.up();
  const all = figure.getByRole('button', { name: 'Throughput over time: show everything' });
  await all.waitFor();
  await cursor.focus();
  await cursor.press('ArrowRight');
  const near = await seconds('ArrowRight');
  assert.ok(near > first + 0.2 * (last - first) && near < first + 0.8 * (last - first), `${near} s is in the shown part`);
  // Beyond the shown part the axis follows.
  assert.ok((await seconds('End')) > first + 0.8 * (last - first));
  await all.click();
  await all.waitFor({ state: 'hidden' });

  await cursor.focus();
  await cursor.press('+');
  await all.waitFor();
  await cursor.press('0');
  await all.waitFor({ state: 'hidden' });
  await figure.getByRole('button', { name: 'Throughput over time: zoom in' }).click();
  await all.waitFor();
  await figure.getByRole('button', { name: 'Throughput over time: zoom out' }).click();
  await all.waitFor({ state: 'hidden' });
  assert.ok(await figure.getByRole('button', { name: 'Throughput over time: zoom in' }).evaluate((button) => button === document.activeElement), 'the focus is not lost with the button');
});

test('a chart’s numbers are taken away as CSV', async (t) => {
  const page = await openPage(t);
  await setDocument(page, smallDocument());
  const save = async (/** @type {string} */ chart) => {
    const download = page.waitForEvent('download');
    await page.getByRole('button', { name: `${chart}: download CSV` }).click();
    return (await readFile(await (await download).path(), 'utf8')).trimEnd().split('\r\n').map((line) => line.split(','));
  };
  const latency = await save('Latency distribution');
  assert.deepEqual(latency[0], ['share', '"first', ' ms"', '"second', ' ms"']);
  const middle = latency.find(([share]) => share === '0.5');
  assert.deepEqual(middle?.slice(1).map((cell) => number(Number(cell))), await rowOf(page, 'TTFT p50'), 'the median is that of the table');
  const timeline = await save('Request timeline');
  assert.equal(timeline.length, 201, 'a row a request');
});

test('pinned results stay beside those of the next version', async (t) => {
  const page = await openPage(t);
  await setDocument(page, smallDocument());
  const before = await rowOf(page, 'TTFT p99');
  await page.getByRole('button', { name: 'Pin these results' }).click();
  assert.deepEqual(await rowOf(page, 'TTFT p99'), before, 'not yet beside themselves');
  await page.getByRole('spinbutton', { name: 'Rate requests/s' }).fill('16');
  await page.waitForFunction(() => document.querySelectorAll('.numbers thead')[0]?.querySelectorAll('th').length === 4);
  await finished(page);
  const after = await rowOf(page, 'TTFT p99');
  assert.deepEqual(after.slice(2), before);
  assert.notDeepEqual(after.slice(0, 2), before);
  assert.match(String(await page.locator('canvas').first().getAttribute('aria-label')), /second \(pinned\): p50/);
  await check(page, 'pinned');
  await page.getByRole('button', { name: 'Unpin' }).click();
  assert.equal((await rowOf(page, 'TTFT p99')).length, 2);
});

test('an edit is taken back and made again', async (t) => {
  const page = await openPage(t);
  await setDocument(page, smallDocument());
  await page.waitForTimeout(1100);
  const rate = page.getByRole('spinbutton', { name: 'Rate requests/s' });
  await rate.fill('16');
  await finished(page);
  await page.getByRole('button', { name: 'Undo' }).click();
  assert.equal(await rate.inputValue(), '8');
  assert.equal((await documentOf(page)).workload.client_profiles[0].inter_arrival_time_dist_config.rate, 8);
  await page.getByRole('heading', { level: 2 }).first().click();
  await page.keyboard.press('Control+Shift+Z');
  assert.equal(await rate.inputValue(), '16');
  assert.ok(await page.getByRole('button', { name: 'Redo' }).isDisabled());
});

test('how much the assumptions matter: by keyboard, each number with its range, as the engine’s own runs have it', async (t) => {
  const page = await openPage(t);
  await setDocument(page, smallDocument());
  const panel = page.locator('.trust-panel');
  await panel.locator('summary').first().click();
  const start = panel.getByRole('button', { name: 'How much do the assumptions matter?' });
  await start.focus();
  await page.keyboard.press('Enter');
  const ranges = panel.locator('.sensitivity-ranges');
  await ranges.waitFor({ timeout: 60_000 });
  const base = (await rowOf(page, 'TTFT p99'))[0];
  const row = ranges.locator('tr', { hasText: 'TTFT p99' }).locator('td');
  assert.equal(await row.nth(0).innerText(), base, 'as assumed: the number of the table');
  assert.equal(await ranges.locator('tbody tr').count(), 5);
  const tornado = panel.locator('.tornado');
  await panel.getByLabel('Number shown by assumption').selectOption({ label: 'TPOT median' });
  // Step times on the device a tenth longer: the time per token rises by nearly that.
  const device = await tornado.locator('tr', { hasText: 'device time' }).locator('td').last().innerText();
  const rise = Number(/\+(\d+(\.\d+)?)/.exec(device)?.[1]);
  assert.ok(rise > 5 && rise <= 10.5, device);
  // The same by hand: the document with that factor.
  const document = smallDocument();
  const entry = /** @type {any} */ (document.frameworks_to_test[0]);
  const shown = device.split(/\s/)[0];
  await check(page, 'assumptions');
  for (const one of document.frameworks_to_test) /** @type {any} */ (one.config).calibration = { device_time: 1.1 };
  assert.ok(entry.config.calibration);
  await setDocument(page, { ...document, title: 'By hand' });
  assert.equal((await rowOf(page, 'TPOT p50'))[0], shown);
  assert.ok(await panel.locator('.sensitivity-body').isHidden(), 'numbers of another version are gone');
});

test('trying the assumptions can be cancelled, and an edit is more urgent', async (t) => {
  // Variants of entries called “slow…” last as long as the test needs.
  const page = await openPage(t, { prepare: (context) => patchEngine(context, () => 'let tried = 0; const advance = Simulation.prototype.advance; Simulation.prototype.advance = function () { if (!this.name.startsWith("slow")) return advance.apply(this, arguments); tried += 1; if (tried < 2) return advance.apply(this, arguments); const end = performance.now() + 30; while (performance.now() < end); return advance.call(this, 5); };') });
  const document = smallDocument();
  document.frameworks_to_test.length = 1;
  Object.assign(/** @type {any} */ (document.frameworks_to_test[0]), { name: 'slow one' });
  document.workload.total_requests_to_generate = 40;
  await setDocument(page, document);
  const panel = page.locator('.trust-panel');
  await panel.locator('summary').first().click();
  const start = panel.getByRole('button', { name: 'How much do the assumptions matter?' });
  await start.click();
  const cancel = panel.getByRole('button', { name: 'Cancel' });
  await cancel.waitFor();
  assert.ok(await cancel.evaluate((button) => button === document.activeElement));
  await page.keyboard.press('Enter');
  await panel.locator('.sensitivity [role=status]', { hasText: 'Cancelled.' }).waitFor();
  assert.ok(await panel.locator('.sensitivity-body').isHidden());
  await start.click();
  await cancel.waitFor();
  await setDocument(page, { ...smallDocument(), title: 'More urgent' });
  assert.ok(await cancel.isHidden());
});
