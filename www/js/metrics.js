// The numbers the results table shows: where each stands in the summary, its unit, which way is better, what it means.

/** @import { RunResult } from './types.js' */

/**
 * @typedef {object} Metric
 * @property {string} id
 * @property {string} label
 * @property {string} unit
 * @property {'lower' | 'higher' | null} better
 * @property {'number' | 'count' | 'percent'} style
 * @property {(result: RunResult) => number | null} read  null where it does not apply
 * @property {string} meaning
 *
 * @typedef {{ title: string, metrics: Metric[] }} MetricGroup
 */

/**
 * @param {...string} paths  the first that has a number counts
 * @returns {(result: RunResult) => number | null}
 */
function at(...paths) {
  const all = paths.map((path) => path.split('.'));
  return ({ summary }) => {
    for (const keys of all) {
      /** @type {any} */
      let value = summary;
      for (const key of keys) value = typeof value === 'object' && value !== null ? value[key] : undefined;
      if (typeof value === 'number' && Number.isFinite(value)) return value;
    }
    return null;
  };
}

/**
 * @param {string} id
 * @param {string} label
 * @param {string} key
 * @param {string} meaning
 * @returns {Metric[]}
 */
function latency(id, label, key, meaning) {
  return /** @type {const} */ ([['p50', 'Half of the requests are at or below it.'], ['p99', '99 of 100 requests are at or below it.']]).map(([percentile, share]) => ({
    id: `${id}_${percentile}`,
    label: `${label} ${percentile}`,
    unit: 'ms',
    better: 'lower',
    style: 'number',
    read: at(`latency.${key}.${percentile}`),
    meaning: `${meaning} ${share}`,
  }));
}

const TTFT = 'Time to first token: from the arrival of the request at the server, waiting included, to its first output token.';
const TPOT = 'Time per output token after the first: (end to end − TTFT) / (output tokens − 1). Requests with one output token have none.';
const E2E = 'From the arrival of the request at the server to its last token.';

/** @type {MetricGroup[]} */
export const HEADLINE = [
  {
    title: 'Latency',
    metrics: [
      ...latency('ttft', 'TTFT', 'time_to_first_token_ms', TTFT),
      ...latency('tpot', 'TPOT', 'time_per_output_token_ms', TPOT),
      ...latency('e2e', 'End to end', 'end_to_end_latency_ms', E2E),
    ],
  },
  {
    title: 'Throughput',
    metrics: [
      { id: 'output_tokens_per_s', label: 'Output', unit: 'tokens/s', better: 'higher', style: 'number', read: at('throughput.output_tokens_per_second'), meaning: 'Output tokens of successful requests over the duration of the run, warm-up left out.' },
      { id: 'requests_per_s', label: 'Requests', unit: 'req/s', better: 'higher', style: 'number', read: at('throughput.requests_per_second'), meaning: 'Successful requests over the duration of the run, warm-up left out.' },
      { id: 'goodput', label: 'Goodput', unit: 'req/s', better: 'higher', style: 'number', read: at('goodput.requests_per_second'), meaning: 'Requests a second that meet every target set under “Targets for goodput”.' },
      { id: 'goodput_share', label: 'Within targets', unit: '', better: 'higher', style: 'percent', read: at('goodput.share'), meaning: 'Share of all requests that meet every target.' },
    ],
  },
];

/**
 * @param {string} id
 * @param {string} label
 * @param {string} unit
 * @param {Metric['better']} better
 * @param {Metric['style']} style
 * @param {string} path
 * @param {string} meaning
 * @returns {Metric}
 */
function plain(id, label, unit, better, style, path, meaning) {
  return { id, label, unit, better, style, read: at(path), meaning };
}

/** @type {MetricGroup[]} */
export const MORE = [
  {
    title: 'Requests',
    metrics: [
      plain('total', 'Requests', '', null, 'count', 'requests.total', 'Requests that arrived after the warm-up.'),
      plain('successful', 'Successful', '', 'higher', 'count', 'requests.successful', 'Requests that got their last token before the end.'),
      plain('failed', 'Not successful', '', 'lower', 'count', 'requests.failed', 'Requests rejected because they can never fit, and requests unfinished at the end.'),
      plain('queue_p50', 'Queue time p50', 'ms', 'lower', 'number', 'latency.queue_time_ms.p50', 'From the arrival of the request to its first scheduling. Half of the requests are at or below it.'),
      plain('queue_p99', 'Queue time p99', 'ms', 'lower', 'number', 'latency.queue_time_ms.p99', 'From the arrival of the request to its first scheduling. 99 of 100 requests are at or below it.'),
      plain('itl_p99', 'Inter-token p99', 'ms', 'lower', 'number', 'latency.inter_token_latency_ms.p99', 'Gaps between consecutive output tokens, of all requests together. 99 of 100 gaps are at or below it.'),
    ],
  },
  {
    title: 'Engine',
    metrics: [
      plain('total_tokens_per_s', 'All tokens', 'tokens/s', 'higher', 'number', 'throughput.total_tokens_per_second', 'Prompt and output tokens a second.'),
      plain('per_gpu', 'Output a GPU', 'tokens/s', 'higher', 'number', 'throughput.output_tokens_per_second_per_gpu', 'Output tokens a second over the number of GPUs.'),
      plain('mean_step', 'Mean step', 'ms', null, 'number', 'engine.mean_step_ms', 'Mean time of an engine step.'),
      plain('mean_running', 'Mean running', 'requests', null, 'number', 'engine.mean_running', 'Requests being served, averaged over time.'),
      plain('mean_waiting', 'Mean waiting', 'requests', 'lower', 'number', 'engine.mean_waiting', 'Requests in the queue, averaged over time.'),
      plain('kv_peak', 'KV memory, peak', '', null, 'percent', 'engine.kv_blocks.peak_share', 'Largest share of the KV blocks in use at one time.'),
      plain('preemptions', 'Preemptions', '', 'lower', 'count', 'engine.preemptions', 'Times a running request lost its KV blocks and had to be computed again.'),
      plain('hit_rate', 'Prompt tokens cached', '', 'higher', 'percent', 'prefix_caching.prefill_reduction_ratio', 'Share of prompt tokens found in the prefix cache.'),
      plain('compute', 'Compute used', '', null, 'percent', 'utilisation.compute', 'Floating-point operations done, as a share of what the GPUs could do in the same time.'),
      plain('bandwidth', 'Memory bandwidth used', '', null, 'percent', 'utilisation.memory_bandwidth', 'Bytes read and written, as a share of what the GPUs could move in the same time.'),
      plain('idle', 'GPUs idle', '', 'lower', 'percent', 'utilisation.time.idle', 'Share of the time in which the GPUs had nothing to do.'),
    ],
  },
];
