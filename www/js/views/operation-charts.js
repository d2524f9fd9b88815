// Charts of what only some experiments have: KV tiers below the GPU, replicas that come and go, pools, encoders. Fetched when a result
// has any of it.

import { h, replaceChildren } from '../dom.js';
import { MISSING, compact, count, number, percent } from '../format.js';
import { createChartPanel } from './chart-panel.js';
import { mean, timePicture } from './over-time.js';
import { swatch } from './swatch.js';

/** @import { Engine, FleetLoad, RunResult, SeriesName } from '../types.js' */
/** @import { Line, Quantity } from './over-time.js' */

/** Tiers below the GPU: key in the summary, series, words. @type {[string, SeriesName, string][]} */
const TIERS = [['host', 'tierHost', 'Host memory'], ['disk', 'tierDisk', 'Disk'], ['remote', 'tierRemote', 'Remote store']];

/** What of replicas: place in a row of `FleetLoad.sizes`, or a column of loads. @type {Record<string, Quantity & { place?: number, load?: 'running' | 'waiting' | 'tokens' }>} */
const REPLICAS = {
  serving: { label: 'Replicas that serve', unit: 'replicas', gauge: false, place: 2 },
  starting: { label: 'Replicas that start', unit: 'replicas', gauge: false, place: 1 },
  draining: { label: 'Replicas that drain', unit: 'replicas', gauge: false, place: 3 },
  down: { label: 'Replicas that are down', unit: 'replicas', gauge: false, place: 4 },
  running: { label: 'Running', unit: 'requests', gauge: false, load: 'running' },
  waiting: { label: 'Waiting', unit: 'requests', gauge: false, load: 'waiting' },
  tokens: { label: 'KV in use', unit: '%', gauge: false, load: 'tokens' },
};
const REPLICA_WORDS = /** @type {Record<string, string>} */ ({ serving: 'Serving', starting: 'Starting', draining: 'Draining', down: 'Down', running: 'Running', waiting: 'Waiting', tokens: 'KV in use' });

/** Stays of a request with the encoders: places of their ends in the four instants. @type {Record<string, Quantity & { from: number, to: number, word: string }>} */
const ENCODERS = {
  waiting: { word: 'Waiting', label: 'Requests that wait for an encoder', unit: 'requests', gauge: false, from: 0, to: 1 },
  encoding: { word: 'Encoding', label: 'Encoders at work', unit: 'encoders', gauge: false, from: 1, to: 2 },
  sending: { word: 'On their way', label: 'Embeddings on their way', unit: 'requests', gauge: false, from: 2, to: 3 },
};
const ENCODE_BINS = 120;
const ROLES = ['prefill', 'decode'];

/**
 * @param {Engine} engine
 * @param {() => HTMLElement} legend  of the entries
 * @param {(error: unknown) => void} onError
 */
