// The step inspector: one moment of one entry. A worker simulates up to it; here the step is shown: its batch, where its time
// goes, the queue, and the rule that held the next request back.

import { h, replaceChildren } from '../dom.js';
import { count, number, percent } from '../format.js';
import { fleetLines } from './fleet-lines.js';

/** @import { Store } from '../store.js' */
/** @import { createPool } from '../pool.js' */
/** @import { Moment, ReplicaMoment, RunResult, State, Step } from '../types.js' */

/** Positions of the slider. */
const TICKS = 1000;
const MEMBERS_SHOWN = 64;
const DEBOUNCE_MS = 120;

/** A moment as fine as the slider tells it. @param {number} seconds */
const coarse = (seconds) => Number(seconds.toPrecision(4));

/**
 * @param {object} options
 * @param {Store} options.store
 * @param {Pick<ReturnType<typeof createPool>, 'run'>} options.pool
 */
export function createInspector({ store, pool }) {
  const entry = h('select', { 'aria-label': 'Entry to look into', on: { change: () => { wanted = null; void look(); } } });
  const slider = h('input', { type: 'range', min: 0, max: TICKS, value: TICKS / 2, 'aria-label': 'Moment', on: { input: () => choose(coarse((Number(slider.value) / TICKS) * endS()), true) } });
  const exact = h('input', { type: 'number', min: 0, step: 'any', 'aria-label': 'Moment, simulated seconds', on: { change: () => choose(Number(exact.value) || 0) } });
  const replica = h('select', { 'aria-label': 'Replica to look into', hidden: true, on: { change: () => { wanted = Number(replica.value); if (seen) show(seen); } } });
  const before = h('button', { type: 'button', class: 'quiet', on: { click: () => shownStep && choose(Math.max(0, shownStep.start_s - 1e-9)) } }, '◀ Step before');
  const after = h('button', { type: 'button', class: 'quiet', on: { click: () => shownStep && choose(shownStep.end_s) } }, 'Next step ▶');
  const status = h('p', { class: 'step-status', role: 'status' });
  const body = h('div', { class: 'step-body' });
  const element = h('div', { class: 'inspector' },
    h('div', { class: 'inspector-controls' }, entry, replica, slider, h('label', {}, exact, ' s'), before, after), status, body);

  let atS = NaN;
  /** @type {Step | null} */
  let shownStep = null;
  /** @type {Moment | null} */
  let seen = null;
  /** The replica that was chosen; none yet: the first with a step. @type {number | null} */
  let wanted = null;
  /** @type {RunResult[] | null} */
  let shownResults = null;
  /** @type {{ cancel: () => void } | null} */
  let job = null;
  /** @type {ReturnType<typeof setTimeout> | null} */
  let timer = null;

  const chosen = () => store.get().results[Number(entry.value)] ?? store.get().results[0];
  const endS = () => chosen()?.endS ?? 0;

  /** @param {number} seconds @param {boolean} [sliding] */
  function choose(seconds, sliding = false) {
    atS = Math.min(Math.max(0, seconds), endS());
    exact.value = String(Number(atS.toFixed(9)));
    if (!sliding) slider.value = String(Math.round((atS / (endS() || 1)) * TICKS));
    slider.setAttribute('aria-valuetext', `${number(atS)} seconds`);
    if (timer !== null) clearTimeout(timer);
    timer = setTimeout(look, sliding ? DEBOUNCE_MS : 0);
  }

  async function look() {
    const result = chosen();
    if (!result) return;
    job?.cancel();
    const { document, files } = store.get();
    const mine = pool.run({ document, files, runIndex: result.entryIndex, want: 'moment', atS });
    job = mine;
    const outcome = await mine.outcome;
    if (job !== mine || outcome.outcome === 'cancelled') return;
    if (outcome.outcome === 'moment') show(outcome.moment);
    else if ('message' in outcome) {
      shownStep = null;
      status.textContent = outcome.message;
      replaceChildren(body);
    }
  }

  /** @param {Moment} moment */
  function show(moment) {
    seen = moment;
    const several = moment.replicas.length > 1;
    const shown = moment.replicas[wanted ?? -1] ?? moment.replicas.find(({ steps }) => steps.length > 0) ?? moment.replicas[0];
    replica.hidden = !several;
    replaceChildren(replica, moment.replicas.map(({ replica: index, steps }) => h('option', { value: String(index) }, `Replica ${index}${steps.length > 0 ? '' : ', idle'}`)));
    if (shown) replica.value = String(shown.replica);
    shownStep = shown?.steps[0] ?? null;
    before.disabled = after.disabled = shownStep === null;
    const busy = moment.replicas.filter(({ steps }) => steps.length > 0).length;
    const where = several && shown ? `, replica ${shown.replica}` : '';
    const among = several ? ` ${count(busy)} of ${count(moment.replicas.length)} replicas are at work.` : '';
    status.textContent = `${moment.run} at ${number(moment.at_s)}\u202fs${where}: ${shownStep
      ? `a ${shownStep.kind} step of ${number(shownStep.duration_ms)}\u202fms, ${count(shownStep.tokens.prefill)} prompt tokens and ${count(shownStep.tokens.decode)} decodes.`
      : 'no step is under way.'}${among}`;
    replaceChildren(body, fleetLines(moment), shown ? replicaParts(shown, several) : null);
  }

  return {
    element,
    /** @param {State} state */
    update({ results, stale }) {
      if (results === shownResults || stale || results.length === 0) return;
      shownResults = results;
      const index = Number(entry.value) || 0;
      replaceChildren(entry, results.map(({ name }, i) => h('option', { value: String(i) }, name)));
      entry.value = String(index < results.length ? index : 0);
      choose(Number.isNaN(atS) ? coarse(endS() / 2) : atS);
    },
    /**
     * @param {number} resultIndex
     * @param {number} seconds
     */
    pick(resultIndex, seconds) {
      entry.value = String(resultIndex);
      choose(seconds);
    },
  };
}

