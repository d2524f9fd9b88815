import test from 'node:test';
import assert from 'node:assert/strict';
import { check } from './axe.mjs';
import { openPage, setDocument, slowEngine, smallDocument, status, typeText, useBrowser } from './site.mjs';

useBrowser();

const PHONE = { viewport: { width: 320, height: 640 }, hasTouch: true, isMobile: true };

/** No sideways scrolling of the page. @param {import('playwright-core').Page} page */
async function fits(page) {
  const { scroll, client } = await page.evaluate(() => ({ scroll: document.documentElement.scrollWidth, client: document.documentElement.clientWidth }));
  assert.ok(scroll <= client, `the page is ${scroll} px wide in ${client}`);
}

test('loaded, light and dark', async (t) => {
  await check(await openPage(t), 'loaded');
  await check(await openPage(t, { context: { colorScheme: 'dark' } }), 'dark');
});

test('every part of it opened', async (t) => {
  const page = await openPage(t);
  for (const summary of await page.locator('details > summary').all()) if ((await summary.isVisible()) && !(await summary.evaluate((node) => node.parentElement?.classList.contains('menu')))) await summary.click();
  for (const toggle of await page.locator('.help-toggle:visible').all()) await toggle.click();
  await check(page, 'opened');
  await page.locator('.menu summary').first().click();
  await check(page, 'menu');
  await page.keyboard.press('Escape');
  await page.getByRole('tab', { name: 'Text' }).click();
  await check(page, 'text');
  await page.getByRole('button', { name: 'what the numbers mean' }).click();
  await check(page, 'dialog');
});

test('errors', async (t) => {
  const page = await openPage(t);
  await setDocument(page, smallDocument());
  await page.getByRole('spinbutton', { name: 'TP size' }).fill('2');
  await status(page, 'invalid');
  await check(page, 'error');
});

test('running, with the results of an earlier version below', async (t) => {
  const page = await openPage(t, { prepare: slowEngine });
  await setDocument(page, smallDocument());
  const slow = smallDocument();
  for (const entry of slow.frameworks_to_test) entry.name = `slow ${entry.name}`;
  await typeText(page, JSON.stringify(slow));
  await page.getByRole('progressbar', { name: 'Simulation progress' }).waitFor();
  await check(page, 'running');
  await page.keyboard.press('Escape');
  await status(page, 'cancelled');
  await check(page, 'cancelled');
});

test('a phone of 320 px: both panes, nothing scrolls sideways', async (t) => {
  const page = await openPage(t, { context: PHONE });
  await fits(page);
  await check(page, 'phone results');
  await page.getByRole('button', { name: 'Experiment', exact: true }).click();
  await page.locator('.entry summary').first().click();
  await fits(page);
  await check(page, 'phone experiment');
  const dark = await openPage(t, { context: { ...PHONE, colorScheme: 'dark' } });
  await check(dark, 'phone dark');
});

test('the theme can be chosen, and the choice is kept', async (t) => {
  const page = await openPage(t);
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await background();
  await page.getByRole('button', { name: 'Switch between light and dark' }).click();
  const dark = await background();
  assert.notEqual(dark, light);
  await page.reload();
  assert.equal(await background(), dark);
});

test('the keyboard alone reaches and works everything', async (t) => {
  const page = await openPage(t);
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement?.className), 'skip');
  /** @type {string[]} */
  const reached = [];
  for (let i = 0; i < 120; i += 1) {
    await page.keyboard.press('Tab');
    const here = await page.evaluate(() => {
      const element = document.activeElement;
      if (!element || element === document.body) return null;
      const style = getComputedStyle(element);
      const frame = element.closest('.code-frame');
      const outlined = [style, ...(frame ? [getComputedStyle(frame)] : [])].some(({ outlineStyle, outlineWidth }) => outlineStyle !== 'none' && parseFloat(outlineWidth) >= 1);
      return { what: `${element.tagName} ${element.getAttribute('role') ?? ''} ${element.id || element.textContent?.slice(0, 20)}`, outlined };
    });
    if (!here) break;
    assert.ok(here.outlined, `focus is visible on ${here.what}`);
    reached.push(here.what);
  }
  for (const wanted of ['SELECT  preset', 'BUTTON tab', 'INPUT', 'SUMMARY', 'DIV slider']) assert.ok(reached.some((what) => what.startsWith(wanted)), `${wanted} is reached`);

  await page.getByRole('tab', { name: 'Form' }).focus();
  await page.keyboard.press('ArrowRight');
  assert.equal(await page.getByRole('tab', { name: 'Text' }).getAttribute('aria-selected'), 'true');

  const cursor = page.getByRole('slider', { name: 'Cursor in “Latency distribution”' });
  await cursor.focus();
  await page.keyboard.press('ArrowRight');
  const first = await cursor.getAttribute('aria-valuetext');
  assert.match(String(first), /Time to first token ≤ .*%/);
  await page.keyboard.press('ArrowRight');
  assert.notEqual(await cursor.getAttribute('aria-valuetext'), first);
  assert.ok(await page.locator('figure').first().locator('.tip').isVisible());
});

test('the live region speaks at most once a second and ends with the result', async (t) => {
  const page = await openPage(t);
  await setDocument(page, smallDocument());
  await page.evaluate(() => {
    const log = /** @type {any} */ (window).spoken = /** @type {[number, string][]} */ ([]);
    const region = /** @type {Element} */ (document.querySelector('[role=status]'));
    new MutationObserver(() => log.push([performance.now(), region.textContent ?? ''])).observe(region, { childList: true, characterData: true, subtree: true });
  });
  const requests = page.getByRole('spinbutton', { name: 'Requests', exact: true });
  for (const count of ['210', '220', '230', '240']) {
    await requests.fill(count);
    await page.waitForTimeout(500);
  }
  await page.waitForTimeout(2500);
  /** @type {[number, string][]} */
  const spoken = await page.evaluate(() => /** @type {any} */ (window).spoken);
  assert.match(String(spoken.at(-1)?.[1]), /^Simulated 2 entries, 240 requests each/);
  for (let i = 1; i < spoken.length; i += 1) assert.ok(Number(spoken[i]?.[0]) - Number(spoken[i - 1]?.[0]) >= 990);
});
