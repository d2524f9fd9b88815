// A fleet: its replicas with their load at a moment, each one's load over the run, what the router weighed, and what it cost.
// Load is the engine's means over bins; a click on the timeline moves the moment.

import { h, replaceChildren, svg } from '../dom.js';
import { parseNode } from '../document.js';
import { MISSING, compact, count, number, percent } from '../format.js';

/** @import { Store } from '../store.js' */
/** @import { createPool } from '../pool.js' */
/** @import { Decision, FleetLoad, ReplicaLoad, RunResult, State } from '../types.js' */

/** @type {Record<'running' | 'waiting' | 'tokens', { label: string, unit: string }>} */
const MEASURES = {
  running: { label: 'Running', unit: 'requests' },
  waiting: { label: 'Waiting', unit: 'requests' },
  tokens: { label: 'KV in use', unit: 'of the pool' },
};
const ROLES = { '': '', prefill: 'Prefill pool', decode: 'Decode pool' };

/**
 * @param {object} options
 * @param {Store} options.store
 * @param {Pick<ReturnType<typeof createPool>, 'run'>} options.pool
 */
export function createFleet({ store, pool }) {
  const entry = h('select', { 'aria-label': 'Entry whose fleet is shown', on: { change: () => show() } });
  const slider = h('input', { type: 'range', min: 0, max: 1, value: 0, 'aria-label': 'Moment', on: { input: () => moveTo(Number(slider.value)) } });
  const moment = h('output', {});
  const measureButtons = Object.entries(MEASURES).map(([name, { label }]) =>
    h('button', { type: 'button', data: { measure: name }, on: { click: () => { measure = /** @type {keyof typeof MEASURES} */ (name); draw(); } } }, label));
  const facts = h('dl', { class: 'facts' });
  const topology = h('div', { class: 'topology' });
  const history = h('div', {});
  const canvas = h('canvas', { role: 'img' });
  const cursor = h('div', { class: 'fleet-cursor' });
  const readout = h('p', { class: 'muted fleet-readout', role: 'status' });
  const heat = h('div', { class: 'fleet-heat' }, canvas, cursor);
  const decisionsBody = h('div', { class: 'decisions' });
  const ask = h('button', { type: 'button', on: { click: () => void lookUp() } }, 'What did the router weigh at this moment?');
  const tableBody = h('div', { class: 'table-scroll', role: 'region', 'aria-label': 'Replicas', tabindex: 0 });
  const perReplica = h('details', { class: 'data', on: { toggle: () => fillTable() } }, h('summary', {}, 'Data'), tableBody);
  const element = h('div', { class: 'fleet' },
    h('div', { class: 'inspector-controls' }, entry, h('div', { class: 'segmented', role: 'group', 'aria-label': 'Load shown' }, measureButtons), moment),
    facts, topology, h('div', { class: 'fleet-time' }, slider, heat), readout, h('div', {}, ask), decisionsBody, history, perReplica);

  /** @type {keyof typeof MEASURES} */
  let measure = 'running';
  /** @type {RunResult | null} */
  let shown = null;
  let bin = 0;
  /** @type {RunResult[] | null} */
  let results = null;
  /** @type {{ cancel: () => void } | null} */
  let job = null;

  const fleets = () => store.get().results.filter((result) => result.fleet !== null);

  /** @param {RunResult[]} current */
  function offer(current) {
    const kept = entry.value;
    replaceChildren(entry, current.map(({ name, entryIndex }) => h('option', { value: String(entryIndex) }, name)));
    if (current.some(({ entryIndex }) => String(entryIndex) === kept)) entry.value = kept;
  }

  function show() {
    shown = fleets().find(({ entryIndex }) => String(entryIndex) === entry.value) ?? fleets()[0] ?? null;
    const fleet = shown?.fleet;
    if (!shown || !fleet) return;
    slider.max = String(fleet.bins - 1);
    bin = Math.floor(fleet.bins / 2);
    slider.value = String(bin);
    replaceChildren(decisionsBody);
    replaceChildren(facts, factsOf(shown, fleet).map(([term, value]) => h('div', {}, h('dt', {}, term), h('dd', {}, value))));
    const events = historyOf(shown);
    replaceChildren(history, ...(events ? [events] : []));
    draw();
    fillTable();
  }

  function draw() {
    const fleet = shown?.fleet;
    if (!shown || !fleet) return;
    for (const button of measureButtons) button.setAttribute('aria-pressed', String(button.dataset.measure === measure));
    const values = valuesOf(fleet, measure);
    const top = Math.max(values.reduce((most, value) => Math.max(most, value), 0), measure === 'tokens' ? 1e-9 : 1);
    drawHeat(canvas, heat, fleet, values, top);
    canvas.setAttribute('aria-label', `${MEASURES[measure].label} of each of ${count(fleet.replicas.length)} replicas over ${number(shown.endS)} simulated seconds; the strongest colour is ${say(top)}.`);
    replaceChildren(topology, drawTopology(fleet, nodeGpus(store.get()), (replica) => values[replica * fleet.bins + bin] ?? 0, top, say));
    place();
  }

  function place() {
    const fleet = shown?.fleet;
    if (!fleet) return;
    cursor.style.left = `${(100 * (bin + 0.5)) / fleet.bins}%`;
    const atS = (bin + 0.5) * fleet.binS;
    moment.textContent = `${number(atS)}\u202fs`;
    slider.setAttribute('aria-valuetext', `${number(atS)} seconds`);
    const values = valuesOf(fleet, measure);
    const now = fleet.replicas.map((_, replica) => values[replica * fleet.bins + bin] ?? 0);
    const busiest = now.indexOf(Math.max(...now));
    const mean = now.reduce((sum, value) => sum + value, 0) / now.length;
    readout.textContent = `At ${number(atS)}\u202fs: ${MEASURES[measure].label.toLowerCase()} ${say(mean)} in the mean of ${count(now.length)} replicas, most on replica ${busiest} with ${say(now[busiest] ?? 0)}.`;
  }

  /** @param {number} to */
  function moveTo(to) {
    const fleet = shown?.fleet;
    if (!fleet) return;
    bin = Math.min(fleet.bins - 1, Math.max(0, Math.round(to)));
    slider.value = String(bin);
    const values = valuesOf(fleet, measure);
    const top = Math.max(values.reduce((most, value) => Math.max(most, value), 0), measure === 'tokens' ? 1e-9 : 1);
    replaceChildren(topology, drawTopology(fleet, nodeGpus(store.get()), (replica) => values[replica * fleet.bins + bin] ?? 0, top, say));
    place();
  }

  /** @param {number} value */
  function say(value) {
    return measure === 'tokens' ? percent(value) : number(value);
  }

  canvas.addEventListener('click', (event) => {
    const box = canvas.getBoundingClientRect();
    moveTo(((event.clientX - box.left) / box.width) * (shown?.fleet?.bins ?? 1) - 0.5);
  });
  new ResizeObserver(() => draw()).observe(heat);
  // Colours come from the style sheet: another theme needs another picture.
  new MutationObserver(() => draw()).observe(document.documentElement, { attributes: true, attributeFilter: ['data-theme'] });

  async function lookUp() {
    const fleet = shown?.fleet;
    if (!shown || !fleet) return;
    job?.cancel();
    const { document, files } = store.get();
    replaceChildren(decisionsBody, h('p', { class: 'muted', role: 'status' }, 'Simulating up to this moment …'));
    const mine = pool.run({ document, files, runIndex: shown.entryIndex, want: 'moment', atS: Math.min((bin + 0.5) * fleet.binS, shown.endS) });
    job = mine;
    const outcome = await mine.outcome;
    if (job !== mine || outcome.outcome === 'cancelled') return;
    if (outcome.outcome === 'moment') showDecisions(outcome.moment.routing, fleet);
    else if ('message' in outcome) replaceChildren(decisionsBody, h('p', { role: 'status' }, outcome.message));
  }

  /**
   * @param {Decision[]} routing
   * @param {FleetLoad} fleet
   */
  function showDecisions(routing, fleet) {
    const latest = [...routing].reverse();
    if (latest.length === 0) {
      replaceChildren(decisionsBody, h('p', { class: 'muted', role: 'status' }, 'Nothing has been routed by then.'));
      return;
    }
    const scores = h('div', { class: 'scores' });
    const list = h('div', { class: 'decision-list', role: 'group', 'aria-label': 'Latest choices, the last first' }, latest.map((decision, index) =>
      h('button', { type: 'button', class: 'quiet small', on: { click: () => choose(index) } }, `${decision.request} → replica ${decision.chosen}`, h('span', { class: 'muted' }, ` ${number(decision.at_s)}\u202fs`))));
    /** @param {number} index */
    function choose(index) {
      [...list.children].forEach((button, i) => button.setAttribute('aria-pressed', String(i === index)));
      const decision = latest[index];
      if (decision) replaceChildren(scores, scoresOf(decision, fleet));
    }
    replaceChildren(decisionsBody, list, scores);
    choose(0);
  }

  function fillTable() {
    const fleet = shown?.fleet;
    if (!perReplica.open || !fleet) return;
    const mean = (/** @type {Float64Array} */ values, /** @type {number} */ replica) => values.subarray(replica * fleet.bins, (replica + 1) * fleet.bins).reduce((sum, value) => sum + value, 0) / fleet.bins;
    replaceChildren(tableBody, h('table', {}, h('caption', { class: 'visually-hidden' }, 'Replicas'),
      h('thead', {}, h('tr', {}, ['Replica', 'Pool', 'GPUs', 'Requests', 'Running, mean', 'Waiting, mean', 'KV in use, mean', 'Prompt tokens from cache', 'Output tokens'].map((label) => h('th', { scope: 'col' }, label)))),
      h('tbody', {}, fleet.replicas.map((replica, i) => h('tr', {}, h('th', { scope: 'row' }, `${i}${replica.entry === shown?.name ? '' : `, ${replica.entry}`}`),
        [replica.role || '–', count(replica.gpus), count(replica.requests), number(mean(fleet.running, i)), number(mean(fleet.waiting, i)), percent(mean(fleet.tokens, i) / Math.max(1, replica.kvTokens)), percent(replica.cachedTokens / Math.max(1, replica.promptTokens)), compact(replica.outputTokens)].map((cell) => h('td', {}, cell)))))));
  }

  return {
    element,
    /** @param {State} state */
    update(state) {
      if (state.results === results || state.stale) return;
      results = state.results;
      offer(fleets());
      show();
    },
  };
}

