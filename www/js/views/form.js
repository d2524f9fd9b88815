// The experiment as a form: the knobs that matter. What the form does not know stays in the document, untouched.

import { h, replaceChildren } from '../dom.js';
import {
  DISTRIBUTIONS, MAX_ENTRIES, addEntry, changeDistribution, distributionType, duplicateEntry, entriesOf, getAt, isObject,
  nearestNode, nodeCounts, parseNode, readTraffic, removeEntry, setAt, setSharedOption, sharedOption, tidy, tracePath, withNamedWorkload, workloadRate, writeTraffic,
} from '../document.js';
import { editDocument } from '../edit.js';
import { compact, count, inWords } from '../format.js';
import { choicesAt } from '../schema.js';
import { group, numberField, onlyWhen, selectField, switchField, textField } from './fields.js';
import { swatch } from './swatch.js';

/** @import { Catalog, DocumentObject } from '../types.js' */
/** @import { FormContext, Part } from './fields.js' */

const PROFILE = 'workload.client_profiles[0]';

/**
 * @param {FormContext & { catalog: Catalog, chooseFile: () => void }} context
 * @returns {Part}
 */
export function createForm(context) {
  const parts = [hardware(context), traffic(context), lengths(context), slo(context), entries(context), length(context)];
  return {
    element: h('form', { class: 'form', novalidate: true, on: { submit: (/** @type {Event} */ event) => event.preventDefault() } }, parts.map((part) => part.element)),
    update: (state) => parts.forEach((part) => part.update(state)),
  };
}

/**
 * @param {FormContext & { catalog: Catalog }} context
 * @returns {Part}
 */
function hardware(context) {
  const { models, devices, nodes } = context.catalog;
  const NODE = 'hardware_profile.node';
  /** @param {DocumentObject} document */
  const node = (document) => parseNode(String(getAt(document, NODE) ?? ''));
  /** @param {DocumentObject} document */
  const hasNode = (document) => typeof getAt(document, NODE) === 'string';
  /** @param {string} key */
  const everyEntry = (key) => (/** @type {DocumentObject} */ document) => entriesOf(document).map((_, i) => `frameworks_to_test[${i}].config.${key}`);

  const model = selectField(context, {
    label: 'Model',
    paths: everyEntry('model_profile_id'),
    read: (document) => (entriesOf(document).some((entry) => isObject(entry.config?.model)) ? 'given in the text' : sharedOption(document, 'model_profile_id')),
    write: (document, value) => setSharedOption(setSharedOption(document, 'model', undefined), 'model_profile_id', value),
    choices: () => models.map(({ name, parameters }) => ({ value: name, label: `${name} · ${compact(parameters)}` })),
  });
  const gpu = selectField(context, {
    label: 'GPU',
    paths: () => ['hardware_profile'],
    helpPath: NODE,
    read: (document) => node(document).gpu,
    write: (document, value) => setAt(document, NODE, nearestNode(nodes, value, node(document).count)),
    choices: () => devices.filter(({ name }) => nodeCounts(nodes, name).length > 0).map((device) => ({ value: device.name, label: `${device.name} · ${count(device.memoryGb)} GB${device.calibrated ? '' : ' · uncalibrated'}` })),
  });
  const gpus = selectField(context, {
    label: 'GPUs',
    paths: () => [],
    help: 'GPUs of one machine, joined by its fast links.',
    read: (document) => String(node(document).count),
    write: (document, value) => setAt(document, NODE, nearestNode(nodes, node(document).gpu, Number(value))),
    choices: (document) => nodeCounts(nodes, node(document).gpu).map((n) => ({ value: String(n), label: String(n) })),
  });
  const parallel = numberField(context, {
    label: 'TP size',
    integer: true,
    placeholder: '1',
    paths: everyEntry('tensor_parallel_size'),
    read: (document) => sharedOption(document, 'tensor_parallel_size'),
    write: (document, value) => setSharedOption(document, 'tensor_parallel_size', value),
  });
  const listed = onlyWhen(note('The hardware is listed device by device. Edit it as text, or choose a catalog node:', {
    label: 'Use one H100', run: () => editDocument(context.store, (document) => ({ ...document, hardware_profile: { node: nearestNode(nodes, 'H100-SXM', 1) } })),
  }), (document) => !hasNode(document));
  return group('Model and hardware', [model, listed, row([onlyWhen(gpu, hasNode), onlyWhen(gpus, hasNode), parallel], 'node')]);
}

