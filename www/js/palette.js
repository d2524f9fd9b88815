// One colour and one dash pattern an entry, so that no comparison rests on colour alone.
// Colours stand at 3:1 or better on their background (palette.test.js) and stay apart under the common colour blindnesses.

/** @import { Dash } from './types.js' */

export const LIGHT = ['#0b62a8', '#c2480f', '#00796b', '#8246a5', '#8a6100', '#b02a68', '#4c5b6b', '#4b7a12'];
export const DARK = ['#6cb6f5', '#f5925a', '#45c7a8', '#c79df0', '#e0b444', '#f486b3', '#a9b9c8', '#9bcf63'];
export const BACKGROUND = { light: '#ffffff', dark: '#161b22' };

/** @type {Dash[]} */
const DASHES = ['solid', 'dashed', 'dotted', 'dashdot'];
/** The same patterns for the swatches in legends, as SVG has it. @type {Record<Dash, string>} */
export const DASH_ARRAY = { solid: '', dashed: '7 4', dotted: '2 3', dashdot: '8 3 2 3' };

/**
 * @param {number} index  of the entry
 * @param {boolean} dark
 */
export function entryColor(index, dark) {
  const colors = dark ? DARK : LIGHT;
  return colors[index % colors.length] ?? '#888888';
}

/**
 * Neighbours differ in colour and dash; after eight entries colours return with another dash.
 * @param {number} index
 * @returns {Dash}
 */
export function entryDash(index) {
  return DASHES[(index + Math.floor(index / LIGHT.length)) % DASHES.length] ?? 'solid';
}