/**
 * @param {FleetLoad} fleet
 * @param {keyof typeof MEASURES} measure
 */
function valuesOf(fleet, measure) {
  if (measure !== 'tokens') return fleet[measure];
  return fleet.tokens.map((tokens, i) => tokens / Math.max(1, fleet.replicas[Math.floor(i / fleet.bins)]?.kvTokens ?? 1));
}

/** @type {Record<string, string>} */
const TIERS = { gpu: 'GPU memory', host: 'host memory', disk: 'disk', remote: 'the remote store' };

/** What happened to the fleet, a line each. @param {RunResult} result @returns {HTMLElement | null} */
function historyOf({ summary }) {
  const { events = [], more_events: more = 0 } = summary.operations ?? {};
  if (events.length === 0) return null;
  /** @param {any} event */
  const line = ({ at_s: at, kind, replica, before, value, reason }) => {
    const what = kind === 'decision' ? `${count(before)} → ${count(value)} replicas` : `${replica === null ? '' : `replica ${replica} `}${kind.replaceAll('_', ' ')}`;
    const lost = kind === 'failed' && value > 0 ? `, ${count(value)} requests lost` : '';
    return h('li', {}, h('span', { class: 'muted' }, `${number(at)}\u202fs `), `${what}${lost}`, reason ? h('span', { class: 'muted' }, ` ${reason.replaceAll('_', ' ')}`) : '');
  };
  return h('details', {}, h('summary', {}, `Events (${count(events.length + more)})`), h('ol', { class: 'fleet-events' }, events.map(line)), more > 0 ? h('p', { class: 'muted' }, `and ${count(more)} more`) : '');
}