/**
 * @param {FormContext & { catalog: Catalog, chooseFile: () => void }} context
 * @returns {Part}
 */
function traffic(context) {
  const ARRIVALS = `${PROFILE}.inter_arrival_time_dist_config`;
  /** @param {DocumentObject} document */
  const kindOf = (document) => readTraffic(document).kind;
  const { workloads } = context.catalog;
  /** @param {DocumentObject} document */
  const nameOf = (document) => String(getAt(document, 'workload.preset') ?? '');
  /** @param {DocumentObject} document */
  const ownRate = (document) => workloadRate(workloads.find(({ name }) => name === nameOf(document))?.workload ?? {});
  /** @param {...string} kinds */
  const isKind = (...kinds) => (/** @type {DocumentObject} */ document) => kinds.includes(kindOf(document));

  const kind = selectField(context, {
    label: 'Traffic',
    paths: () => [],
    help: 'Named workloads follow the lengths and arrivals of recorded traffic. Poisson: independent users at a mean rate. Steady: evenly spaced. Bursty: clumps and lulls. Closed loop: a fixed number of clients, each waiting for its reply. Trace: a recorded file, replayed.',
    read: (document) => (kindOf(document) === 'named' ? `named:${nameOf(document)}` : kindOf(document)),
    write(document, value) {
      if (value.startsWith('named:')) return withNamedWorkload(document, value.slice('named:'.length));
      if (value !== 'trace') return writeTraffic(document, { kind: value });
      context.chooseFile();
      return document;
    },
    choices: (document) => [
      ...workloads.map(({ name, title }) => ({ value: `named:${name}`, label: title })),
      { value: 'poisson', label: 'Poisson arrivals' },
      { value: 'steady', label: 'Steady arrivals' },
      { value: 'bursty', label: 'Bursty arrivals' },
      { value: 'closed', label: 'Closed loop' },
      { value: 'trace', label: tracePath(document) ? 'Recorded trace' : 'Recorded trace…' },
      ...(kindOf(document) === 'other' ? [{ value: 'other', label: 'As in the text' }] : []),
    ],
  });
  const rate = numberField(context, {
    label: 'Rate', unit: 'requests/s', required: true,
    help: 'Requests that arrive in a second, on average.',
    paths: () => [ARRIVALS],
    read: (document) => readTraffic(document).ratePerS,
    write: (document, value) => (value > 0 ? writeTraffic(document, { ratePerS: value }) : document),
  });
  const namedRate = numberField(context, {
    label: 'Rate', unit: 'requests/s', required: true,
    help: 'Requests that arrive in a second, on average. The workload’s own rate is scaled to it.',
    paths: () => ['workload.rate_scale'],
    read: (document) => tidy((ownRate(document) ?? NaN) * (getAt(document, 'workload.rate_scale') ?? 1), 4),
    write: (document, value) => (value > 0 ? setAt(document, 'workload.rate_scale', tidy(value / (ownRate(document) ?? NaN), 6)) : document),
  });
  const cv = numberField(context, {
    label: 'Burstiness', unit: 'CV of gaps', required: true,
    help: 'Deviation of the gaps between requests over their mean. 1 is Poisson; above 1 requests come in clumps.',
    paths: () => [],
    read: (document) => readTraffic(document).cv,
    write: (document, value) => (value > 0 ? writeTraffic(document, { cv: value }) : document),
  });
  const concurrency = numberField(context, {
    label: 'Clients', integer: true, required: true,
    paths: () => ['workload.concurrency'],
    read: (document) => getAt(document, 'workload.concurrency'),
    write: (document, value) => setAt(document, 'workload.concurrency', value),
  });
  const scale = numberField(context, {
    label: 'Speed', unit: '×', placeholder: '1',
    paths: () => ['workload.rate_scale'],
    read: (document) => getAt(document, 'workload.rate_scale'),
    write: (document, value) => setAt(document, 'workload.rate_scale', value),
  });
  const requests = numberField(context, {
    label: 'Requests', integer: true, placeholder: 'no limit',
    paths: () => ['workload.total_requests_to_generate', 'workload.total_duration'],
    read: (document) => getAt(document, 'workload.total_requests_to_generate'),
    write: (document, value) => setAt(document, 'workload.total_requests_to_generate', value),
  });
  const traceRequests = numberField(context, {
    label: 'Requests', integer: true, placeholder: 'all',
    paths: () => ['workload.trace.max_requests'],
    read: (document) => getAt(document, 'workload.trace.max_requests'),
    write: (document, value) => setAt(document, 'workload.trace.max_requests', value),
  });
  const trace = traceFile(context);
  const why = h('p', { class: 'note' });
  /** @type {Part} */
  const other = {
    element: why,
    update: ({ document }) => {
      why.textContent = `${readTraffic(document).why} Edit the workload as text, or choose another kind of traffic to replace it.`;
    },
  };
  const about = h('p', {});
  const sources = h('p', {});
  /** @type {Part} */
  const named = {
    element: h('div', { class: 'note' }, about, h('details', {}, h('summary', {}, 'Where it comes from'), sources)),
    update: ({ document }) => {
      const text = workloads.find(({ name }) => name === nameOf(document))?.about ?? '';
      const end = text.search(/\. [A-Z]/) + 1 || text.length;
      about.textContent = text.slice(0, end);
      sources.textContent = text.slice(end);
    },
  };
  return group('Traffic', [
    kind,
    onlyWhen(named, isKind('named')),
    onlyWhen(other, isKind('other')),
    onlyWhen(trace, isKind('trace')),
    row([
      onlyWhen(rate, isKind('poisson', 'steady', 'bursty')),
      onlyWhen(cv, isKind('bursty')),
      onlyWhen(concurrency, isKind('closed')),
      onlyWhen(namedRate, (document) => kindOf(document) === 'named' && ownRate(document) !== null),
      onlyWhen(scale, (document) => ['trace', 'other'].includes(kindOf(document)) || (kindOf(document) === 'named' ? ownRate(document) === null : getAt(document, 'workload.rate_scale') !== undefined)),
      onlyWhen(requests, (document) => kindOf(document) !== 'trace'),
      onlyWhen(traceRequests, isKind('trace')),
    ]),
  ]);
}