/**
 * @param {ReplicaMoment} replica
 * @param {boolean} several
 */
function replicaParts({ replica, entry, steps, ranks = [], last_step_ended_s: last }, several) {
  const head = several ? [h('h4', {}, `Replica ${replica}: ${entry}`)] : [];
  if (ranks.length > 0) return [...head, rankParts(ranks, several ? ` on replica ${replica}` : '')];
  if (steps.length === 0) return [...head, h('p', { class: 'muted' }, last === null ? 'Idle, without a step so far.' : `Idle since ${number(last)}\u202fs.`)];
  const card = (/** @type {Step} */ step, /** @type {number} */ index) =>
    stepCard(step, `${several ? ` on replica ${replica}` : ''}${steps.length > 1 ? `, step ${index + 1}` : ''}`);
  return [...head, ...steps.map(card)];
}

/**
 * Attention ranks: one is chosen, and its step is shown.
 * @param {Step[][]} ranks
 * @param {string} where
 */
function rankParts(ranks, where) {
  const label = (/** @type {Step[]} */ steps, /** @type {number} */ rank) =>
    `Rank ${rank}: ${steps[0] ? `${steps[0].kind}, ${count(steps[0].members.length)} running, ${count(steps[0].queue.length)} waiting` : 'nothing to do'}`;
  const body = h('div', {});
  const choice = h('select', { 'aria-label': `Attention rank${where}`, on: { change: () => show() } },
    ranks.map((steps, rank) => h('option', { value: String(rank) }, label(steps, rank))));
  const show = () => {
    const rank = Number(choice.value);
    const steps = ranks[rank] ?? [];
    replaceChildren(body, steps.length > 0
      ? steps.map((step) => stepCard(step, `${where} on rank ${rank}`))
      : h('p', { class: 'muted' }, 'Nothing to do in this step: one row for nothing where the other ranks compute.'));
  };
  choice.value = String(Math.max(0, ranks.findIndex((steps) => steps.length > 0)));
  show();
  return h('div', {}, h('p', {}, choice), body);
}

/**
 * @param {Step} step
 * @param {string} where  tells its tables from those of other steps
 */