/** GPUs of a node, where the document names one. @param {State} state */
function nodeGpus({ document }) {
  const { node } = document.hardware_profile ?? {};
  return typeof node === 'string' ? parseNode(node).count : 0;
}

/**
 * @param {RunResult} result
 * @param {FleetLoad} fleet
 * @returns {[string, string][]}
 */
function factsOf({ endS, summary }, { replicas }) {
  const gpus = replicas.reduce((sum, { gpus: own }) => sum + own, 0);
  const operations = summary.operations;
  const hours = typeof operations?.gpu_hours === 'number' ? operations.gpu_hours : (gpus * endS) / 3600;
  const prices = replicas.map(({ usdPerHour }) => usdPerHour);
  const usd = prices.every((price) => price !== null) ? (prices.reduce((sum, price) => (sum ?? 0) + (price ?? 0), 0) ?? 0) * (hours / gpus) : null;
  const requests = replicas.filter(({ role }) => role !== 'decode').map((replica) => replica.requests);
  const [prompt, cached] = [replicas.reduce((sum, { promptTokens }) => sum + promptTokens, 0), replicas.reduce((sum, { cachedTokens }) => sum + cachedTokens, 0)];
  /** @type {[string, string][]} */
  const facts = [
    ['Replicas', `${count(replicas.length)} on ${count(gpus)} GPUs`],
    ['GPU hours', number(hours)],
    ['Cost of the run', usd === null ? MISSING : `$${number(usd)}`],
    ['Requests a replica', `${count(Math.min(...requests))} to ${count(Math.max(...requests))}`],
    ['Prompt tokens from cache', percent(cached / Math.max(1, prompt))],
  ];
  // Hits by tier, where there are tiers below the GPU.
  if (summary.kv_tiers) {
    for (const [tier, tokens] of Object.entries(summary.prefix_caching?.by_tier ?? {})) {
      if (typeof tokens === 'number') facts.push([`From ${TIERS[tier] ?? tier}`, `${compact(tokens)} tokens`]);
    }
  }
  if (operations) {
    const { replicas: serving, scaling, failures, lost_attempts: lost, retried_successful: retried } = operations;
    facts.push(['Serving replicas', `${number(serving.mean)} on average, ${count(serving.min)} to ${count(serving.max)}`]);
    facts.push(['Scaled', `${count(scaling.up)} times up, ${count(scaling.down)} down`]);
    facts.push(['Failures', count(failures)], ['Requests lost', `${count(lost)}, of which ${count(retried)} had their reply in a later try`]);
  }
  const handed = summary.disaggregation?.transfers;
  if (typeof handed === 'number') facts.push(['KV handed over', `${count(handed)} times`]);
  return facts;
}