export function createOperationCharts(engine, legend, onError) {
  /** @type {(() => void)[]} */
  const redraws = [];

  /**
   * A panel with a choice of what is drawn and a table below.
   * @param {{ title: string, id: string, choice: string, keys: () => [string, string][], show: (key: string) => import('./chart-panel.js').Picture, table: () => Node | null, name: () => string }} options
   */
  function panelOf({ title, id, choice, keys, show, table, name }) {
    const buttons = h('div', { class: 'segmented', role: 'group', 'aria-label': choice });
    const holder = h('div', { class: 'table-scroll', role: 'region', 'aria-label': `${title}: totals`, tabindex: 0 });
    const panel = createChartPanel({ title, id, legend: h('div', {}, legend(), holder), onError, controls: [buttons] });
    let key = '';
    let offered = '';
    function update() {
      const offer = keys();
      panel.element.hidden = offer.length === 0;
      if (offer.length === 0) return;
      if (!offer.some(([own]) => own === key)) key = offer[0]?.[0] ?? '';
      if (offered !== JSON.stringify(offer)) {
        offered = JSON.stringify(offer);
        replaceChildren(buttons, offer.map(([own, word]) => h('button', { type: 'button', data: { value: own }, on: { click: () => { key = own; update(); } } }, word)));
        buttons.hidden = offer.length < 2;
      }
      for (const button of buttons.children) if (button instanceof HTMLElement) button.setAttribute('aria-pressed', String(button.dataset.value === key));
      panel.show(show(key), name());
      const made = table();
      holder.hidden = made === null;
      replaceChildren(holder, made);
    }
    panel.element.classList.add('wide');
    redraws.push(panel.redraw);
    return { element: panel.element, update };
  }

  /** @type {RunResult[]} */
  let results = [];
  /** @type {string[]} */
  let hidden = [];
  let title = '';
  const name = () => title;
  const visible = () => results.filter((result) => !hidden.includes(result.name));

  const tiered = () => results.filter(({ summary }) => summary.kv_tiers);
  const tiers = panelOf({
    title: 'KV tiers below the GPU', id: 'tiers', choice: 'Tier', name,
    keys: () => TIERS.filter(([, series]) => tiered().some((result) => result.series[series].length > 0)).map(([key, , word]) => [key, word]),
    show: (key) => {
      const [, series, word] = TIERS.find(([own]) => own === key) ?? /** @type {[string, SeriesName, string]} */ (TIERS[0]);
      const shown = visible().filter((result) => result.series[series].length > 0);
      return timePicture(engine, { label: `${word} for KV in use`, unit: '%', gauge: true }, shown.map((result) => ({ name: result.name, entryIndex: result.entryIndex, binS: result.binS, values: result.series[series] })));
    },
    table: () => tierTable(tiered()),
  });

  const fleets = () => results.flatMap((result) => (result.fleet && changes(result.fleet) ? [{ result, fleet: result.fleet }] : []));
  const replicas = panelOf({
    title: 'Replicas and pools over time', id: 'pools', choice: 'Shown of the replicas', name,
    keys: () => {
      const found = fleets();
      const words = Object.entries(REPLICAS).filter(([, { place, load }]) => (load ? found.some(({ fleet }) => rolesOf(fleet).length > 1) : found.some(({ fleet }) => fleet.sizes.some((rows) => rows.some((row) => (row[place ?? 0] ?? 0) > 0)))));
      return words.map(([key]) => [key, REPLICA_WORDS[key] ?? key]);
    },
    show: (key) => {
      const quantity = REPLICAS[key] ?? /** @type {(typeof REPLICAS)[string]} */ (REPLICAS.serving);
      const shown = fleets().filter(({ result }) => !hidden.includes(result.name));
      return timePicture(engine, quantity, shown.flatMap(({ result, fleet }) => (quantity.load ? loadLines(result, fleet, quantity.load) : sizeLines(result, fleet, quantity.place ?? 2))));
    },
    table: () => poolTable(fleets().map(({ result }) => result)),
  });

  const encoding = () => results.filter(({ summary }) => summary.encode);
  const encoders = panelOf({
    title: 'Encoders over time', id: 'encoders', choice: 'Shown of the encoders', name,
    keys: () => (encoding().some(({ encodes }) => encodes.length > 0) ? Object.entries(ENCODERS).map(([key, { word }]) => [key, word]) : []),
    show: (key) => {
      const quantity = ENCODERS[key] ?? /** @type {(typeof ENCODERS)[string]} */ (ENCODERS.waiting);
      const shown = visible().filter(({ encodes }) => encodes.length > 0);
      return timePicture(engine, quantity, shown.map((result) => ({ name: result.name, entryIndex: result.entryIndex, binS: result.endS / ENCODE_BINS, values: staysOver(result.encodes, quantity.from, quantity.to, result.endS, ENCODE_BINS) })));
    },
    table: () => null,
  });
  const imagesHolder = h('div', { class: 'table-scroll', role: 'region', 'aria-label': 'Images: totals', tabindex: 0 });
  const images = h('section', { class: 'chart wide', 'aria-label': 'Images' }, h('div', { class: 'chart-head' }, h('h3', {}, 'Images')), imagesHolder);

  return {
    elements: [tiers.element, replicas.element, encoders.element, images],
    redraw: () => redraws.forEach((redraw) => redraw()),
    /**
     * @param {RunResult[]} current
     * @param {string[]} hiddenNames
     * @param {string} experiment
     */
    update(current, hiddenNames, experiment) {
      results = current;
      hidden = hiddenNames;
      title = experiment;
      tiers.update();
      replicas.update();
      encoders.update();
      images.hidden = encoding().length === 0;
      if (!images.hidden) replaceChildren(imagesHolder, encodeTable(encoding()));
    },
  };
}

