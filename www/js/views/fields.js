// Form fields: a label, a control, help on demand, and errors beside the control that caused them.
// A field reads its value from the document and writes it back; it holds no value of its own.

import { h, replaceChildren, uniqueId } from '../dom.js';
import { MIXED } from '../document.js';
import { editDocument, findingsAt } from '../edit.js';
import { inWords } from '../format.js';
import { describeKey } from '../schema.js';

/** @import { Store } from '../store.js' */
/** @import { DocumentObject, State, Diagnostic } from '../types.js' */

/**
 * @typedef {{ element: HTMLElement, update: (state: State) => void }} Part
 *
 * @typedef {object} FormContext
 * @property {Store} store
 * @property {Record<string, any>} schema
 *
 * @typedef {object} FieldOptions
 * @property {string} label
 * @property {string} [unit]
 * @property {string} [help]  instead of the schema's words
 * @property {string} [helpPath]  whose words in the schema to show; absent: the first of `paths`
 * @property {(document: DocumentObject) => string[]} paths  places in the document this field answers for
 * @property {(document: DocumentObject) => any} read
 * @property {(document: DocumentObject, value: any) => DocumentObject} write
 */

/**
 * @param {FormContext} context
 * @param {FieldOptions} options
 * @param {HTMLInputElement | HTMLSelectElement} control
 * @returns {{ element: HTMLElement, showFindings: (state: State) => void, showOwn: (message: string) => void, info: ReturnType<typeof describeKey> }}
 */
function frame(context, options, control) {
  const id = uniqueId('field');
  control.id = id;
  const firstPath = options.helpPath ?? options.paths(context.store.get().document)[0] ?? '';
  const info = describeKey(context.schema, firstPath);
  const helpText = options.help ?? info.help;
  const help = h('p', { class: 'help', id: `${id}-help`, hidden: true }, helpText);
  const errors = h('div', { class: 'field-errors', id: `${id}-errors` });
  const toggle = helpText
    ? h('button', {
        type: 'button',
        class: 'help-toggle',
        'aria-expanded': 'false',
        'aria-controls': help.id,
        'aria-label': `What is “${options.label}”?`,
        on: {
          click: () => {
            help.hidden = !help.hidden;
            toggle?.setAttribute('aria-expanded', String(!help.hidden));
          },
        },
      }, '?')
    : null;
  const element = h('div', { class: 'field' },
    h('div', { class: 'field-head' }, h('label', { for: id }, options.label, options.unit ? h('span', { class: 'unit' }, ` ${options.unit}`) : null), toggle),
    control,
    errors,
    help,
  );
  /** @type {Diagnostic[]} */
  let findings = [];
  let own = '';

  function render() {
    const lines = own ? [{ severity: /** @type {const} */ ('error'), message: own, hint: '' }] : findings;
    const bad = lines.some(({ severity }) => severity === 'error');
    // A field that speaks for several entries says a thing once.
    const said = new Map(lines.map((line) => [inWords(line), line.severity]));
    replaceChildren(errors, [...said].map(([text, severity]) => h('p', { class: `finding ${severity}` }, text)));
    if (bad) control.setAttribute('aria-invalid', 'true');
    else control.removeAttribute('aria-invalid');
    if (lines.length > 0) control.setAttribute('aria-describedby', errors.id);
    else control.removeAttribute('aria-describedby');
    element.classList.toggle('invalid', bad);
  }

  return {
    element,
    info,
    showFindings({ document, diagnostics, textIsBroken }) {
      const paths = options.paths(document);
      findings = textIsBroken ? [] : [...new Set(paths.flatMap((path) => findingsAt(diagnostics, path)))];
      render();
    },
    showOwn(message) {
      own = message;
      render();
    },
  };
}

/**
 * @param {FormContext} context
 * @param {FieldOptions & { placeholder?: string, required?: boolean, step?: string, integer?: boolean }} options
 * @returns {Part}
 */