/**
 * One tile a replica, a square a GPU, filled from below by its load; in boxes a node where the document says how large those are, and a
 * group a pool.
 * @param {FleetLoad} fleet
 * @param {number} gpusOfNode
 * @param {(replica: number) => number} load
 * @param {number} top
 * @param {(value: number) => string} say
 */
function drawTopology({ replicas }, gpusOfNode, load, top, say) {
  /** @type {Map<string, number[]>} */
  const pools = new Map();
  replicas.forEach(({ entry, role }, index) => {
    const key = ROLES[role] || entry;
    pools.set(key, [...(pools.get(key) ?? []), index]);
  });
  const total = Math.max(1, replicas.reduce((sum, { requests }) => sum + requests, 0));
  return [...pools].map(([name, members]) => {
    /** @type {number[][]} */
    const nodes = [];
    let free = 0;
    for (const index of members) {
      const gpus = replicas[index]?.gpus ?? 1;
      if (gpusOfNode < gpus || gpusOfNode <= 1) {
        nodes.push([index]);
        continue;
      }
      if (free < gpus) {
        nodes.push([]);
        free = gpusOfNode;
      }
      nodes.at(-1)?.push(index);
      free -= gpus;
    }
    const boxed = gpusOfNode > 1 && nodes.some((node) => node.length > 0);
    return h('section', { class: 'pool' },
      h('h4', {}, name, h('span', { class: 'muted' }, ` ${count(members.length)} ${members.length === 1 ? 'replica' : 'replicas'}`)),
      h('div', { class: 'nodes' }, nodes.map((node, i) => h('div', { class: boxed ? 'node' : 'node bare' }, boxed ? h('span', { class: 'node-name' }, `node ${i}`) : null,
        h('div', { class: 'tiles' }, node.map((index) => tile(/** @type {ReplicaLoad} */ (replicas[index]), index, load(index), top, say, total)))))));
  });
}

