import test from 'node:test';
import assert from 'node:assert/strict';
import { dotsOf } from './views/trust.js';

/** @param {any} fields */
const run = (fields) => ({ id: 'r', set: '1', use: 'check', framework: 'vllm', model: null, gpu: null, confidence: null, ...fields });

test('a run is a dot by the first metric of the kind that it has, and none without a positive pair', () => {
  const runs = [
    run({ metrics: [['tpot_p50_ms', 9, 10], ['tpot_mean_ms', 12, 10]] }),
    run({ metrics: [['ttft_ms', 50, 40]] }),
    run({ metrics: [['tpot_ms', 5, 0]] }),
  ];
  assert.deepEqual(dotsOf(runs, 'tpot').map(({ predicted, measured, error }) => [predicted, measured, Math.round(error * 1000) / 1000]), [[12, 10, 0.2]]);
  assert.equal(dotsOf(runs, 'ttft')[0]?.error, 0.25);
  assert.deepEqual(dotsOf(runs, 'throughput'), []);
});