/**
 * @param {FormContext & { chooseFile: () => void }} context
 * @returns {Part}
 */
function traceFile(context) {
  const name = h('span', { class: 'file-name' });
  const state = h('span', { class: 'muted' });
  const errors = h('div', { class: 'field-errors' });
  return {
    element: h('div', { class: 'trace-file' }, h('p', {}, name, ' ', state), h('button', { type: 'button', class: 'quiet', on: { click: () => context.chooseFile() } }, 'Choose a file…'), errors),
    update({ document, files, diagnostics }) {
      const path = tracePath(document);
      const bytes = files.get(path);
      name.textContent = path;
      state.textContent = bytes ? `${compact(bytes.length / 1024)} KB` : 'is not on this page';
      const findings = diagnostics.filter((finding) => finding.path === 'workload.trace' || finding.path === 'workload.trace.path' || finding.path === 'workload.trace.format');
      replaceChildren(errors, findings.map((finding) => h('p', { class: `finding ${finding.severity}` }, inWords(finding))));
    },
  };
}

/**
 * @param {FormContext} context
 * @returns {Part}
 */
function lengths(context) {
  const part = group('Lengths', [
    distribution(context, 'Prompt', `${PROFILE}.prompt_tokens_dist_config`),
    distribution(context, 'Output', `${PROFILE}.max_output_tokens_dist_config`),
  ]);
  return onlyWhen(part, (document) => {
    const profiles = getAt(document, 'workload.client_profiles');
    return Array.isArray(profiles) && profiles.length === 1 && getAt(document, 'workload.trace') === undefined;
  });
}

/**
 * @param {FormContext} context
 * @param {string} label
 * @param {string} path
 * @returns {Part}
 */
