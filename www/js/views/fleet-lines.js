// What a fleet did about a moment, in the words of `explain`: choices of its router, scaling and failures, requests tried again.

import { h } from '../dom.js';
import { number } from '../format.js';

/** @import { FleetLine, Moment } from '../types.js' */

/** Lines of each kind: the latest. */
const SHOWN = 6;

/**
 * @param {Moment} moment
 * @param {boolean} [withRouting]  the router's choices too
 * @returns {HTMLElement | null} null when there is no choice and nothing has happened
 */
export function fleetLines({ replicas, rule, routing, fleet_events: events, retries }, withRouting = true) {
  const parts = [
    withRouting && replicas.length > 1 ? part(`Router: ${rule.replaceAll('_', ' ')}`, routing) : null,
    part('Fleet', events),
    part('Tried again', retries),
  ].filter((made) => made !== null);
  return parts.length === 0 ? null : h('div', { class: 'fleet-lines' }, parts);
}

/**
 * @param {string} title
 * @param {FleetLine[]} lines
 */
function part(title, lines) {
  if (lines.length === 0) return null;
  return h('section', {}, h('h4', {}, title), h('ol', {}, lines.slice(-SHOWN).map(({ at_s: at, sentence }) => h('li', {}, h('span', { class: 'at' }, `${number(at)}\u202fs`), h('span', {}, sentence)))));
}
