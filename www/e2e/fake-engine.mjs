// An engine for unit tests: the same interface as the wasm module, no simulation behind it.
// A document's `fake` key scripts it: { steps, failAt, crashAt }.

/** Runs of a document take this many calls of `advance`. */
const STEPS = 3;

export class Simulation {
  static living = 0;

  constructor(document, runIndex, files) {
    const entry = document.frameworks_to_test[runIndex];
    if (!entry) throw { message: 'no such run', diagnostics: [{ severity: 'error', path: 'frameworks_to_test', line: null, column: null, message: 'no such run', hint: '' }] };
    this.name = entry.name;
    this.script = document.fake ?? {};
    this.files = files;
    this.step = 0;
    Simulation.living += 1;
  }

  advance() {
    this.step += 1;
    if (this.script.crashAt === this.step) throw new WebAssembly.RuntimeError('unreachable');
    const steps = this.script.steps ?? STEPS;
    return { done: this.step >= steps, fraction: Math.min(1, this.step / steps), simulatedS: this.step, requestsEnded: this.step };
  }

  keepSteps(fromS, toS) {
    this.window = [fromS, toS];
  }

  warnings() {
    return [];
  }

  finish() {
    Simulation.living -= 1;
    return finished(this.name, this.files, this.window);
  }

  free() {
    Simulation.living -= 1;
  }
}

/** A moment after the tenth second is beyond the end. */
export class Inspection {
  static living = 0;

  constructor(document, runIndex, files, atS) {
    this.name = document.frameworks_to_test[runIndex].name;
    this.atS = atS;
    this.steps = document.fake?.steps ?? STEPS;
    Inspection.living += 1;
  }

  advance() {
    this.steps -= 1;
    return this.steps <= 0;
  }

  moment() {
    if (this.atS > 10) throw { message: 'the simulation ends at 10 s', diagnostics: [] };
    return { run: this.name, at_s: this.atS, replicas: [], rule: 'round_robin', routing: [], fleet_events: [], retries: [] };
  }

  free() {
    Inspection.living -= 1;
  }
}

function finished(name, files, window) {
  return {
    name, hash: '00000000000000ff', endS: 10, binS: 1, kvBlocksTotal: 100, requestCount: 4,
    summary: () => ({ requests: { total: 4 }, files: [...files.keys()] }),
    column: () => new Float64Array([1, 2, 3, 4]),
    sortedColumn: () => new Float64Array([1, 2, 3, 4]),
    series: () => new Float64Array(10),
    replicaCount: 1,
    encodes: () => new Float64Array(),
    status: () => new Uint8Array([1, 1, 1, 1]),
    requestsCsv: () => 'request_id\n0\n',
    perfetto: () => JSON.stringify({ traceEvents: [], window }),
    free() {},
  };
}

export const version = () => '9.9.9';

export function checkDocument(document) {
  if (document.bad) return { diagnostics: [{ severity: 'error', path: 'bad', line: null, column: null, message: 'bad', hint: '' }], runs: [], estimatedWork: 0 };
  return { diagnostics: [], runs: document.frameworks_to_test.map(({ name }) => ({ name })), estimatedWork: document.fake?.work ?? 10 };
}
