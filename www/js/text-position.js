// Where a path of the document stands in its JSON text: for findings that know their path but not their line.

import { parsePath } from './document.js';

/**
 * Line (from 1) of the value at `path`, or of its nearest parent that is there.
 * @param {string} text  valid JSON
 * @param {string} path
 * @returns {number}
 */
export function lineOf(text, path) {
  const wanted = parsePath(path);
  let at = 0;
  let best = 0;

  const skipSpace = () => {
    while (at < text.length && /\s/.test(text.charAt(at))) at += 1;
  };
  const readString = () => {
    const start = at;
    at += 1;
    while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
    at += 1;
    return text.slice(start, at);
  };

  /**
   * Steps over the value at `at`. `depth` is how many keys of the wanted path lead here, or -1 when others do.
   * @param {number} depth
   * @returns {boolean} whether the search is over
   */
  const visit = (depth) => {
    skipSpace();
    if (depth >= 0) best = at;
    if (depth === wanted.length) return true;
    const open = text[at];
    if (open === '"') {
      readString();
    } else if (open === '{' || open === '[') {
      const close = open === '{' ? '}' : ']';
      at += 1;
      skipSpace();
      for (let index = 0; at < text.length && text[at] !== close; index += 1) {
        /** @type {string | number} */
        let key = index;
        const start = at;
        if (open === '{') {
          key = JSON.parse(readString());
          skipSpace();
          at += 1; // ':'
        }
        const inside = depth >= 0 && wanted[depth] === key;
        if (visit(inside ? depth + 1 : -1)) {
          if (depth + 1 === wanted.length) best = start;
          return true;
        }
        if (inside) return true;
        skipSpace();
        if (text[at] === ',') at += 1;
        skipSpace();
      }
      at += 1;
    } else {
      while (at < text.length && !/[,\]}\s]/.test(text.charAt(at))) at += 1;
    }
    return false;
  };

  try {
    visit(0);
  } catch {
    return 1; // not JSON: the reader's own findings carry their lines
  }
  return text.slice(0, best).split('\n').length;
}
