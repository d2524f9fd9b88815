import test from 'node:test';
import assert from 'node:assert/strict';
import * as d from './document.js';

const base = () => ({
  simulation: { random_seed: 1 },
  hardware_profile: { node: 'H100-SXM' },
  workload: {
    total_requests_to_generate: 100,
    client_profiles: [{ profile_name: 'p', shared_prefix_tokens: 7, inter_arrival_time_dist_config: { type: 'Exponential', rate: 4 }, prompt_tokens_dist_config: { value: 1 }, max_output_tokens_dist_config: { value: 2 } }],
  },
  frameworks_to_test: [{ name: 'a', type: 'VLLM', config: { model_profile_id: 'm' } }, { name: 'b', type: 'VLLM', config: { model_profile_id: 'm', max_num_seqs: 8 } }],
});

test('paths are read and written without touching the rest', () => {
  const document = base();
  const edited = d.setAt(document, 'frameworks_to_test[1].config.max_num_seqs', 9);
  assert.equal(d.getAt(edited, 'frameworks_to_test[1].config.max_num_seqs'), 9);
  assert.equal(d.getAt(document, 'frameworks_to_test[1].config.max_num_seqs'), 8);
  assert.equal(edited.workload, document.workload);
  assert.equal(edited.frameworks_to_test[0], document.frameworks_to_test[0]);
  assert.equal(d.getAt(document, 'workload.nothing.here[3]'), undefined);
});

test('taking the last target out takes its section out, and no other section', () => {
  const withTarget = d.setAt(base(), 'metrics_config.slo.ttft_ms', 500);
  assert.deepEqual(withTarget.metrics_config, { slo: { ttft_ms: 500 } });
  assert.deepEqual(d.setAt(withTarget, 'metrics_config.slo.ttft_ms', undefined), base());
  const bare = d.setAt(base(), 'frameworks_to_test[0].config.model_profile_id', undefined);
  assert.deepEqual(bare.frameworks_to_test[0].config, {});
});

test('every kind of traffic survives being written and read, with its rate', () => {
  for (const kind of /** @type {const} */ (['poisson', 'steady', 'bursty'])) {
    const read = d.readTraffic(d.writeTraffic(base(), { kind, ratePerS: 2.5 }));
    assert.equal(read.kind, kind);
    assert.equal(read.ratePerS, 2.5);
  }
  const bursty = d.readTraffic(d.writeTraffic(base(), { kind: 'bursty', ratePerS: 3, cv: 4 }));
  assert.deepEqual([bursty.ratePerS, bursty.cv], [3, 4]);
});

test('a gamma process has the asked coefficient of variation', () => {
  const { shape, scale } = d.writeTraffic(base(), { kind: 'bursty', ratePerS: 5, cv: 2 }).workload.client_profiles[0].inter_arrival_time_dist_config;
  // Gamma: mean = shape * scale, variance = shape * scale^2.
  assert.ok(Math.abs(shape * scale - 0.2) < 1e-9);
  assert.ok(Math.abs(Math.sqrt(shape) * scale / (shape * scale) - 2) < 1e-9);
});

test('changing the traffic keeps lengths and keys the form does not know', () => {
  const closed = d.writeTraffic(base(), { kind: 'closed', concurrency: 12 });
  assert.equal(closed.workload.concurrency, 12);
  assert.equal(closed.workload.client_profiles[0].inter_arrival_time_dist_config, undefined);
  assert.equal(closed.workload.client_profiles[0].shared_prefix_tokens, 7);
  const back = d.writeTraffic(closed, { kind: 'poisson', ratePerS: 4 });
  assert.deepEqual(back, base());
});

test('what the form cannot express is called so', () => {
  const two = base();
  two.workload.client_profiles.push(two.workload.client_profiles[0]);
  assert.equal(d.readTraffic(two).kind, 'other');
  assert.match(d.readTraffic(two).why, /2 kinds of client/);
  assert.equal(d.readTraffic({ workload: { preset: 'chat' } }).kind, 'named');
  assert.equal(d.readTraffic({ workload: { trace: { path: 'x' } } }).kind, 'trace');
});

test('entries get unique names and share the model', () => {
  const more = d.duplicateEntry(d.duplicateEntry(base(), 0), 0);
  assert.deepEqual(d.entriesOf(more).map(({ name }) => name), ['a', 'a 3', 'a 2', 'b']);
  const added = d.addEntry(base(), { kind: 'VLLM', label: 'vLLM' });
  assert.deepEqual(d.entriesOf(added)[2], { name: 'vLLM', type: 'VLLM', config: { model_profile_id: 'm' } });
  assert.deepEqual(d.removeEntry(added, 2), base());
});

test('an option is shared or mixed', () => {
  assert.equal(d.sharedOption(base(), 'model_profile_id'), 'm');
  assert.equal(d.sharedOption(base(), 'max_num_seqs'), d.MIXED);
  assert.equal(d.sharedOption(d.setSharedOption(base(), 'max_num_seqs', 3), 'max_num_seqs'), 3);
});

test('nodes of the catalog: only counts that exist are offered', () => {
  const nodes = ['H100-SXM', '2xH100-SXM', '8xH100-SXM', 'L4'];
  assert.deepEqual(d.nodeCounts(nodes, 'H100-SXM'), [1, 2, 8]);
  assert.equal(d.nearestNode(nodes, 'H100-SXM', 4), '2xH100-SXM');
  assert.equal(d.nearestNode(nodes, 'L4', 8), 'L4');
});

test('the rate of a workload adds up over its clients', () => {
  const gaps = (/** @type {any} */ config) => ({ inter_arrival_time_dist_config: config });
  assert.equal(d.workloadRate({ client_profiles: [gaps({ type: 'Exponential', rate: 4 }), gaps({ type: 'Gamma', shape: 0.5, scale: 2 })] }), 5);
  assert.equal(d.workloadRate({ client_profiles: [gaps({ type: 'Pareto' })] }), null);
});

test('a distribution keeps its mean when its type changes', () => {
  for (const type of Object.keys(d.DISTRIBUTIONS)) {
    const mean = d.distributionMean(d.changeDistribution({ type: 'Constant', value: 400 }, type));
    assert.ok(mean !== null && Math.abs(mean - 400) < 1, `${type}: ${mean}`);
  }
});
