// Light and dark: the system's choice unless the reader made one. Charts read their colours from the style sheet.

/** @import { ChartTheme } from './types.js' */

const KEY = 'llmperforacle.theme';
const system = () => window.matchMedia('(prefers-color-scheme: dark)');

export function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === 'dark' : system().matches;
}

/** @param {() => void} onChange */
export function watchTheme(onChange) {
  system().addEventListener('change', onChange);
  return {
    toggle() {
      const next = isDark() ? 'light' : 'dark';
      document.documentElement.dataset.theme = next;
      try {
        localStorage.setItem(KEY, next);
      } catch {
        // Storage may be switched off; the choice then lasts as long as the page.
      }
      onChange();
    },
  };
}

/** @returns {ChartTheme} */
export function chartTheme() {
  const style = getComputedStyle(document.documentElement);
  const color = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  return {
    background: color('--surface'),
    text: color('--ink'),
    muted: color('--muted'),
    grid: color('--grid'),
    axis: color('--axis'),
    fontFamily: 'system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif',
    fontSizePx: 12,
  };
}

/** @param {string} name  of a custom property */
export function cssColor(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