export function numberField(context, options) {
  const input = h('input', { type: 'number', step: options.step ?? (options.integer ? '1' : 'any'), inputmode: options.integer ? 'numeric' : 'decimal', autocomplete: 'off' });
  const { element, showFindings, showOwn, info } = frame(context, options, input);
  // The range is the schema's; leaving it is allowed while typing, and answered in words by the check of the document.
  if (info.minimum !== null && info.minimum >= 0) input.min = '0';
  input.addEventListener('input', () => {
    if (input.validity.badInput) return showOwn('This is not a number.');
    if (input.value === '' && options.required) return showOwn('A number is needed here.');
    showOwn('');
    const value = input.value === '' ? undefined : Number(input.value);
    editDocument(context.store, (document) => options.write(document, value));
  });
  return {
    element,
    update(state) {
      const value = options.read(state.document);
      const shown = value === undefined || value === null || value === MIXED ? '' : String(value);
      input.placeholder = value === MIXED ? 'differs by entry' : options.placeholder ?? '';
      // What is being typed ("1.", "") stays as it is as long as it means the same.
      if (document.activeElement !== input || (input.value !== '' && Number(input.value) !== Number(shown))) {
        if (input.value !== shown) input.value = shown;
        if (document.activeElement !== input) showOwn('');
      }
      showFindings(state);
    },
  };
}

/**
 * @param {FormContext} context
 * @param {FieldOptions} options
 * @returns {Part}
 */
export function textField(context, options) {
  const input = h('input', { type: 'text', autocomplete: 'off', spellcheck: 'false' });
  const { element, showFindings } = frame(context, options, input);
  input.addEventListener('input', () => editDocument(context.store, (document) => options.write(document, input.value)));
  return {
    element,
    update(state) {
      const value = String(options.read(state.document) ?? '');
      if (input.value !== value) input.value = value;
      showFindings(state);
    },
  };
}

/**
 * @typedef {{ value: string, label: string, disabled?: boolean }} Choice
 *
 * @param {FormContext} context
 * @param {FieldOptions & { choices: (document: DocumentObject) => Choice[] }} options  values are strings; `read` may return MIXED or an unlisted value
 * @returns {Part}
 */
export function selectField(context, options) {
  const select = h('select', {});
  const { element, showFindings } = frame(context, options, select);
  let rendered = '';
  select.addEventListener('change', () => editDocument(context.store, (document) => options.write(document, select.value)));
  return {
    element,
    update(state) {
      const value = options.read(state.document);
      const choices = [...options.choices(state.document)];
      const current = value === MIXED ? '\u0000mixed' : String(value ?? '');
      if (value === MIXED) choices.unshift({ value: current, label: 'differs by entry', disabled: true });
      else if (!choices.some((choice) => choice.value === current)) choices.unshift({ value: current, label: current || 'not set' });
      const key = JSON.stringify(choices);
      if (key !== rendered) {
        rendered = key;
        replaceChildren(select, choices.map((choice) => h('option', { value: choice.value, disabled: choice.disabled }, choice.label)));
      }
      select.value = current;
      showFindings(state);
    },
  };
}

/**
 * On, off, or left to the stack.
 * @param {FormContext} context
 * @param {FieldOptions} options
 * @returns {Part}
 */
export function switchField(context, options) {
  return selectField(context, {
    ...options,
    choices: () => [{ value: '', label: 'default' }, { value: 'true', label: 'on' }, { value: 'false', label: 'off' }],
    write: (document, value) => options.write(document, value === '' ? undefined : value === 'true'),
  });
}

/**
 * @param {string} title
 * @param {Part[]} parts
 * @param {{ className?: string }} [options]
 * @returns {Part}
 */
export function group(title, parts, { className = '' } = {}) {
  return {
    element: h('fieldset', { class: `group ${className}` }, h('legend', {}, title), parts.map((part) => part.element)),
    update: (state) => parts.forEach((part) => part.update(state)),
  };
}

/**
 * Shows a part only while `when` holds.
 * @param {Part} part
 * @param {(document: DocumentObject) => boolean} when
 * @returns {Part}
 */
export function onlyWhen(part, when) {
  return {
    element: part.element,
    update(state) {
      const shown = when(state.document);
      part.element.hidden = !shown;
      if (shown) part.update(state);
    },
  };
}
