// The worker's side of the protocol, without the worker: it runs in Node for its tests.
// A simulation advances in slices; between two slices messages are let in, so that a cancel is heard within one slice.

import { isToWorker, unknownMessage } from './protocol.js';

/** @import { CalibrationClass, Diagnostic, InspectionClass, SimulationClass, SimulationHandle, FinishedHandle, RunResult, Files, LatencyName, SeriesName } from './types.js' */
/** @import { FromWorker, RunMessage } from './protocol.js' */

/**
 * @typedef {{ Simulation: SimulationClass, Inspection: InspectionClass, Calibration: CalibrationClass, version: () => string }} WorkerEngine
 *
 * @typedef {object} Host
 * @property {(module: WebAssembly.Module) => Promise<WorkerEngine>} load
 * @property {(message: FromWorker, transfer: Transferable[]) => void} post
 * @property {() => number} now  ms
 * @property {() => Promise<void>} pause  lets waiting messages in
 */

/** A slice is short enough to hear a cancel in time and long enough that pausing costs nothing. */
const SLICE_MS = 25;
const PROGRESS_MS = 100;
/** Of the fleet's load over time. */
const FLEET_BINS = 120;
const FIRST_BUDGET = 20_000;
const MIN_BUDGET = 100;
const MAX_BUDGET = 50_000_000;

/** @type {LatencyName[]} */
const LATENCIES = ['ttftMs', 'tpotMs', 'e2eMs', 'queueMs'];
/** @type {SeriesName[]} */
const SERIES = ['outputTokensPerS', 'requestsPerS', 'running', 'waiting', 'kvOccupancy', 'powerW', 'tierHost', 'tierDisk', 'tierRemote'];

/** @param {Host} host */
export function createWorkerServer(host) {
  /** @type {Promise<WorkerEngine> | null} */
  let engine = null;
  /** @type {Files} */
  const files = new Map();
  /** @type {number | null} */
  let runningJob = null;
  /** @type {Set<number>} */
  const cancelled = new Set();

  /** @param {unknown} message */
  async function handle(message) {
    if (!isToWorker(message)) {
      host.post({ type: 'crashed', job: null, message: 'the worker got a message it does not know' }, []);
      return;
    }
    switch (message.type) {
      case 'init':
        engine = host.load(message.module);
        try {
          host.post({ type: 'ready', version: (await engine).version() }, []);
        } catch (error) {
          host.post({ type: 'crashed', job: null, message: `the engine did not start: ${describe(error)}` }, []);
        }
        return;
      case 'file':
        files.set(message.name, message.bytes);
        return;
      case 'cancel':
        cancelled.add(message.job);
        return;
      case 'run':
        await run(message);
        return;
      default:
        throw unknownMessage(message);
    }
  }

  /** @param {RunMessage} message */
  async function run(message) {
    const { job } = message;
    if (runningJob !== null) {
      host.post({ type: 'failed', job, message: `the worker is still at job ${runningJob}`, diagnostics: [] }, []);
      return;
    }
    runningJob = job;
    try {
      if (!engine) throw new Error('run before init');
      const { Simulation, Inspection, Calibration } = await engine;
      if (message.want === 'moment') {
        await inspect(new Inspection(message.document, message.runIndex, files, message.atS ?? 0), job);
        return;
      }
      if (message.want === 'calibration' && message.calibration) {
        await calibrate(new Calibration(message.document, files, message.calibration), job);
        return;
      }
      const simulation = new Simulation(message.document, message.runIndex, files, true);
      if (message.want === 'trace') simulation.keepSteps(...(message.window ?? [0, Infinity]));
      const finished = await advance(simulation, job);
      if (!finished) {
        host.post({ type: 'cancelled', job }, []);
      } else if (message.want === 'trace') {
        const text = finished.handle.perfetto();
        finished.handle.free();
        host.post({ type: 'trace', job, text }, []);
      } else if (message.want === 'summary') {
        const summary = finished.handle.summary();
        finished.handle.free();
        host.post({ type: 'summary', job, summary }, []);
      } else if (message.want === 'csv') {
        const text = finished.handle.requestsCsv();
        finished.handle.free();
        host.post({ type: 'csv', job, text }, []);
      } else {
        const result = collect(finished.handle, message.runIndex, finished.warnings);
        finished.handle.free();
        host.post({ type: 'done', job, result }, buffersOf(result));
      }
    } catch (error) {
      if (error instanceof Error) host.post({ type: 'crashed', job, message: describe(error) }, []);
      else host.post({ type: 'failed', job, message: describe(error), diagnostics: diagnosticsOf(error) }, []);
    } finally {
      runningJob = null;
      cancelled.delete(job);
    }
  }

  /**
   * To the end, or null when it was cancelled.
   * @param {SimulationHandle} simulation
   * @param {number} job
   * @returns {Promise<{ handle: FinishedHandle, warnings: Diagnostic[] } | null>}
   */
  async function advance(simulation, job) {
    let budget = FIRST_BUDGET;
    let lastProgress = host.now();
    for (;;) {
      if (cancelled.has(job)) {
        simulation.free();
        return null;
      }
      const start = host.now();
      const progress = simulation.advance(budget);
      if (progress.done) {
        const warnings = simulation.warnings();
        return { handle: simulation.finish(), warnings };
      }
      const end = host.now();
      budget = nextBudget(budget, end - start);
      if (end - lastProgress >= PROGRESS_MS) {
        lastProgress = end;
        const { fraction, simulatedS, requestsEnded } = progress;
        host.post({ type: 'progress', job, fraction, simulatedS, requestsEnded }, []);
      }
      await host.pause();
    }
  }

  /**
   * To the moment, and what there is to see.
   * @param {InstanceType<InspectionClass>} inspection
   * @param {number} job
   */
  async function inspect(inspection, job) {
    let budget = FIRST_BUDGET;
    try {
      for (;;) {
        if (cancelled.has(job)) {
          host.post({ type: 'cancelled', job }, []);
          return;
        }
        const start = host.now();
        if (inspection.advance(budget)) break;
        budget = nextBudget(budget, host.now() - start);
        await host.pause();
      }
      host.post({ type: 'moment', job, moment: inspection.moment() }, []);
    } finally {
      inspection.free();
    }
  }

  /**
   * One simulation after another, until the factors are found.
   * @param {InstanceType<CalibrationClass>} calibration
   * @param {number} job
   */
  async function calibrate(calibration, job) {
    let budget = FIRST_BUDGET;
    let lastProgress = host.now();
    for (;;) {
      if (cancelled.has(job)) {
        calibration.free();
        host.post({ type: 'cancelled', job }, []);
        return;
      }
      const start = host.now();
      const { done, simulations, fraction } = calibration.advance(budget);
      if (done) break;
      const end = host.now();
      budget = nextBudget(budget, end - start);
      if (end - lastProgress >= PROGRESS_MS) {
        lastProgress = end;
        host.post({ type: 'progress', job, fraction, simulatedS: 0, requestsEnded: simulations }, []);
      }
      await host.pause();
    }
    host.post({ type: 'calibrated', job, fitted: calibration.finish() }, []);
  }

  return { handle };
}

