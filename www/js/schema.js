// What the document's schema says about a key: the help text a field shows and the range it allows.

import { isObject, parsePath } from './document.js';

/** @typedef {{ help: string, minimum: number | null, maximum: number | null }} KeyInfo */

/**
 * @param {Record<string, any>} schema  JSON Schema of the whole document
 * @param {string} path  such as 'workload.client_profiles[0].weight'
 * @returns {KeyInfo}
 */
export function describeKey(schema, path) {
  /** @type {Record<string, any>} */
  let node = schema;
  let help = '';
  for (const key of parsePath(path)) {
    const here = resolve(schema, node);
    const next = typeof key === 'number' ? here.items : here.properties?.[key];
    if (!isObject(next)) return { help: '', minimum: null, maximum: null };
    // The words beside the key say what it is for here; those of the type behind it only what it is.
    help = typeof next.description === 'string' ? next.description : String(resolve(schema, next).description ?? '');
    node = next;
  }
  const target = resolve(schema, node);
  return { help: plain(help), minimum: numberOf(target.minimum), maximum: numberOf(target.maximum) };
}

/**
 * The words a key can take, with what each means where the schema says it.
 * @param {Record<string, any>} schema
 * @param {string} path
 * @returns {{ value: string, help: string }[]}
 */
export function choicesAt(schema, path) {
  /** @type {Record<string, any>} */
  let node = schema;
  for (const key of parsePath(path)) {
    const here = resolve(schema, node);
    const next = typeof key === 'number' ? here.items : here.properties?.[key];
    if (!isObject(next)) return [];
    node = next;
  }
  const { oneOf = [], enum: words = [] } = resolve(schema, node);
  return [
    .../** @type {any[]} */ (words).map((value) => ({ value: String(value), help: '' })),
    .../** @type {any[]} */ (oneOf).flatMap((choice) => (choice.enum ?? [choice.const]).map((/** @type {unknown} */ value) => ({ value: String(value), help: plain(String(choice.description ?? '')) }))),
  ];
}

/**
 * Follows `$ref` and takes the one alternative that is not null.
 * @param {Record<string, any>} schema
 * @param {Record<string, any>} node
 * @returns {Record<string, any>}
 */
function resolve(schema, node) {
  let here = node;
  for (let depth = 0; depth < 8; depth += 1) {
    const choices = here.anyOf ?? here.oneOf;
    const only = Array.isArray(choices) ? choices.filter((choice) => choice?.type !== 'null') : [];
    if (typeof here.$ref === 'string') {
      const name = here.$ref.split('/').at(-1) ?? '';
      here = schema.$defs?.[name] ?? schema.definitions?.[name] ?? {};
    } else if (only.length === 1) {
      here = only[0];
    } else {
      return here;
    }
  }
  return here;
}

/**
 * Doc comments are Markdown; a help text is read as it is.
 * @param {string} text
 */
function plain(text) {
  return text.replace(/`([^`]*)`/g, '$1').replace(/\*\*([^*]*)\*\*/g, '$1').replace(/\s*\n\s*/g, ' ').trim();
}

/** @param {unknown} value */
function numberOf(value) {
  return typeof value === 'number' ? value : null;
}
