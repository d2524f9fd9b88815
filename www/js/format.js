// Numbers as a reader wants them: three significant digits, thin spaces, units named once.

const LOCALE = 'en';
/** @type {Map<string, Intl.NumberFormat>} */
const formats = new Map();

/** @param {Intl.NumberFormatOptions} options */
function formatter(options) {
  const key = JSON.stringify(options);
  let found = formats.get(key);
  if (!found) {
    found = new Intl.NumberFormat(LOCALE, options);
    formats.set(key, found);
  }
  return found;
}

export const MISSING = '–';

/**
 * Three significant digits, whole above 100: 0.0123, 1.23, 12.3, 123, 12,346.
 * @param {unknown} value
 */
export function number(value) {
  if (typeof value !== 'number' || !Number.isFinite(value)) return MISSING;
  const size = Math.abs(value);
  if (size >= 100) return formatter({ maximumFractionDigits: 0 }).format(value);
  if (size !== 0 && size < 0.001) return value.toExponential(1);
  return formatter({ maximumSignificantDigits: 3 }).format(value);
}

/**
 * @param {unknown} value
 */
export function count(value) {
  if (typeof value !== 'number' || !Number.isFinite(value)) return MISSING;
  return formatter({ maximumFractionDigits: 0 }).format(value);
}

/**
 * 1,234 · 12.3 k · 4.56 M, for places with little room.
 * @param {unknown} value
 */
export function compact(value) {
  if (typeof value !== 'number' || !Number.isFinite(value)) return MISSING;
  if (Math.abs(value) < 10_000) return number(value);
  return formatter({ notation: 'compact', maximumSignificantDigits: 3 }).format(value);
}

/**
 * A fraction as a percentage: 0.987 -> "98.7 %".
 * @param {unknown} value
 */
export function percent(value) {
  if (typeof value !== 'number' || !Number.isFinite(value)) return MISSING;
  const shown = value * 100;
  // "100 %" is a claim: 99.97 is not rounded up to it.
  const digits = shown > 99 && shown < 100 ? 2 : 1;
  const clipped = shown > 99 && shown < 100 ? Math.floor(shown * 100) / 100 : shown;
  return `${formatter({ maximumFractionDigits: digits }).format(clipped)}\u202f%`;
}

/**
 * The change from a base: "+12 %", "−3.4 %", "×4.2" from a factor of 3 up, '' when there is none to see.
 * @param {number} value
 * @param {number} base
 */
export function delta(value, base) {
  if (!Number.isFinite(value) || !Number.isFinite(base)) return '';
  if (value === base || base === 0) return '';
  const change = value / base - 1;
  if (change >= 2) return `×${formatter({ maximumSignificantDigits: 2 }).format(value / base)}`;
  const size = Math.abs(change) * 100;
  const digits = size < 10 ? 1 : 0;
  const text = formatter({ minimumFractionDigits: 0, maximumFractionDigits: digits }).format(size);
  if (text === '0') return '';
  return `${change < 0 ? '−' : '+'}${text}\u202f%`;
}

/**
 * A duration of real time.
 * @param {number} ms
 */
export function elapsed(ms) {
  if (ms < 1000) return `${Math.max(1, Math.round(ms))}\u202fms`;
  if (ms < 60_000) return `${formatter({ maximumFractionDigits: 1 }).format(ms / 1000)}\u202fs`;
  return `${Math.floor(ms / 60_000)}\u202fmin ${Math.round((ms % 60_000) / 1000)}\u202fs`;
}

/**
 * "1 request", "2 requests"
 * @param {number} howMany
 * @param {string} word
 */
export function plural(howMany, word) {
  return `${count(howMany)} ${word}${howMany === 1 ? '' : 's'}`;
}

/**
 * A finding in one or two sentences. The engine marks names with backquotes.
 * @param {{ message: string, hint: string }} finding
 */
export function inWords({ message, hint }) {
  const sentence = (/** @type {string} */ text) => (/[.!?:]$/.test(text) ? text : `${text}.`);
  const said = sentence(message.charAt(0).toUpperCase() + message.slice(1));
  return (hint ? `${said} ${sentence(hint.charAt(0).toUpperCase() + hint.slice(1))}` : said).replace(/`/g, '');
}

/**
 * A file name without what file systems refuse.
 * @param {string} text
 */
export function fileStem(text) {
  const stem = text.normalize('NFKD').replace(/[^\w.-]+/g, '-').replace(/^[-.]+|[-.]+$/g, '').slice(0, 60);
  return stem || 'experiment';
}
