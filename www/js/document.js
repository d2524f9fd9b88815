// Reading and changing the experiment by path, and what the form's fields mean in it. Pure functions: a change makes a
// new document that shares every untouched part, so keys the form does not know survive an edit.

/** @import { DocumentObject } from './types.js' */

/** @typedef {(string | number)[]} Path */

/**
 * 'workload.client_profiles[0].weight' -> ['workload', 'client_profiles', 0, 'weight']
 * @param {string} text
 * @returns {Path}
 */
export function parsePath(text) {
  return [...text.matchAll(/[^.[\]]+|\[(\d+)\]/g)].map((part) => (part[1] === undefined ? part[0] : Number(part[1])));
}

/**
 * @param {DocumentObject} document
 * @param {string} path
 * @returns {any}
 */
export function getAt(document, path) {
  /** @type {any} */
  let value = document;
  for (const key of parsePath(path)) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = value[key];
  }
  return value;
}

/**
 * Sets the value at `path`, making objects on the way; `undefined` takes the key out.
 * @param {DocumentObject} document
 * @param {string} path
 * @param {unknown} value
 * @returns {DocumentObject}
 */
export function setAt(document, path, value) {
  return setIn(document, parsePath(path), value);
}

/**
 * @param {any} node
 * @param {Path} path
 * @param {unknown} value
 * @returns {any}
 */
function setIn(node, path, value) {
  const [key, ...rest] = path;
  if (key === undefined) return value;
  const isList = typeof key === 'number';
  const copy = isList ? [...(Array.isArray(node) ? node : [])] : { ...(isObject(node) ? node : {}) };
  let child = setIn(/** @type {any} */ (copy)[key], rest, value);
  if (value === undefined && OPTIONAL_SECTIONS.has(String(key)) && isObject(child) && Object.keys(child).length === 0) child = undefined;
  if (child !== undefined) /** @type {any} */ (copy)[key] = child;
  else if (isList) /** @type {unknown[]} */ (copy).splice(key, 1);
  else delete (/** @type {any} */ (copy)[key]);
  return copy;
}

/** Sections that go when their last key goes; every other section may stand empty. */
const OPTIONAL_SECTIONS = new Set(['slo', 'metrics_config', 'prefix_patterns', 'router', 'dynamo']);

/**
 * @param {unknown} value
 * @returns {value is Record<string, any>}
 */
export function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** @param {DocumentObject} document */
export function toText(document) {
  return `${JSON.stringify(document, null, 2)}\n`;
}

/**
 * @param {DocumentObject} a
 * @param {DocumentObject} b
 */
