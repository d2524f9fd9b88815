// A panel whose contents are fetched when it is first opened, so that the page starts without them.

import { h, replaceChildren } from '../dom.js';

/** @import { State } from '../types.js' */

/**
 * @template {{ element: HTMLElement, update: (state: State) => void }} V
 * @param {object} options
 * @param {string} options.title
 * @param {string} options.name  class of the element
 * @param {() => Promise<V>} options.load
 * @param {() => State} options.state
 * @param {(state: State) => boolean} [options.wanted]  whether there is anything for it to show
 */
export function createLazyPanel({ title, name, load, state, wanted = ({ results }) => results.length > 0 }) {
  const body = h('div', { class: 'panel-body' });
  const element = h('details', { class: `panel ${name}` }, h('summary', {}, title), body);
  /** @type {Promise<V> | null} */
  let loading = null;
  /** @type {V | null} */
  let view = null;

  /** @returns {Promise<V>} */
  function get() {
    if (!loading) {
      replaceChildren(body, h('p', { class: 'muted' }, 'Loading …'));
      loading = load();
      loading.then(
        (loaded) => {
          view = loaded;
          replaceChildren(body, loaded.element);
          loaded.update(state());
        },
        (/** @type {unknown} */ error) => {
          loading = null;
          replaceChildren(body, h('p', { role: 'alert' }, `This part could not be loaded: ${error instanceof Error ? error.message : error}`));
        },
      );
    }
    return loading;
  }
  element.addEventListener('toggle', () => {
    if (!element.open) return;
    if (view) view.update(state());
    else void get().catch(() => {});
  });

  return {
    element,
    /** Opens it, brings it into view, and hands over what is in it. */
    async open() {
      element.open = true;
      const loaded = await get();
      element.scrollIntoView({ block: 'nearest' });
      return loaded;
    },
    /** @param {State} current */
    update(current) {
      element.hidden = !wanted(current);
      if (element.open) view?.update(current);
    },
  };
}