/** @param {FleetLoad} fleet */
function changes(fleet) {
  return fleet.sizes.length > 0 || rolesOf(fleet).length > 1;
}

/** @param {FleetLoad} fleet */
function rolesOf({ replicas }) {
  return ROLES.filter((role) => replicas.some((replica) => replica.role === role));
}

/**
 * @param {RunResult} result
 * @param {FleetLoad} fleet
 * @param {number} place
 * @returns {Line[]}
 */
export function sizeLines({ name, entryIndex, endS }, { sizes }, place) {
  return sizes.map((rows, pool) => {
    const last = rows.at(-1);
    // The line goes on to the end.
    const all = last && (last[0] ?? 0) < endS ? [...rows, [endS, ...last.slice(1)]] : rows;
    return {
      name: sizes.length > 1 ? `${name}: ${ROLES[pool]}` : name, entryIndex, dashIndex: sizes.length > 1 ? pool : entryIndex, binS: Math.max(endS, 1e-9),
      atS: Float64Array.from(all, (row) => row[0] ?? 0), values: Float64Array.from(all, (row) => row[place] ?? 0),
    };
  });
}

/**
 * Sums over the replicas of each pool; of KV, the share of what the pool has.
 * @param {RunResult} result
 * @param {FleetLoad} fleet
 * @param {'running' | 'waiting' | 'tokens'} load
 * @returns {Line[]}
 */
export function loadLines({ name, entryIndex }, fleet, load) {
  return rolesOf(fleet).map((role, pool) => {
    const values = new Float64Array(fleet.bins);
    let room = 0;
    fleet.replicas.forEach((replica, index) => {
      if (replica.role !== role) return;
      room += replica.kvTokens;
      for (let bin = 0; bin < fleet.bins; bin += 1) values[bin] = (values[bin] ?? 0) + (fleet[load][index * fleet.bins + bin] ?? 0);
    });
    return { name: `${name}: ${role}`, entryIndex, dashIndex: pool, binS: fleet.binS, values: load === 'tokens' ? values.map((tokens) => tokens / Math.max(1, room)) : values };
  });
}

/**
 * Mean number of stays under way in each of equal bins.
 * @param {Float64Array} instants  four a request, ms
 * @param {number} from
 * @param {number} to
 * @param {number} endS
 * @param {number} bins
 */
export function staysOver(instants, from, to, endS, bins) {
  const values = new Float64Array(bins);
  const binMs = (endS * 1000) / bins;
  if (!(binMs > 0)) return values;
  for (let at = 0; at < instants.length; at += 4) {
    const start = instants[at + from] ?? 0;
    const end = Math.min(instants[at + to] ?? 0, endS * 1000);
    for (let bin = Math.floor(start / binMs); bin < bins && bin * binMs < end; bin += 1) {
      values[bin] = (values[bin] ?? 0) + (Math.min(end, (bin + 1) * binMs) - Math.max(start, bin * binMs)) / binMs;
    }
  }
  return values;
}

/**
 * @param {string} caption
 * @param {string[]} head
 * @param {(Node | string)[][]} rows
 */
function table(caption, head, rows) {
  return h('table', {}, h('caption', { class: 'visually-hidden' }, caption),
    h('thead', {}, h('tr', {}, head.map((text) => h('th', { scope: 'col' }, text)))),
    h('tbody', {}, rows.map(([first, ...rest]) => h('tr', {}, h('th', { scope: 'row' }, first ?? ''), rest.map((cell) => h('td', {}, cell))))));
}

/** @param {RunResult} result @param {string} [what] @param {number} [dashIndex] */
function named({ name, entryIndex }, what, dashIndex = entryIndex) {
  return h('span', { class: 'named' }, swatch(entryIndex, dashIndex), what ? `${name}, ${what}` : name);
}