/**
 * The budget that would have taken a slice's time, approached by at most a factor of four a step.
 * @param {number} budget
 * @param {number} tookMs
 */
export function nextBudget(budget, tookMs) {
  const factor = Math.min(4, Math.max(0.25, SLICE_MS / Math.max(tookMs, 0.1)));
  return Math.round(Math.min(MAX_BUDGET, Math.max(MIN_BUDGET, budget * factor)));
}

/**
 * @param {FinishedHandle} finished
 * @param {number} entryIndex
 * @param {Diagnostic[]} warnings
 * @returns {RunResult}
 */
function collect(finished, entryIndex, warnings) {
  const latencies = /** @type {RunResult['latencies']} */ ({});
  for (const name of LATENCIES) latencies[name] = finished.sortedColumn(name);
  const series = /** @type {RunResult['series']} */ ({});
  for (const name of SERIES) series[name] = finished.series(name);
  const { name, hash, endS, binS, kvBlocksTotal, requestCount } = finished;
  const summary = finished.summary();
  return {
    name,
    entryIndex,
    hash,
    endS,
    binS,
    kvBlocksTotal,
    requestCount,
    summary,
    warnings,
    latencies,
    series,
    timeline: {
      arrivalMs: finished.column('arrivalMs'),
      scheduledMs: finished.column('scheduledMs'),
      firstTokenMs: finished.column('firstTokenMs'),
      finishMs: finished.column('finishMs'),
      status: finished.status(),
    },
    // Of one replica that neither comes nor goes there is nothing to tell.
    fleet: finished.replicaCount > 1 || summary.operations ? finished.fleet(FLEET_BINS) : null,
    encodes: finished.encodes(),
  };
}

/** @param {RunResult} result */
function buffersOf(result) {
  const { fleet, encodes } = result;
  return [...Object.values(result.latencies), ...Object.values(result.series), ...Object.values(result.timeline), ...(fleet ? [fleet.running, fleet.waiting, fleet.tokens] : []), encodes].map((column) => column.buffer);
}

/** @param {unknown} error */
function describe(error) {
  if (typeof error === 'object' && error !== null && 'message' in error) return String(error.message);
  return String(error);
}

/** @param {unknown} error */
function diagnosticsOf(error) {
  if (typeof error === 'object' && error !== null && 'diagnostics' in error && Array.isArray(error.diagnostics)) return error.diagnostics;
  return [];
}
