import test from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import * as format from './format.js';
import { BACKGROUND, DARK, LIGHT, entryColor, entryDash } from './palette.js';
import { kindOfFile } from './files.js';
import { cliCommand, openLink } from './link.js';
import { createStore, defaultView, readView, shortView } from './store.js';
import { describeKey } from './schema.js';
import { lineOf } from './text-position.js';
import { HEADLINE, readMetric } from './metrics.js';
import { bestOf } from './views/results-table.js';
import { quantile, shareBelow } from './views/charts.js';

test('numbers have three digits, and never claim more than they know', () => {
  assert.deepEqual([0.01234, 1.234, 12.34, 123.4, 12345.6].map(format.number), ['0.0123', '1.23', '12.3', '123', '12,346']);
  assert.equal(format.number(NaN), '–');
  assert.equal(format.percent(0.99996), '99.99\u202f%');
  assert.equal(format.percent(1), '100\u202f%');
  assert.deepEqual([format.delta(110, 100), format.delta(96.6, 100), format.delta(420, 100), format.delta(100, 100), format.delta(5, 0)], ['+10\u202f%', '−3.4\u202f%', '×4.2', '', '']);
  assert.equal(format.inWords({ message: 'needs 2 GPUs', hint: 'use `2xH100-SXM`' }), 'Needs 2 GPUs. Use 2xH100-SXM.');
  assert.equal(format.fileStem('../Chat: 8×H100 <b>'), 'Chat-8-H100-b');
});

/** WCAG 2 relative luminance. @param {string} hex */
function luminance(hex) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * Number(r) + 0.7152 * Number(g) + 0.0722 * Number(b);
}
/** @param {string} a @param {string} b */
function contrast(a, b) {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (Number(high) + 0.05) / (Number(low) + 0.05);
}

test('every entry stands out from its background, and from its neighbours by dash', () => {
  for (const color of LIGHT) assert.ok(contrast(color, BACKGROUND.light) >= 4.5, color);
  for (const color of DARK) assert.ok(contrast(color, BACKGROUND.dark) >= 4.5, color);
  for (let i = 0; i < 16; i += 1) assert.notEqual(entryDash(i), entryDash(i + 1));
  assert.equal(entryColor(0, false), entryColor(8, false));
  assert.notEqual(entryDash(0), entryDash(8));
});

test('the style sheet has the palette of the charts', () => {
  const css = readFileSync(new URL('../style.css', import.meta.url), 'utf8');
  for (const colors of [LIGHT, DARK]) colors.forEach((color, i) => assert.ok(css.includes(`--entry-${i}: ${color};`), color));
  for (const background of Object.values(BACKGROUND)) assert.ok(css.includes(`--surface: ${background};`));
});

test('files are told apart by name and content', () => {
  assert.equal(kindOfFile('AzureLLMInferenceTrace_conv.csv', 'TIMESTAMP,ContextTokens,GeneratedTokens\n'), 'trace');
  assert.equal(kindOfFile('experiment.yml', 'simulation:\n'), 'document');
  assert.equal(kindOfFile('mooncake.json', '{"timestamp": 0, "input_length": 5}\n{"timestamp": 3}\n'), 'trace');
  assert.equal(kindOfFile('experiment.json', '{\n  "simulation": {}\n}\n'), 'document');
  assert.equal(kindOfFile('azure.csv.gz', '\u001f\u008b'), 'trace');
  assert.equal(kindOfFile('trace', 'a,b\n1,2\n'), 'trace');
});

test('a bad link is explained, a long one not even read', () => {
  const engine = { linkDecode() { throw { message: 'not base64url' }; } };
  assert.deepEqual(openLink(engine, ''), { kind: 'none' });
  assert.deepEqual(openLink(engine, '#v1.x'), { kind: 'broken', message: 'not base64url' });
  const never = { linkDecode() { throw new Error('was called'); } };
  const long = openLink(never, `#v1.${'a'.repeat(20_000)}`);
  assert.equal(long.kind, 'broken');
  assert.match(/** @type {any} */ (long).message, /20003 characters/);
});

