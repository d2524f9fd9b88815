// The numbers the results tables show: where each stands in the summary and which way is better.
// What they mean is the engine's table of definitions, found by `key`.

/** @import { Definition, RunResult } from './types.js' */

/**
 * @typedef {object} Metric
 * @property {string} key  of its definition
 * @property {string} path  of its number in the summary: the key, or a percentile in it
 * @property {string} label
 * @property {string} unit
 * @property {'lower' | 'higher' | null} better
 * @property {'number' | 'count' | 'percent'} style
 *
 * @typedef {{ title: string, metrics: Metric[] }} MetricGroup
 */

/**
 * @param {string} label
 * @param {string} unit
 * @param {Metric['better']} better
 * @param {Metric['style']} style
 * @param {string} key
 * @param {string} [part]  of the object that stands at `key`
 * @returns {Metric}
 */
function metric(label, unit, better, style, key, part) {
  return { key, path: part === undefined ? key : `${key}.${part}`, label, unit, better, style };
}

/** @type {MetricGroup[]} */
export const HEADLINE = [
  {
    title: 'Latency',
    metrics: [
      metric('TTFT p50', 'ms', 'lower', 'number', 'latency.time_to_first_token_ms', 'p50'),
      metric('TTFT p99', 'ms', 'lower', 'number', 'latency.time_to_first_token_ms', 'p99'),
      metric('TPOT p50', 'ms', 'lower', 'number', 'latency.time_per_output_token_ms', 'p50'),
      metric('TPOT p99', 'ms', 'lower', 'number', 'latency.time_per_output_token_ms', 'p99'),
      metric('End to end p50', 'ms', 'lower', 'number', 'latency.end_to_end_latency_ms', 'p50'),
      metric('End to end p99', 'ms', 'lower', 'number', 'latency.end_to_end_latency_ms', 'p99'),
    ],
  },
  {
    title: 'Throughput',
    metrics: [
      metric('Output', 'tokens/s', 'higher', 'number', 'throughput.output_tokens_per_second'),
      metric('Requests', 'req/s', 'higher', 'number', 'throughput.requests_per_second'),
      metric('Goodput', 'req/s', 'higher', 'number', 'goodput.requests_per_second'),
      metric('Within targets', '', 'higher', 'percent', 'goodput.share'),
    ],
  },
];

/** @type {MetricGroup[]} */
export const MORE = [
  {
    title: 'Requests',
    metrics: [
      metric('Requests', '', null, 'count', 'requests.total'),
      metric('Successful', '', 'higher', 'count', 'requests.successful'),
      metric('Not successful', '', 'lower', 'count', 'requests.failed'),
      metric('Queue time p50', 'ms', 'lower', 'number', 'latency.queue_time_ms', 'p50'),
      metric('Queue time p99', 'ms', 'lower', 'number', 'latency.queue_time_ms', 'p99'),
      metric('Inter-token p99', 'ms', 'lower', 'number', 'latency.inter_token_latency_ms', 'p99'),
    ],
  },
  {
    title: 'Engine',
    metrics: [
      metric('All tokens', 'tokens/s', 'higher', 'number', 'throughput.total_tokens_per_second'),
      metric('Output per GPU', 'tokens/s', 'higher', 'number', 'throughput.output_tokens_per_second_per_gpu'),
      metric('Mean step', 'ms', null, 'number', 'engine.mean_step_ms'),
      metric('Mean running', 'requests', null, 'number', 'engine.mean_running'),
      metric('Mean waiting', 'requests', 'lower', 'number', 'engine.mean_waiting'),
      metric('KV memory, peak', '', null, 'percent', 'engine.kv_blocks.peak_share'),
      metric('Preemptions', '', 'lower', 'count', 'engine.preemptions'),
      metric('Prompt tokens cached', '', 'higher', 'percent', 'prefix_caching.prefill_reduction_ratio'),
      metric('Compute used', '', null, 'percent', 'utilisation.compute'),
      metric('Memory bandwidth used', '', null, 'percent', 'utilisation.memory_bandwidth'),
      metric('GPUs idle', '', null, 'percent', 'utilisation.time.idle'),
    ],
  },
  {
    title: 'Adapters',
    metrics: [
      metric('Adapters found on the GPU', '', 'higher', 'percent', 'lora.hit_rate'),
      metric('Adapter loads', '', 'lower', 'count', 'lora.loads'),
      metric('Adapters in a batch', '', null, 'number', 'lora.mean_adapters_in_batch'),
      metric('Waits for adapters', '', 'lower', 'percent', 'lora.step_wait_share'),
    ],
  },
  {
    title: 'Energy and money',
    metrics: [
      metric('Energy per output token', 'J', 'lower', 'number', 'energy.joules_per_output_token'),
      metric('Mean power', 'W', null, 'number', 'energy.mean_power_w'),
      metric('Energy a day', 'kWh', null, 'number', 'energy.kwh_per_day'),
      metric('Emissions per million output tokens', 'g CO\u2082', 'lower', 'number', 'energy.gco2_per_million_output_tokens'),
      metric('Price of the GPUs', 'USD/h', null, 'number', 'cost.usd_per_hour'),
      metric('Per million output tokens', 'USD', 'lower', 'number', 'cost.usd_per_million_output_tokens'),
      metric('Per million input tokens', 'USD', 'lower', 'number', 'cost.usd_per_million_input_tokens'),
    ],
  },
];

/**
 * @param {Metric} wanted
 * @param {Pick<RunResult, 'summary'>} result
 * @returns {number | null} null where it does not apply
 */
export function readMetric({ path }, { summary }) {
  /** @type {any} */
  let value = summary;
  for (const key of path.split('.')) value = typeof value === 'object' && value !== null ? value[key] : undefined;
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

/**
 * @param {Definition[]} definitions
 * @param {Metric} wanted
 */
export function meaningOf(definitions, { key, path }) {
  const found = definitions.find((definition) => definition.key === path) ?? definitions.find((definition) => definition.key === key);
  const share = path.endsWith('.p50') ? ' Half of them are at or below it.' : path.endsWith('.p99') ? ' 99 of 100 are at or below it.' : '';
  return found ? found.definition + share : '';
}