/** Where prompt tokens were found, and what each tier did for it. @param {RunResult[]} results */
function tierTable(results) {
  const rows = results.flatMap((result) => {
    const { kv_tiers: tiers, prefix_caching: caching } = result.summary;
    const all = Object.values(caching?.by_tier ?? {}).reduce((sum, tokens) => sum + Number(tokens), 0);
    const hits = (/** @type {string} */ tier) => {
      const tokens = caching?.by_tier?.[tier];
      return typeof tokens === 'number' ? [compact(tokens), percent(tokens / Math.max(1, all))] : [MISSING, MISSING];
    };
    const gpu = [named(result, 'GPU'), ...hits('gpu'), MISSING, percent(result.summary.engine?.kv_blocks?.peak_share), MISSING, MISSING, MISSING];
    return [gpu, ...TIERS.filter(([key]) => tiers[key]).map(([key, , word]) => {
      const use = tiers[key];
      return [named(result, word.toLowerCase()), ...hits(key), `${compact(use.capacity_tokens)}`, percent(use.peak_share), `${compact(use.written_tokens)}`, `${number(use.read_s)}\u202fs`, `${number(use.write_s)}\u202fs`];
    })];
  });
  return rows.length === 0 ? null : table('Hits and time by tier', ['Tier', 'Hits, tokens', 'Of all hits', 'Size, tokens', 'Most in use', 'Written, tokens', 'Reading', 'Writing'], rows);
}

/** Sizes and utilisation of each pool over the run. @param {RunResult[]} results */
function poolTable(results) {
  const rows = results.flatMap((result) => {
    const fleet = /** @type {FleetLoad} */ (result.fleet);
    const { operations } = result.summary;
    const roles = rolesOf(fleet);
    return (roles.length > 1 ? roles : ['']).map((role, pool) => {
      const own = fleet.replicas.flatMap((replica, index) => (role === '' || replica.role === role ? [index] : []));
      const size = role === '' ? operations?.replicas : operations?.pools?.find((/** @type {any} */ one) => one.role === role);
      const gpus = own.reduce((sum, index) => sum + (fleet.replicas[index]?.gpus ?? 0), 0);
      const busy = own.reduce((sum, index) => sum + (fleet.replicas[index]?.gpus ?? 0) * Number(result.summary.gpu_utilization?.[`replica_${index}`] ?? 0), 0) / Math.max(1, gpus);
      const load = (/** @type {'running' | 'waiting'} */ what) => own.reduce((sum, index) => sum + mean(fleet[what].subarray(index * fleet.bins, (index + 1) * fleet.bins)), 0);
      const kv = mean(loadOf(fleet, own));
      return [role === '' ? named(result) : named(result, role, pool), size ? `${number(size.mean)} (${count(size.min)} to ${count(size.max)})` : count(own.length), count(gpus), percent(busy), number(load('running')), number(load('waiting')), percent(kv)];
    });
  });
  return rows.length === 0 ? null : table('Replicas and pools', ['Replicas', 'Serving, mean', 'GPUs at most', 'GPUs busy', 'Running', 'Waiting', 'KV in use'], rows);
}

/** @param {FleetLoad} fleet @param {number[]} own */
function loadOf(fleet, own) {
  const room = own.reduce((sum, index) => sum + (fleet.replicas[index]?.kvTokens ?? 0), 0);
  return Float64Array.from({ length: fleet.bins }, (_, bin) => own.reduce((sum, index) => sum + (fleet.tokens[index * fleet.bins + bin] ?? 0), 0) / Math.max(1, room));
}

/** @param {RunResult[]} results */
function encodeTable(results) {
  const spread = (/** @type {any} */ times) => (typeof times?.p50 === 'number' ? `${number(times.p50)} / ${number(times.p99)}\u202fms` : MISSING);
  return table('Images', ['Entry', 'Images', 'Encoders', 'Encoders busy', 'Wait, p50 / p99', 'Encoding, p50 / p99', 'Transfer, p50 / p99', 'Encoding in engines'], results.map((result) => {
    const { encode } = result.summary;
    return [named(result), count(encode.images), encode.encoders > 0 ? count(encode.encoders) : 'in the engines', percent(encode.utilization), spread(encode.wait_ms), spread(encode.time_ms), spread(encode.transfer_ms), encode.engine_time_s > 0 ? `${number(encode.engine_time_s)}\u202fs` : MISSING];
  }));
}
