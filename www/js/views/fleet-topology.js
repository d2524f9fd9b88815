// A tile a replica, a square a GPU, filled from below by its load; in boxes a node where the document says how large those are, and a
// group a pool. Tiles are made once and follow the moment.

import { h, svg } from '../dom.js';
import { count, percent } from '../format.js';

/** @import { FleetLoad, ReplicaLoad, RunResult } from '../types.js' */

const ROLES = { '': '', prefill: 'Prefill pool', decode: 'Decode pool' };
const HEIGHT = 34;

/** What a replica is after an event of its history. @type {Record<string, string>} */
const AFTER = { starting: 'starting', serving: 'serving', reconnected: 'serving', draining: 'draining', stopped: 'stopped', failed: 'down', taken_down: 'down', cut_off: 'cut off' };

/**
 * When each replica changes what it is; null where the history is not complete.
 * @param {RunResult} result
 * @param {FleetLoad} fleet
 * @returns {{ at: number, state: string }[][] | null}
 */
export function statesOf({ summary }, { replicas }) {
  const { events = [], more_events: more = 0 } = summary.operations ?? {};
  if (more > 0) return null;
  const states = replicas.map(({ requests }) => [{ at: 0, state: summary.operations && requests === 0 ? 'stopped' : 'serving' }]);
  for (const { at_s: at, kind, replica } of events) {
    const state = AFTER[kind];
    const own = replica === null ? undefined : states[replica];
    if (!state || !own) continue;
    // One whose history begins with its start was not there before.
    if (own.length === 1 && state === 'starting') own[0] = { at: 0, state: 'stopped' };
    own.push({ at, state });
  }
  return states;
}

/**
 * @param {{ at: number, state: string }[][] | null} states
 * @param {number} replica
 * @param {number} atS
 */
export function stateAt(states, replica, atS) {
  return states?.[replica]?.findLast(({ at }) => at <= atS)?.state ?? 'serving';
}

/**
 * @param {FleetLoad} fleet
 * @param {number} gpusOfNode
 * @returns {{ elements: HTMLElement[], show: (load: (replica: number) => number, top: number, say: (value: number) => string, state: (replica: number) => string) => void }}
 */
export function createTopology({ replicas }, gpusOfNode) {
  /** @type {Map<string, number[]>} */
  const pools = new Map();
  replicas.forEach(({ entry, role }, index) => {
    const key = ROLES[role] || entry;
    pools.set(key, [...(pools.get(key) ?? []), index]);
  });
  const total = Math.max(1, replicas.reduce((sum, { requests }) => sum + requests, 0));
  const tiles = replicas.map(tile);
  const elements = [...pools].map(([name, members]) => {
    const nodes = nodesOf(members, replicas, gpusOfNode);
    const boxed = gpusOfNode > 1;
    return h('section', { class: 'pool' },
      h('h4', {}, name, h('span', { class: 'muted' }, ` ${count(members.length)} ${members.length === 1 ? 'replica' : 'replicas'}`)),
      h('div', { class: 'nodes' }, nodes.map((node, i) => h('div', { class: boxed ? 'node' : 'node bare' }, boxed ? h('span', { class: 'node-name' }, `node ${i}`) : null,
        h('div', { class: 'tiles' }, node.map((index) => tiles[index]?.element ?? null))))));
  });
  return {
    elements,
    show(load, top, say, state) {
      replicas.forEach((replica, index) => {
        const made = tiles[index];
        if (!made) return;
        const [value, what] = [load(index), state(index)];
        const height = HEIGHT * Math.min(1, value / top);
        const text = what === 'serving' || value > 0 ? say(value) : what === 'stopped' ? '–' : what;
        made.element.setAttribute('class', `tile ${what.replace(' ', '-')}`);
        made.bar.setAttribute('y', String(36 - height));
        made.bar.setAttribute('height', String(height));
        if (made.label.textContent !== text) made.label.textContent = text;
        made.label.classList.toggle('small', text.length > 5);
        const words = `Replica ${index}, ${replica.gpus} x ${replica.device}${what === 'serving' ? '' : `, ${what}`}: ${say(value)}; ${count(replica.requests)} requests, ${percent(replica.requests / total)} of all`;
        made.element.setAttribute('aria-label', words);
        made.title.textContent = words;
      });
    },
  };
}

/**
 * Replicas by node: filled in their order, none of them spread over two unless it is larger than one.
 * @param {number[]} members
 * @param {ReplicaLoad[]} replicas
 * @param {number} gpusOfNode
 */
function nodesOf(members, replicas, gpusOfNode) {
  /** @type {number[][]} */
  const nodes = [];
  let free = 0;
  for (const index of members) {
    const gpus = replicas[index]?.gpus ?? 1;
    if (gpusOfNode <= 1 && nodes.length > 0) {
      nodes[0]?.push(index);
      continue;
    }
    if (free < gpus) {
      nodes.push([]);
      free = Math.max(gpusOfNode, gpus);
    }
    nodes.at(-1)?.push(index);
    free -= gpus;
  }
  return nodes;
}

/** @param {ReplicaLoad} replica */
function tile(replica) {
  const gpus = Math.min(8, replica.gpus);
  const title = svg('title', {});
  const bar = svg('rect', { class: 'tile-load', x: 2, width: 40, rx: 3 });
  const label = svg('text', { x: 22, y: 23, 'text-anchor': 'middle' });
  const element = svg('svg', { class: 'tile', viewBox: '0 0 44 50', role: 'img' }, title,
    svg('rect', { class: 'tile-back', x: 1, y: 1, width: 42, height: 36, rx: 4 }), bar, label,
    Array.from({ length: gpus }, (_, i) => svg('rect', { class: 'tile-gpu', x: 22 - gpus * 2.5 + i * 5, y: 41, width: 4, height: 4, rx: 1 })));
  return { element, title, bar, label };
}
