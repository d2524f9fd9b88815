// The line sample that stands for an entry in legends, the table and the form. Its colour is a class, so that it follows
// the theme without being redrawn.

import { svg } from '../dom.js';
import { DASH_ARRAY, LIGHT, entryDash } from '../palette.js';

/**
 * @param {number} index  of the entry
 * @param {number} [dashIndex]  where an entry has several lines
 */
export function swatch(index, dashIndex = index) {
  return svg('svg', { class: `swatch entry-${index % LIGHT.length}`, viewBox: '0 0 28 8', width: 28, height: 8, 'aria-hidden': 'true', focusable: 'false' },
    svg('line', { x1: 1, y1: 4, x2: 27, y2: 4, 'stroke-dasharray': DASH_ARRAY[entryDash(dashIndex)] || null }));
}
