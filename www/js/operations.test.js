import test from 'node:test';
import assert from 'node:assert/strict';
import { csvText } from './views/chart-panel.js';
import { lastAt } from './views/over-time.js';
import { loadLines, sizeLines, staysOver } from './views/operation-charts.js';
import { movedBy } from './views/sensitivity.js';

const result = /** @type {any} */ ({ name: 'a', entryIndex: 2, endS: 10 });

test('stays with the encoders are means over bins, whatever bins they begin and end in', () => {
  // Two requests, four bins of 1 s: waiting from 0.5 to 2 s and from 1 to 1.25 s.
  const instants = Float64Array.from([500, 2000, 2500, 2600, 1000, 1250, 3000, 9000]);
  assert.deepEqual([...staysOver(instants, 0, 1, 4, 4)], [0.5, 1.25, 0, 0]);
  assert.deepEqual([...staysOver(instants, 1, 2, 4, 4)], [0, 0.75, 1.5, 0]);
  assert.deepEqual([...staysOver(instants, 2, 3, 4, 4)], [0, 0, 0.1, 1], 'what lasts beyond the end is cut there');
  assert.deepEqual([...staysOver(new Float64Array(), 0, 1, 0, 3)], [0, 0, 0]);
});

test('sizes of pools hold until they change, and the last until the end', () => {
  const sizes = [[[0, 0, 2, 0, 0], [4, 1, 2, 0, 0]], [[0, 0, 1, 0, 0]]];
  const [prefill, decode] = sizeLines(result, /** @type {any} */ ({ sizes }), 1);
  assert.deepEqual([prefill?.name, decode?.name], ['a: prefill', 'a: decode']);
  assert.deepEqual([[...prefill?.atS ?? []], [...prefill?.values ?? []]], [[0, 4, 10], [0, 1, 1]]);
  assert.deepEqual([lastAt(Float64Array.of(0, 4, 10), 3.9), lastAt(Float64Array.of(0, 4, 10), 4), lastAt(Float64Array.of(1), 0)], [0, 1, 0]);
});

test('loads of a pool are sums over its replicas, KV a share of what the pool has', () => {
  const fleet = /** @type {any} */ ({
    bins: 2, binS: 5, sizes: [],
    replicas: [{ role: 'prefill', kvTokens: 100 }, { role: 'decode', kvTokens: 100 }, { role: 'decode', kvTokens: 300 }],
    running: Float64Array.of(1, 2, 3, 4, 5, 6), tokens: Float64Array.of(10, 20, 30, 40, 50, 60),
  });
  assert.deepEqual(loadLines(result, fleet, 'running').map(({ values }) => [...values]), [[1, 2], [8, 10]]);
  assert.deepEqual(loadLines(result, fleet, 'tokens').map(({ values }) => [...values]), [[0.1, 0.2], [0.2, 0.25]]);
});

test('a CSV quotes what would break it and leaves missing numbers empty', () => {
  assert.equal(csvText([['time, s', 'a "b"'], [1.5, undefined], [NaN, 'x']]), '"time, s","a ""b"""\r\n1.5,\r\n,x\r\n');
});

test('ranges are over the number as assumed and every variant; a number that one lacks is left out', () => {
  const variants = /** @type {any} */ ({ metrics: [['TTFT', 'ms', '/latency/ttft'], ['gone', 'ms', '/latency/none']], variants: [['host time', 0.5, {}], ['host time', 2, {}]] });
  const summary = (/** @type {number} */ ttft) => ({ latency: { ttft } });
  assert.deepEqual(movedBy(variants, summary(10), [summary(9), summary(14)]), [{
    name: 'TTFT', unit: 'ms', value: 10, low: 9, high: 14, by: [{ assumption: 'host time', factor: 0.5, value: 9 }, { assumption: 'host time', factor: 2, value: 14 }],
  }]);
});