function distribution(context, label, path) {
  const type = selectField(context, {
    label, unit: 'tokens',
    paths: () => [],
    helpPath: path,
    read: (document) => distributionType(getAt(document, path)),
    write: (document, value) => setAt(document, path, changeDistribution(getAt(document, path), value)),
    choices: () => Object.keys(DISTRIBUTIONS).map((value) => ({ value, label: TYPE_LABELS[value] ?? value })),
  });
  const holder = h('div', { class: 'row' });
  /** @type {Part[]} */
  let parameters = [];
  let shownType = '';
  return {
    element: h('div', { class: 'row distribution' }, type.element, holder),
    update(state) {
      const current = distributionType(getAt(state.document, path));
      if (current !== shownType) {
        shownType = current;
        parameters = (DISTRIBUTIONS[current] ?? []).map(({ key, label: name }, index) =>
          numberField(context, {
            label: name, required: true,
            paths: () => (index === 0 ? [path] : []),
            helpPath: `${path}.${key}`,
            read: (document) => getAt(document, `${path}.${key}`),
            write: (document, value) => setAt(document, `${path}.${key}`, value),
          }));
        replaceChildren(holder, parameters.map((part) => part.element));
      }
      type.update(state);
      parameters.forEach((part) => part.update(state));
    },
  };
}

/** @type {Record<string, string>} */
const TYPE_LABELS = { Constant: 'Constant', Uniform: 'Uniform', Normal: 'Normal', LogNormal: 'Log-normal', Exponential: 'Exponential' };

/**
 * @param {FormContext} context
 * @returns {Part}
 */
function slo(context) {
  const fields = [['ttft_ms', 'TTFT'], ['tpot_ms', 'TPOT'], ['e2e_ms', 'E2E']].map(([key, label]) => {
    const path = `metrics_config.slo.${key}`;
    return numberField(context, {
      label: String(label), unit: 'ms', placeholder: 'none',
      paths: () => [path],
      read: (document) => getAt(document, path),
      write: (document, value) => setAt(document, path, value),
    });
  });
  return group('Targets for goodput', [row(fields)]);
}

/**
 * @param {FormContext} context
 * @returns {Part}
 */
function length(context) {
  const seed = numberField(context, {
    label: 'Seed', integer: true, placeholder: '0',
    paths: () => ['simulation.random_seed'],
    read: (document) => getAt(document, 'simulation.random_seed'),
    write: (document, value) => setAt(document, 'simulation.random_seed', value),
  });
  const end = numberField(context, {
    label: 'End', unit: 's', placeholder: 'all served',
    paths: () => ['simulation.max_simulation_time'],
    read: (document) => getAt(document, 'simulation.max_simulation_time'),
    write: (document, value) => setAt(document, 'simulation.max_simulation_time', value),
  });
  const warmUp = numberField(context, {
    label: 'Warm-up', unit: 's', placeholder: '0',
    paths: () => ['metrics_config.warm_up_duration_s'],
    read: (document) => getAt(document, 'metrics_config.warm_up_duration_s'),
    write: (document, value) => setAt(document, 'metrics_config.warm_up_duration_s', value),
  });
  return group('Simulation', [row([seed, end, warmUp])]);
}

// ---- entries -----------------------------------------------------------------------------------------------

/**
 * @param {FormContext & { catalog: Catalog }} context
 * @returns {Part}
 */
function entries(context) {
  const list = h('div', { class: 'entries' });
  const add = h('button', { type: 'button', class: 'quiet add-entry', on: { click: addOne } }, '+ Add an entry');
  /** @type {Part[]} */
  let cards = [];

  function addOne() {
    const framework = context.catalog.frameworks.find(({ available }) => available) ?? { kind: 'VLLM', label: 'vLLM' };
    editDocument(context.store, (document) => addEntry(document, framework));
    focusEntry(cards.length - 1);
  }

  /** @param {number} index */
  function focusEntry(index) {
    const input = cards[Math.max(0, Math.min(index, cards.length - 1))]?.element.querySelector('input');
    if (input instanceof HTMLInputElement) input.focus();
  }

  /** @type {Part} */
  const part = {
    element: h('div', {}, list, add),
    update(state) {
      const total = entriesOf(state.document).length;
      if (total !== cards.length) {
        while (cards.length > total) cards.pop()?.element.remove();
        while (cards.length < total) {
          const card = entryCard(context, cards.length, focusEntry);
          cards.push(card);
          list.append(card.element);
        }
      }
      cards.forEach((card) => card.update(state));
      add.disabled = total >= MAX_ENTRIES;
      add.textContent = total >= MAX_ENTRIES ? `${MAX_ENTRIES} entries are the most` : '+ Add an entry';
    },
  };
  return group('Entries to compare', [part]);
}