/**
 * @param {ReplicaLoad} replica
 * @param {number} index
 * @param {number} value
 * @param {number} top
 * @param {(value: number) => string} say
 * @param {number} total
 */
function tile(replica, index, value, top, say, total) {
  const height = 34 * Math.min(1, value / top);
  const gpus = Math.min(8, replica.gpus);
  const words = `Replica ${index}, ${replica.gpus} x ${replica.device}: ${say(value)}; ${count(replica.requests)} requests, ${percent(replica.requests / total)} of all`;
  return svg('svg', { class: 'tile', viewBox: '0 0 44 50', role: 'img', 'aria-label': words }, svg('title', {}, words),
    svg('rect', { class: 'tile-back', x: 1, y: 1, width: 42, height: 36, rx: 4 }),
    svg('rect', { class: 'tile-load', x: 2, y: 36 - height, width: 40, height, rx: 3 }),
    svg('text', { x: 22, y: 23, 'text-anchor': 'middle' }, say(value)),
    Array.from({ length: gpus }, (_, i) => svg('rect', { class: 'tile-gpu', x: 22 - gpus * 2.5 + i * 5, y: 41, width: 4, height: 4, rx: 1 })));
}

/**
 * A row a replica, a column a bin, stronger where there is more.
 * @param {HTMLCanvasElement} canvas
 * @param {HTMLElement} holder
 * @param {FleetLoad} fleet
 * @param {Float64Array} values
 * @param {number} top
 */
function drawHeat(canvas, holder, { replicas, bins }, values, top) {
  const width = holder.clientWidth;
  if (width < 40) return;
  const rows = replicas.length;
  const row = Math.max(2, Math.min(18, Math.floor(420 / rows)));
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(rows * row * ratio);
  canvas.style.height = `${rows * row}px`;
  const context = canvas.getContext('2d');
  if (!context) return;
  const colors = getComputedStyle(document.documentElement);
  context.fillStyle = colors.getPropertyValue('--sunken').trim();
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = colors.getPropertyValue('--accent').trim();
  const gap = row >= 6 ? ratio : 0;
  for (let replica = 0; replica < rows; replica += 1) {
    for (let bin = 0; bin < bins; bin += 1) {
      const value = values[replica * bins + bin] ?? 0;
      if (!(value > 0)) continue;
      // The least load there is can be told from none.
      context.globalAlpha = 0.12 + 0.88 * Math.min(1, value / top);
      const left = Math.round((bin / bins) * canvas.width);
      context.fillRect(left, Math.round(replica * row * ratio), Math.round(((bin + 1) / bins) * canvas.width) - left, Math.round(row * ratio - gap));
    }
  }
  context.globalAlpha = 1;
}

/**
 * @param {Decision} decision
 * @param {FleetLoad} fleet
 */
function scoresOf({ request, chosen, of, unit, greatest_wins: greatest, scores }, { replicas }) {
  if (scores.length === 0) return [h('p', {}, `${request} went to replica ${chosen}, one of ${count(of)}: this rule weighs no load.`)];
  const largest = Math.max(...scores.map(([, score]) => Math.abs(score)), 1e-9);
  const left = of - scores.length;
  return [
    h('p', {}, `${request}: ${unit}, the ${greatest ? 'greatest' : 'least'} wins. Replica ${chosen} was chosen of ${count(of)}.`),
    h('ol', { class: 'score-list' }, scores.map(([replica, score]) => {
      const bar = h('span', { class: 'score-bar' });
      bar.style.width = `${(100 * Math.abs(score)) / largest}%`;
      return h('li', { class: replica === chosen ? 'chosen' : null },
        h('span', {}, `${replica}${replicas[replica]?.role ? ` (${replicas[replica]?.role})` : ''}${replica === chosen ? ' ★' : ''}`), h('span', { class: 'score-track' }, bar), h('span', { class: 'score-value' }, number(score)));
    })),
    left > 0 ? h('p', { class: 'muted' }, `… and ${count(left)} more.`) : null,
  ];
}
