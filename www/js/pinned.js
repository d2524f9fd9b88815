// Results that were pinned stay beside those of later versions, in the table and in the charts.

/** @import { State } from './types.js' */

/** @type {{ results: State['results'], pinned: State['pinned'], shown: State['results'] } | null} */
let latest = null;

/**
 * The state with the pinned results among its own, under a name and a colour of their own. The same results give the same list.
 * @param {State} state
 * @returns {State}
 */
export function withPinned(state) {
  const { results, pinned } = state;
  if (pinned.length === 0 || pinned === results || results.length === 0) return state;
  if (latest?.results !== results || latest.pinned !== pinned) {
    const first = Math.max(...results.map(({ entryIndex }) => entryIndex)) + 1;
    latest = { results, pinned, shown: [...results, ...pinned.map((result, i) => ({ ...result, name: `${result.name} (pinned)`, entryIndex: first + i }))] };
  }
  return { ...state, results: latest.shown };
}