/**
 * @param {FormContext & { catalog: Catalog }} context
 * @param {number} index
 * @param {(index: number) => void} focusEntry
 * @returns {Part}
 */
function entryCard(context, index, focusEntry) {
  const at = `frameworks_to_test[${index}]`;
  /** @param {string} key */
  const option = (key) => ({
    paths: () => [`${at}.config.${key}`],
    read: (/** @type {DocumentObject} */ document) => getAt(document, `${at}.config.${key}`),
    write: (/** @type {DocumentObject} */ document, /** @type {unknown} */ value) => setAt(document, `${at}.config.${key}`, value),
  });
  const name = textField(context, {
    label: 'Name',
    paths: () => [`${at}.name`],
    read: (document) => getAt(document, `${at}.name`),
    write: (document, value) => setAt(document, `${at}.name`, value),
  });
  const kind = selectField(context, {
    label: 'Framework',
    paths: () => [`${at}.type`],
    read: (document) => getAt(document, `${at}.type`),
    write: (document, value) => setAt(document, `${at}.type`, value),
    choices: () => context.catalog.frameworks.map((framework) => ({ value: framework.kind, label: framework.available ? framework.label : `${framework.label} (not yet)`, disabled: !framework.available })),
  });
  const options = [
    switchField(context, { label: 'Chunked prefill', ...option('enable_chunked_prefill') }),
    numberField(context, { label: 'Batched tokens', integer: true, placeholder: 'default', ...option('max_num_batched_tokens') }),
    numberField(context, { label: 'Sequences', integer: true, placeholder: 'default', ...option('max_num_seqs') }),
    switchField(context, { label: 'Prefix caching', ...option('enable_prefix_caching') }),
    switchField(context, { label: 'Async scheduling', ...option('async_scheduling') }),
    numberField(context, { label: 'GPU memory share', placeholder: 'default', step: '0.01', ...option('gpu_memory_utilization') }),
    numberField(context, { label: 'Tensor parallel', integer: true, placeholder: '1', ...option('tensor_parallel_size') }),
  ];
  const own = (/** @type {string} */ key) => ({
    paths: () => [`${at}.${key}`],
    read: (/** @type {DocumentObject} */ document) => getAt(document, `${at}.${key}`),
    write: (/** @type {DocumentObject} */ document, /** @type {unknown} */ value) => setAt(document, `${at}.${key}`, value === '' ? undefined : value),
  });
  /** The schema's words for a key, and what is taken when none is said. @param {string} key @param {string} absent */
  const words = (key, absent) => () => [{ value: '', label: absent }, ...choicesAt(context.schema, `${at}.${key}`).map(({ value }) => ({ value, label: value.replaceAll('_', ' ') }))];
  const isDynamo = (/** @type {DocumentObject} */ document) => getAt(document, `${at}.type`) === 'DYNAMO';
  const POOLS = `${at}.config.disaggregation`;
  const inPools = (/** @type {DocumentObject} */ document) => isObject(getAt(document, POOLS));
  const fleet = [
    onlyWhen(numberField(context, { label: 'Replicas', integer: true, placeholder: '1', ...own('replicas') }), (document) => !inPools(document)),
    onlyWhen(selectField(context, { label: 'Router', ...own('router.policy'), choices: words('router.policy', 'default') }), (document) => !isDynamo(document) && !inPools(document) && (getAt(document, `${at}.replicas`) ?? 1) > 1),
    onlyWhen(selectField(context, { label: 'Router', ...own('config.dynamo.router_mode'), choices: words('config.dynamo.router_mode', 'default') }), isDynamo),
    selectField(context, {
      label: 'Pools', paths: () => [POOLS],
      read: (document) => (inPools(document) ? 'two' : 'one'),
      write: (document, value) => setAt(document, POOLS, value === 'two' ? { prefill: { replicas: 1 }, decode: { replicas: 1 } } : undefined),
      choices: () => [{ value: 'one', label: 'prefill and decode together' }, { value: 'two', label: 'prefill and decode apart' }],
    }),
    ...['prefill', 'decode'].map((pool) => onlyWhen(numberField(context, { label: `${pool === 'prefill' ? 'Prefill' : 'Decode'} replicas`, integer: true, placeholder: '1', ...own(`config.disaggregation.${pool}.replicas`) }), inPools)),
  ];
  const summary = h('span', { class: 'entry-name' });
  const changed = h('span', { class: 'muted entry-changes' });
  const mark = h('span', { class: 'entry-mark' });
  const problem = h('span', { class: 'entry-problem', hidden: true }, 'has an error');
  const details = h('details', { class: 'entry' },
    h('summary', {}, mark, summary, problem, changed),
    h('div', { class: 'row' }, name.element, kind.element),
    h('div', { class: 'row three' }, options.map((part) => part.element)),
    h('div', { class: 'row three' }, fleet.map((part) => part.element)),
  );
  const duplicate = h('button', { type: 'button', class: 'quiet small', on: { click: () => { editDocument(context.store, (document) => duplicateEntry(document, index)); focusEntry(index + 1); } } }, 'Duplicate');
  const remove = h('button', { type: 'button', class: 'quiet small', on: { click: () => { editDocument(context.store, (document) => removeEntry(document, index)); focusEntry(index); } } }, 'Remove');
  details.append(h('div', { class: 'entry-actions' }, duplicate, remove));
  const parts = [name, kind, ...options, ...fleet];
  return {
    element: details,
    update(state) {
      const entry = entriesOf(state.document)[index] ?? {};
      const total = entriesOf(state.document).length;
      summary.textContent = String(entry.name ?? '');
      changed.textContent = changesOf(entry);
      // Entries that get no requests have no column in the results, so they take no colour.
      replaceChildren(mark, swatch(entriesOf(state.document).slice(0, index).filter((other) => other.is_target_for_workload !== false).length));
      duplicate.disabled = total >= MAX_ENTRIES;
      duplicate.setAttribute('aria-label', `Duplicate ${entry.name}`);
      remove.disabled = total <= 1;
      remove.setAttribute('aria-label', `Remove ${entry.name}`);
      const bad = !state.textIsBroken && state.diagnostics.some(({ severity, path }) => severity === 'error' && (path === at || path.startsWith(`${at}.`)));
      problem.hidden = !bad;
      if (bad) details.open = true;
      parts.forEach((part) => part.update(state));
    },
  };
}