export function sameDocument(a, b) {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

// ---- entries -----------------------------------------------------------------------------------------------

export const MAX_ENTRIES = 8;

/**
 * @param {DocumentObject} document
 * @returns {DocumentObject[]}
 */
export function entriesOf(document) {
  return Array.isArray(document.frameworks_to_test) ? document.frameworks_to_test.filter(isObject) : [];
}

/**
 * @param {DocumentObject} document
 * @param {string} wanted
 */
export function uniqueEntryName(document, wanted) {
  const taken = new Set(entriesOf(document).map((entry) => entry.name));
  if (!taken.has(wanted)) return wanted;
  const stem = wanted.replace(/ \d+$/, '');
  for (let i = 2; ; i += 1) {
    const name = `${stem} ${i}`;
    if (!taken.has(name)) return name;
  }
}

/**
 * A copy of the entry, placed after it.
 * @param {DocumentObject} document
 * @param {number} index
 */
export function duplicateEntry(document, index) {
  const entries = entriesOf(document);
  const entry = entries[index];
  if (!entry) return document;
  const copy = { ...structuredClone(entry), name: uniqueEntryName(document, String(entry.name)) };
  return { ...document, frameworks_to_test: [...entries.slice(0, index + 1), copy, ...entries.slice(index + 1)] };
}

/**
 * A new entry with the stack's defaults, on the model the others serve.
 * @param {DocumentObject} document
 * @param {{ kind: string, label: string }} framework
 */
export function addEntry(document, framework) {
  const entries = entriesOf(document);
  const first = isObject(entries[0]?.config) ? entries[0].config : {};
  /** @type {Record<string, any>} */
  const config = {};
  for (const key of ['model_profile_id', 'model', 'gpu_id', 'tensor_parallel_size', 'parallelism', 'dtype', 'kv_cache_dtype']) {
    if (first[key] !== undefined) config[key] = structuredClone(first[key]);
  }
  const entry = { name: uniqueEntryName(document, framework.label), type: framework.kind, config };
  return { ...document, frameworks_to_test: [...entries, entry] };
}

/**
 * @param {DocumentObject} document
 * @param {number} index
 */
export function removeEntry(document, index) {
  return { ...document, frameworks_to_test: entriesOf(document).filter((_, i) => i !== index) };
}

/** A value the entries do not agree on. */
export const MIXED = Symbol('mixed');

/**
 * @param {DocumentObject} document
 * @param {string} key  of an entry's config
 * @returns {any} the value all entries share, or MIXED
 */
export function sharedOption(document, key) {
  const values = entriesOf(document).map((entry) => (isObject(entry.config) ? entry.config[key] : undefined));
  return values.every((value) => JSON.stringify(value) === JSON.stringify(values[0])) ? values[0] : MIXED;
}

/**
 * @param {DocumentObject} document
 * @param {string} key
 * @param {unknown} value
 */
export function setSharedOption(document, key, value) {
  return entriesOf(document).reduce((changed, _, index) => setAt(changed, `frameworks_to_test[${index}].config.${key}`, value), document);
}

// ---- hardware ----------------------------------------------------------------------------------------------

/**
 * '8xH100-SXM' -> { gpu: 'H100-SXM', count: 8 }
 * @param {string} node
 */
export function parseNode(node) {
  const match = /^(\d+)x(.+)$/.exec(node);
  return match ? { gpu: String(match[2]), count: Number(match[1]) } : { gpu: node, count: 1 };
}

/** @param {{ gpu: string, count: number }} node */
export function nodeName({ gpu, count }) {
  return count === 1 ? gpu : `${count}x${gpu}`;
}

/**
 * The counts in which the catalog has nodes of this GPU, ascending.
 * @param {string[]} nodes
 * @param {string} gpu
 */
export function nodeCounts(nodes, gpu) {
  const counts = nodes.map(parseNode).filter((node) => node.gpu === gpu).map((node) => node.count);
  return [...new Set(counts)].sort((a, b) => a - b);
}

/**
 * The node with this GPU and, of the counts there are, the wanted one or the largest below it.
 * @param {string[]} nodes
 * @param {string} gpu
 * @param {number} wanted
 */
export function nearestNode(nodes, gpu, wanted) {
  const counts = nodeCounts(nodes, gpu);
  const count = counts.filter((candidate) => candidate <= wanted).at(-1) ?? counts[0] ?? 1;
  const name = nodes.find((node) => parseNode(node).gpu === gpu && parseNode(node).count === count);
  return name ?? nodeName({ gpu, count });
}

// ---- traffic -----------------------------------------------------------------------------------------------

/**
 * How requests arrive, in the form's words.
 * - poisson, steady, bursty: one client profile with a rate (bursty: gamma-distributed gaps of coefficient of variation `cv`)
 * - closed: a number of clients, each waiting for its reply
 * - trace: a recorded file
 * - named: a workload of the catalog
 * - other: what only the text shows
 * @typedef {'poisson' | 'steady' | 'bursty' | 'closed' | 'trace' | 'named' | 'other'} TrafficKind  a named workload is written 'named:chat' in the form
 * @typedef {{ kind: TrafficKind, ratePerS: number | null, cv: number | null, concurrency: number | null, why: string }} Traffic
 */

/**
 * @param {DocumentObject} document
 * @returns {Traffic}
 */
export function readTraffic(document) {
  const workload = isObject(document.workload) ? document.workload : {};
  /** @type {Traffic} */
  const none = { kind: 'other', ratePerS: null, cv: null, concurrency: null, why: '' };
  if (workload.trace !== undefined) return { ...none, kind: 'trace' };
  if (typeof workload.concurrency === 'number') return { ...none, kind: 'closed', concurrency: workload.concurrency };
  const profiles = Array.isArray(workload.client_profiles) ? workload.client_profiles : [];
  if (profiles.length === 0) return typeof workload.preset === 'string' ? { ...none, kind: 'named' } : { ...none, why: 'It has no client profiles.' };
  if (profiles.length > 1) return { ...none, why: `It has ${profiles.length} kinds of client.` };
  const gaps = profiles[0]?.inter_arrival_time_dist_config;
  if (!isObject(gaps)) return { ...none, why: 'Its arrivals are not given as a distribution.' };
  switch (gaps.type ?? 'Constant') {
    case 'Exponential':
      return { ...none, kind: 'poisson', ratePerS: gaps.rate ?? 1 };
    case 'Constant':
    case 'Fixed':
      return { ...none, kind: 'steady', ratePerS: tidy(1 / (gaps.value ?? 1)) };
    case 'Gamma': {
      const shape = gaps.shape ?? 2;
      const scale = gaps.scale ?? 1;
      return { ...none, kind: 'bursty', ratePerS: tidy(1 / (shape * scale)), cv: tidy(1 / Math.sqrt(shape)) };
    }
    default:
      return { ...none, why: `Its gaps between requests follow a ${gaps.type} distribution.` };
  }
}

/**
 * Changes kind, rate, burstiness or client count; what the new kind shares with the old stays.
 * @param {DocumentObject} document
 * @param {Partial<Traffic>} patch
 * @returns {DocumentObject}
 */
export function writeTraffic(document, patch) {
  const before = readTraffic(document);
  const { kind, ratePerS, cv, concurrency } = { ...before, ...patch };
  const workload = { ...(isObject(document.workload) ? document.workload : {}) };
  if (kind === 'trace' || kind === 'named' || kind === 'other') return document;
  delete workload.trace;
  if (kind !== 'closed') delete workload.concurrency;
  const given = Array.isArray(workload.client_profiles) ? workload.client_profiles : [];
  const profile = isObject(given[0]) ? { ...given[0] } : defaultProfile();
  if (kind === 'closed') {
    workload.concurrency = concurrency ?? 32;
    delete profile.inter_arrival_time_dist_config;
  } else {
    profile.inter_arrival_time_dist_config = gapsOf(kind, ratePerS ?? 4, cv ?? 2);
  }
  // A named workload lends its lengths: its profiles stay the catalog's as long as only the clients' number changes.
  if (kind === 'closed' && typeof workload.preset === 'string' && given.length === 0) return { ...document, workload };
  delete workload.preset;
  workload.client_profiles = kind === 'closed' && given.length > 1 ? given : [profile];
  if (workload.total_requests_to_generate === undefined && workload.total_duration === undefined) workload.total_requests_to_generate = 1000;
  return { ...document, workload };
}

/**
 * @param {'poisson' | 'steady' | 'bursty'} kind
 * @param {number} ratePerS
 * @param {number} cv
 */
function gapsOf(kind, ratePerS, cv) {
  if (kind === 'poisson') return { type: 'Exponential', rate: ratePerS };
  if (kind === 'steady') return { type: 'Constant', value: tidy(1 / ratePerS) };
  const shape = tidy(1 / (cv * cv));
  return { type: 'Gamma', shape, scale: tidy(1 / (ratePerS * shape)) };
}

/** @returns {Record<string, any>} */
function defaultProfile() {
  return {
    profile_name: 'clients',
    prompt_tokens_dist_config: { type: 'LogNormal', mean: 500, sigma: 400, space: 'value', is_int: true },
    max_output_tokens_dist_config: { type: 'LogNormal', mean: 200, sigma: 150, space: 'value', is_int: true },
  };
}

/**
 * The same document, its requests replaced by the trace file of this name.
 * @param {DocumentObject} document
 * @param {string} fileName
 */
export function withTrace(document, fileName) {
  return { ...document, workload: { trace: { path: fileName } } };
}

/**
 * Requests a second that a workload's profiles send together, null where that is not known.
 * @param {DocumentObject} workload
 * @returns {number | null}
 */
export function workloadRate(workload) {
  const profiles = Array.isArray(workload.client_profiles) ? workload.client_profiles : [];
  let rate = 0;
  for (const profile of profiles) {
    const gap = distributionMean(profile?.inter_arrival_time_dist_config);
    if (gap === null || !(gap > 0)) return null;
    rate += 1 / gap;
  }
  return profiles.length > 0 ? tidy(rate) : null;
}

/**
 * The requests of a workload of the catalog, at its own rate, as many as before.
 * @param {DocumentObject} document
 * @param {string} name
 * @returns {DocumentObject}
 */
export function withNamedWorkload(document, name) {
  const before = isObject(document.workload) ? document.workload : {};
  /** @type {DocumentObject} */
  const workload = { preset: name };
  if (before.trace === undefined && before.total_requests_to_generate !== undefined) workload.total_requests_to_generate = before.total_requests_to_generate;
  return { ...document, workload };
}

/** The file the document's workload replays, or ''. @param {DocumentObject} document */
export function tracePath(document) {
  const path = getAt(document, 'workload.trace.path');
  return typeof path === 'string' ? path : '';
}

/**
 * Takes the noise of a division out of a document.
 * @param {number} value
 * @param {number} [digits]  significant ones
 */
export function tidy(value, digits = 12) {
  return Number(value.toPrecision(digits));
}

// ---- distributions -----------------------------------------------------------------------------------------

/**
 * @typedef {{ key: string, label: string, standard: number }} Parameter
 * The distributions the form can edit, with their parameters. The others are shown, and edited as text.
 * @type {Record<string, Parameter[]>}
 */
export const DISTRIBUTIONS = {
  Constant: [{ key: 'value', label: 'Value', standard: 512 }],
  Uniform: [{ key: 'low', label: 'From', standard: 128 }, { key: 'high', label: 'To', standard: 1024 }],
  Normal: [{ key: 'mean', label: 'Mean', standard: 512 }, { key: 'sigma', label: 'Deviation', standard: 128 }],
  LogNormal: [{ key: 'mean', label: 'Mean', standard: 512 }, { key: 'sigma', label: 'Deviation', standard: 384 }],
  Exponential: [{ key: 'rate', label: 'Rate (1 / mean)', standard: 1 / 512 }],
};

/** @param {unknown} distribution */
export function distributionType(distribution) {
  if (!isObject(distribution)) return '';
  const type = distribution.type ?? 'Constant';
  return type === 'Fixed' ? 'Constant' : String(type);
}

/**
 * The mean of a distribution the form knows, else null.
 * @param {unknown} distribution
 * @returns {number | null}
 */
export function distributionMean(distribution) {
  if (!isObject(distribution)) return null;
  switch (distributionType(distribution)) {
    case 'Constant': return distribution.value ?? 1;
    case 'Uniform': return ((distribution.low ?? 0) + (distribution.high ?? 1)) / 2;
    case 'Normal': return distribution.mean ?? 0;
    case 'LogNormal': {
      const mean = distribution.mean ?? 0;
      if (distribution.space === 'value' || (distribution.space === undefined && mean > 20)) return mean;
      return Math.exp(mean + (distribution.sigma ?? 1) ** 2 / 2);
    }
    case 'Exponential': return 1 / (distribution.rate ?? 1);
    case 'Gamma': return (distribution.shape ?? 2) * (distribution.scale ?? 1);
    default: return null;
  }
}

/**
 * Another type with about the same mean.
 * @param {unknown} distribution
 * @param {string} type
 * @returns {DocumentObject}
 */
export function changeDistribution(distribution, type) {
  const mean = Math.round(distributionMean(distribution) ?? 512) || 1;
  const rounded = { is_int: true };
  switch (type) {
    case 'Uniform': return { type, low: Math.max(1, Math.round(mean / 2)), high: Math.round(mean * 1.5), ...rounded };
    case 'Normal': return { type, mean, sigma: Math.round(mean / 4), ...rounded };
    case 'LogNormal': return { type, mean, sigma: Math.round(mean * 0.75), space: 'value', ...rounded };
    case 'Exponential': return { type, rate: tidy(1 / mean), ...rounded };
    default: return { type: 'Constant', value: mean };
  }
}
