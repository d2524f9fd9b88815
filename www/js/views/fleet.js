// A fleet: its replicas with their load at a moment, each one's load over the run, what the router weighed, and what it cost.
// Load is the engine's means over bins; a click on the timeline moves the moment.

import { h, replaceChildren } from '../dom.js';
import { parseNode } from '../document.js';
import { MISSING, compact, count, number, percent } from '../format.js';
import { createHeat } from './fleet-heat.js';
import { fleetLines } from './fleet-lines.js';
import { createTopology, stateAt, statesOf } from './fleet-topology.js';

/** @import { Store } from '../store.js' */
/** @import { createPool } from '../pool.js' */
/** @import { Decision, FleetLoad, Moment, RunResult, State } from '../types.js' */

/** @type {Record<'running' | 'waiting' | 'tokens', { label: string, unit: string }>} */
const MEASURES = {
  running: { label: 'Running', unit: 'requests' },
  waiting: { label: 'Waiting', unit: 'requests' },
  tokens: { label: 'KV in use', unit: 'of the pool' },
};

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
  const readout = h('p', { class: 'muted fleet-readout', role: 'status' });
  const heat = createHeat({
    onPick: (to) => moveTo(to),
    read: (replica, at) => `${nameOf(replica)} at ${number((at + 0.5) * (shown?.fleet?.binS ?? 0))}\u202fs: ${MEASURES[measure].label.toLowerCase()} ${say(values[replica * (shown?.fleet?.bins ?? 0) + at] ?? 0)}`,
    onResize: () => draw(),
  });
  const decisionsBody = h('div', { class: 'decisions' });
  const ask = h('button', { type: 'button', on: { click: () => void lookUp() } }, 'What did the router weigh at this moment?');
  const tableBody = h('div', { class: 'table-scroll', role: 'region', 'aria-label': 'Replicas', tabindex: 0 });
  const perReplica = h('details', { class: 'data', on: { toggle: () => fillTable() } }, h('summary', {}, 'Data'), tableBody);
  const element = h('div', { class: 'fleet' },
    h('div', { class: 'inspector-controls' }, entry, h('div', { class: 'segmented', role: 'group', 'aria-label': 'Load shown' }, measureButtons), moment),
    facts, topology, h('div', { class: 'fleet-time' }, slider, heat.element, heat.key), readout, h('div', {}, ask), decisionsBody, history, perReplica);

  /** @type {keyof typeof MEASURES} */
  let measure = 'running';
  /** @type {RunResult | null} */
  let shown = null;
  let bin = 0;
  /** Of the measure, by replica and bin; the most of them. */
  let values = new Float64Array();
  let top = 1;
  /** @type {ReturnType<typeof createTopology> | null} */
  let tiles = null;
  /** @type {ReturnType<typeof statesOf>} */
  let states = null;
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
    tiles = createTopology(fleet, nodeGpus(store.get()));
    states = statesOf(shown, fleet);
    replaceChildren(topology, tiles.elements);
    draw();
    fillTable();
  }

  function draw() {
    const fleet = shown?.fleet;
    if (!shown || !fleet) return;
    for (const button of measureButtons) button.setAttribute('aria-pressed', String(button.dataset.measure === measure));
    values = valuesOf(fleet, measure);
    top = Math.max(values.reduce((most, value) => Math.max(most, value), 0), measure === 'tokens' ? 1e-9 : 1);
    heat.draw(shown, fleet, values, top, `${say(top)} ${MEASURES[measure].unit}`);
    heat.say(`${MEASURES[measure].label} of each of ${count(fleet.replicas.length)} replicas over ${number(shown.endS)} simulated seconds; the strongest colour is ${say(top)}.`);
    place();
  }

  function place() {
    const fleet = shown?.fleet;
    if (!fleet) return;
    const atS = (bin + 0.5) * fleet.binS;
    const of = (/** @type {number} */ replica) => values[replica * fleet.bins + bin] ?? 0;
    heat.moveTo(bin);
    tiles?.show(of, top, short, (replica) => stateAt(states, replica, atS));
    moment.textContent = `${number(atS)}\u202fs`;
    slider.setAttribute('aria-valuetext', `${number(atS)} seconds`);
    const now = fleet.replicas.map((_, replica) => of(replica));
    const busiest = now.indexOf(Math.max(...now));
    const mean = now.reduce((sum, value) => sum + value, 0) / now.length;
    readout.textContent = `At ${number(atS)}\u202fs: ${MEASURES[measure].label.toLowerCase()} ${say(mean)} in the mean of ${count(now.length)} replicas, most on ${nameOf(busiest).toLowerCase()} with ${say(now[busiest] ?? 0)}.`;
  }

  /** @param {number} to */
  function moveTo(to) {
    const fleet = shown?.fleet;
    if (!fleet) return;
    bin = Math.min(fleet.bins - 1, Math.max(0, Math.round(to)));
    slider.value = String(bin);
    place();
  }

  /** @param {number} replica */
  function nameOf(replica) {
    const role = shown?.fleet?.replicas[replica]?.role;
    return `Replica ${replica}${role ? ` (${role})` : ''}`;
  }

  /** For a tile: no more digits than it has room for. @param {number} value */
  function short(value) {
    if (measure === 'tokens') return `${count(value * 100)}\u202f%`;
    return value < 9.95 ? String(Math.round(value * 10) / 10) : count(value);
  }

  /** @param {number} value */
  function say(value) {
    return measure === 'tokens' ? percent(value) : number(value);
  }

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
    if (outcome.outcome === 'moment') showDecisions(outcome.moment, fleet);
    else if ('message' in outcome) replaceChildren(decisionsBody, h('p', { role: 'status' }, outcome.message));
  }

  /**
   * @param {Moment} moment
   * @param {FleetLoad} fleet
   */
  function showDecisions(moment, fleet) {
    const latest = [...moment.routing].reverse();
    const happened = fleetLines(moment, false);
    if (latest.length === 0) {
      replaceChildren(decisionsBody, h('p', { class: 'muted', role: 'status' }, 'Nothing has been routed by then.'), happened);
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
    replaceChildren(decisionsBody, list, scores, happened);
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
  const line = ({ at_s: at, sentence }) => h('li', {}, h('span', { class: 'at' }, `${number(at)}\u202fs`), h('span', {}, sentence));
  return h('details', {}, h('summary', {}, `Events (${count(events.length + more)})`), h('ol', { class: 'fleet-lines fleet-events' }, events.map(line)), more > 0 ? h('p', { class: 'muted' }, `and ${count(more)} more`) : '');
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
    facts.push(['Failures', count(failures)], ['Requests lost', lost === 0 ? '0' : `${count(lost)}, of which ${count(retried)} had their reply in a later try`]);
  }
  const handed = summary.disaggregation?.transfers;
  if (typeof handed === 'number') facts.push(['KV handed over', `${count(handed)} times`]);
  return facts;
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