function stepCard(step, where) {
  const { parts, duration_ms: duration, kv_blocks: kv, queue, held_back: held, floors } = step;
  const shown = parts.filter(({ ms }) => ms > 0);
  const bar = h('div', { class: 'split', role: 'img', 'aria-label': `Where the step's time goes: ${shown.map(({ label, ms }) => `${label} ${percent(ms / duration)}`).join(', ')}` });
  for (const { key, ms } of shown) {
    const piece = h('span', { class: `part-${key}` });
    piece.style.width = `${(100 * ms) / duration}%`;
    bar.append(piece);
  }
  return h('div', { class: 'step' },
    h('p', { class: held ? 'held' : 'held muted' }, held ? held.sentence : queue.length > 0 ? 'The engine names no rule that held the queue back.' : 'Nobody is waiting.'),
    bar,
    h('dl', { class: 'split-key' }, parts.flatMap(({ key, label, ms }) => [h('dt', {}, h('span', { class: `phase part-${key}` }), label), h('dd', {}, `${number(ms)}\u202fms`)])),
    floors ? h('p', { class: 'muted' }, `At the data sheet’s peaks the arithmetic takes ${number(floors.compute_ms)}\u202fms and the memory traffic ${number(floors.memory_ms)}\u202fms: bound by ${floors.compute_ms > floors.memory_ms ? 'compute' : 'memory'}.`) : null,
    h('dl', { class: 'facts' },
      fact('Tokens', `${count(step.tokens.prefill + step.tokens.decode)} of ${count(step.tokens.budget)}`),
      fact('Padding', `${count(step.tokens.padding)} rows${step.eager ? ', launched kernel by kernel' : ''}`),
      fact('Sequences', `${count(step.sequences.prefill)} prefill, ${count(step.sequences.decode)} decode, ${count(step.sequences.left_out)} left out; at most ${count(step.sequences.limit)}`),
      fact('KV memory', `${count(kv.used)} of ${count(kv.total)} blocks, ${percent(kv.used / Math.max(1, kv.total))}`)),
    h('div', { class: 'step-tables' },
      table(`The batch${where}: ${count(step.members.length)} requests`, ['Request', 'Does', 'Tokens', 'Context', 'Made'], step.members.slice(0, MEMBERS_SHOWN).map((member) => [
        member.request, doing(member), count(member.tokens), count(member.context_tokens), count(member.generated_tokens)]), step.members.length - MEMBERS_SHOWN),
      table(`The queue${where}: ${count(queue.length)} waiting`, ['Request', 'Tokens', 'Waited'], queue.first.map((waiting) => [
        waiting.request, count(waiting.tokens), `${number(waiting.waited_ms)}\u202fms${waiting.swapped ? ', in host memory' : waiting.preempted ? ', ran before' : ''}`]), queue.length - queue.first.length)));
}

/** @param {Step['members'][number]} member */
function doing({ doing: what, past_tokens: past, completes_prompt: completes }) {
  if (what === 'decode') return 'decode';
  if (what === 'left_out') return 'nothing';
  return `prefill after ${count(past ?? 0)}${completes ? ', the last piece' : ''}`;
}

/** @param {string} term @param {string} text */
function fact(term, text) {
  return h('div', {}, h('dt', {}, term), h('dd', {}, text));
}

/**
 * @param {string} caption
 * @param {string[]} head
 * @param {string[][]} rows
 * @param {number} more
 */
function table(caption, head, rows, more) {
  return h('div', { class: 'table-scroll', role: 'region', 'aria-label': caption, tabindex: 0 },
    h('table', {}, h('caption', {}, caption),
      h('thead', {}, h('tr', {}, head.map((text) => h('th', { scope: 'col' }, text)))),
      h('tbody', {}, rows.map(([first, ...rest]) => h('tr', {}, h('th', { scope: 'row' }, first ?? ''), rest.map((cell) => h('td', {}, cell)))))),
    more > 0 ? h('p', { class: 'muted' }, `… and ${count(more)} more`) : null);
}