/** @type {Record<string, string>} */
const SHORT = { enable_chunked_prefill: 'chunked prefill', enable_prefix_caching: 'prefix caching', async_scheduling: 'async', max_num_batched_tokens: 'batched tokens', max_num_seqs: 'sequences', gpu_memory_utilization: 'memory', tensor_parallel_size: 'TP' };

/**
 * What an entry sets away from its stack's defaults, in a line.
 * @param {DocumentObject} entry
 */
function changesOf(entry) {
  const config = isObject(entry.config) ? entry.config : {};
  return Object.entries(config).filter(([key]) => key in SHORT).map(([key, value]) => (typeof value === 'boolean' ? `${SHORT[key]} ${value ? 'on' : 'off'}` : `${SHORT[key]} ${value}`)).join(' · ');
}

// ---- small parts -------------------------------------------------------------------------------------------

/**
 * @param {Part[]} parts
 * @param {string} [kind]
 * @returns {Part}
 */
function row(parts, kind = '') {
  return { element: h('div', { class: `row ${kind}` }, parts.map((part) => part.element)), update: (state) => parts.forEach((part) => part.update(state)) };
}

/**
 * @param {string} text
 * @param {{ label: string, run: () => void }} action
 * @returns {Part}
 */
function note(text, action) {
  return { element: h('p', { class: 'note' }, text, ' ', h('button', { type: 'button', class: 'quiet small', on: { click: action.run } }, action.label)), update: () => {} };
}