test('the command quotes the link and names the trace', () => {
  assert.match(cliCommand('#v1.abc', ''), /^llmperforacle open 'v1\.abc'/);
  assert.match(cliCommand('#v1.abc', 'a\nb.csv'), /^# needs a b\.csv/);
});

test('a view from a link is taken over word by word', () => {
  assert.deepEqual(readView({ latency: 'evil', hidden: [1, 'a'], timelineEntry: -1, queue: 'waiting' }), { ...defaultView(), hidden: ['a'], queue: 'waiting' });
  assert.deepEqual(shortView({ ...defaultView(), logLatency: false }), { logLatency: false });
  assert.deepEqual(readView(null), defaultView());
});

test('a listener that updates is told once more, not within itself', () => {
  const store = createStore(/** @type {any} */ ({ a: 0, b: 0 }));
  /** @type {any[]} */
  const seen = [];
  store.subscribe((state) => {
    const { a, b } = /** @type {any} */ (state);
    seen.push([a, b]);
    if (b !== a) store.update(/** @type {any} */ ({ b: a }));
  });
  store.update(/** @type {any} */ ({ a: 1 }));
  assert.deepEqual(seen, [[1, 0], [1, 1]]);
});

test('help and range come from the schema, through references and options', () => {
  const schema = {
    properties: { workload: { $ref: '#/$defs/W', description: 'The requests.' } },
    $defs: { W: { properties: { n: { description: 'How `many`.\n Really.', anyOf: [{ $ref: '#/$defs/N' }, { type: 'null' }] } } }, N: { minimum: 1, maximum: 9 } },
  };
  assert.deepEqual(describeKey(schema, 'workload.n'), { help: 'How many. Really.', minimum: 1, maximum: 9 });
  assert.deepEqual(describeKey(schema, 'nothing[0].here'), { help: '', minimum: null, maximum: null });
});

test('a path is found in its text', () => {
  const text = JSON.stringify({ a: { b: [1, { c: 'x,]"}' }] }, d: 2 }, null, 2);
  const lines = text.split('\n');
  const at = (/** @type {string} */ path) => lines[lineOf(text, path) - 1]?.trim();
  assert.equal(at('a.b[1].c'), '"c": "x,]\\"}"');
  assert.equal(at('d'), '"d": 2');
  assert.equal(at('a.b[0]'), '1,');
  assert.equal(at('a.missing'), '"a": {');
  assert.equal(lineOf('{ broken', 'a'), 1);
});

test('the best is judged by what is shown', () => {
  const ttft = /** @type {any} */ (HEADLINE[0]?.metrics[0]);
  assert.deepEqual(bestOf(ttft, [20, 10, null]), new Set([1]));
  assert.deepEqual(bestOf(ttft, [10.001, 10.002]), new Set());
  assert.deepEqual(bestOf(ttft, [10, 10.04, 10.03]), new Set(), 'a tie');
  assert.deepEqual(bestOf(ttft, [10, 10.004, 12]), new Set([0, 1]), 'both read 10');
  assert.deepEqual(bestOf(ttft, [10]), new Set());
  assert.equal(readMetric(ttft, { summary: { latency: { time_to_first_token_ms: { p50: 3 } } } }), 3);
  assert.equal(readMetric(ttft, { summary: { latency: null } }), null);
});

test('the page asks for all its modules at once', () => {
  const root = new URL('../', import.meta.url);
  /** @type {Set<string>} */
  const needed = new Set();
  const walk = (/** @type {URL} */ url) => {
    const name = url.href.slice(root.href.length);
    if (needed.has(name)) return;
    needed.add(name);
    if (name.startsWith('pkg/')) return;
    for (const [, path] of readFileSync(url, 'utf8').matchAll(/^import [^;]*?'(\.[^']+)';/gm)) walk(new URL(String(path), url));
  };
  walk(new URL('js/main.js', root));
  needed.delete('js/main.js');
  const html = readFileSync(new URL('index.html', root), 'utf8');
  const asked = [...html.matchAll(/rel="modulepreload" href="([^"]+)"/g)].map(([, name]) => String(name));
  assert.deepEqual(asked, [...needed].sort());
});

test('percentiles are numpy’s linear ones', () => {
  const values = new Float64Array([1, 2, 3, 4]);
  assert.equal(quantile(values, 0.5), 2.5); // numpy.percentile([1, 2, 3, 4], 50)
  assert.ok(Math.abs(quantile(values, 0.9) - 3.7) < 1e-12);
  assert.equal(shareBelow(values, 2), 0.5);
  assert.equal(shareBelow(values, 0.5), 0);
  assert.ok(Number.isNaN(quantile(new Float64Array(), 0.5)));
});
