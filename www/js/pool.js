// The page's side of the protocol: a few workers, one simulation each, the rest waits in line.
// A worker that crashed is thrown away and replaced; the job it was at is answered with `crashed`.

import { isFromWorker, unknownMessage } from './protocol.js';

/** @import { CalibrationWanted, DocumentObject, Diagnostic, Fitted, Moment, RunResult, Files, Progress } from './types.js' */
/** @import { ToWorker, FromWorker, Want } from './protocol.js' */

/**
 * @typedef {object} WorkerLike
 * @property {(message: ToWorker) => void} postMessage
 * @property {() => void} terminate
 * @property {((event: { data: unknown }) => void) | null} onmessage
 * @property {((event: any) => void) | null} onerror
 *
 * @typedef {{ outcome: 'done', result: RunResult } | { outcome: 'summary', summary: Record<string, any> } | { outcome: 'csv', text: string } | { outcome: 'trace', text: string }
 *   | { outcome: 'moment', moment: Moment } | { outcome: 'calibrated', fitted: Fitted } | { outcome: 'cancelled' }
 *   | { outcome: 'failed', message: string, diagnostics: Diagnostic[] } | { outcome: 'crashed', message: string }} Outcome
 *
 * @typedef {object} JobRequest
 * @property {DocumentObject} document
 * @property {number} runIndex
 * @property {Files} files
 * @property {Want} want
 * @property {number} [atS]  of a moment
 * @property {[number, number]} [window]  of a trace, s
 * @property {CalibrationWanted} [calibration]
 * @property {(() => void)} [onStart]
 * @property {((progress: Omit<Progress, 'done'>) => void)} [onProgress]
 *
 * @typedef {{ id: number, request: JobRequest, resolve: (outcome: Outcome) => void, settled: boolean }} Job
 * @typedef {{ worker: WorkerLike, job: Job | null, ready: boolean, sent: Map<string, Uint8Array>, hangTimer: ReturnType<typeof setTimeout> | null }} Seat
 */

/** A worker that has not answered a cancel by then is stuck in a slice and is replaced. */
const HANG_MS = 2000;
/** So many crashes in a row before any worker came up: the engine cannot start, and more attempts would only burn power. */
const MAX_FAILED_STARTS = 3;

/**
 * @param {object} options
 * @param {number} options.size
 * @param {() => WorkerLike} options.spawn
 * @param {Promise<WebAssembly.Module>} options.module
 */
export function createPool({ size, spawn, module }) {
  /** @type {Seat[]} */
  const seats = [];
  /** @type {Job[]} */
  const waiting = [];
  let nextId = 1;
  let failedStarts = 0;
  let lastFailure = '';

  for (let i = 0; i < size; i += 1) seats.push(newSeat());

  /** @returns {Seat} */
  function newSeat() {
    const worker = spawn();
    /** @type {Seat} */
    const seat = { worker, job: null, ready: false, sent: new Map(), hangTimer: null };
    worker.onmessage = (event) => {
      if (isFromWorker(event.data)) receive(seat, event.data);
      else replace(seat, 'a worker sent a message the page does not know');
    };
    worker.onerror = (event) => {
      event?.preventDefault?.();
      replace(seat, event?.message || 'a worker could not be started');
    };
    module.then(
      (compiled) => worker.postMessage({ type: 'init', module: compiled }),
      () => {}, // main.js reports a module that cannot be had
    );
    return seat;
  }

  /**
   * @param {Seat} seat
   * @param {FromWorker} message
   */
  function receive(seat, message) {
    switch (message.type) {
      case 'ready':
        seat.ready = true;
        failedStarts = 0;
        dispatch();
        return;
      case 'crashed':
        replace(seat, message.message);
        return;
      case 'progress': {
        const { job } = seat;
        if (job?.id === message.job && !job.settled) job.request.onProgress?.(message);
        return;
      }
      case 'done':
        finish(seat, message.job, { outcome: 'done', result: message.result });
        return;
      case 'summary':
        finish(seat, message.job, { outcome: 'summary', summary: message.summary });
        return;
      case 'csv':
        finish(seat, message.job, { outcome: 'csv', text: message.text });
        return;
      case 'trace':
        finish(seat, message.job, { outcome: 'trace', text: message.text });
        return;
      case 'moment':
        finish(seat, message.job, { outcome: 'moment', moment: message.moment });
        return;
      case 'calibrated':
        finish(seat, message.job, { outcome: 'calibrated', fitted: message.fitted });
        return;
      case 'cancelled':
        finish(seat, message.job, { outcome: 'cancelled' });
        return;
      case 'failed':
        finish(seat, message.job, { outcome: 'failed', message: message.message, diagnostics: message.diagnostics });
        return;
      default:
        throw unknownMessage(message);
    }
  }

  /**
   * @param {Seat} seat
   * @param {number} id
   * @param {Outcome} outcome
   */
  function finish(seat, id, outcome) {
    const { job } = seat;
    if (job?.id !== id) return;
    release(seat);
    settle(job, outcome);
    dispatch();
  }

  /** @param {Seat} seat */
  function release(seat) {
    seat.job = null;
    if (seat.hangTimer !== null) clearTimeout(seat.hangTimer);
    seat.hangTimer = null;
  }

  /**
   * @param {Job} job
   * @param {Outcome} outcome
   */
  function settle(job, outcome) {
    if (job.settled) return;
    job.settled = true;
    job.resolve(outcome);
  }

  /**
   * @param {Seat} seat
   * @param {string} reason
   */
  function replace(seat, reason) {
    const index = seats.indexOf(seat);
    if (index < 0) return;
    const { job } = seat;
    release(seat);
    seat.worker.onmessage = null;
    seat.worker.onerror = null;
    seat.worker.terminate();
    if (!seat.ready) failedStarts += 1;
    lastFailure = reason;
    if (failedStarts >= MAX_FAILED_STARTS) seats.splice(index, 1);
    else seats[index] = newSeat();
    if (job) settle(job, { outcome: 'crashed', message: reason });
    if (seats.length === 0) for (const left of waiting.splice(0)) settle(left, { outcome: 'crashed', message: lastFailure });
  }

  function dispatch() {
    for (const seat of seats) {
      if (!seat.ready || seat.job) continue;
      const job = waiting.shift();
      if (!job) return;
      seat.job = job;
      const { document, runIndex, files, want, atS, window, calibration } = job.request;
      for (const [name, bytes] of files) {
        if (seat.sent.get(name) === bytes) continue;
        seat.sent.set(name, bytes);
        seat.worker.postMessage({ type: 'file', name, bytes });
      }
      seat.worker.postMessage({ type: 'run', job: job.id, document, runIndex, want, ...(atS === undefined ? {} : { atS }), ...(window ? { window } : {}), ...(calibration ? { calibration } : {}) });
      job.request.onStart?.();
    }
  }

  return {
    size,
    /**
     * @param {JobRequest} request
     * @returns {{ outcome: Promise<Outcome>, cancel: () => void }}
     */
    run(request) {
      /** @type {(outcome: Outcome) => void} */
      let resolve = () => {};
      /** @type {Promise<Outcome>} */
      const outcome = new Promise((settled) => {
        resolve = settled;
      });
      /** @type {Job} */
      const job = { id: nextId, request, resolve, settled: false };
      nextId += 1;
      if (seats.length === 0) {
        settle(job, { outcome: 'crashed', message: lastFailure });
      } else {
        waiting.push(job);
        dispatch();
      }
      return { outcome, cancel: () => cancel(job) };
    },
  };

  /** @param {Job} job */
  function cancel(job) {
    const place = waiting.indexOf(job);
    if (place >= 0) waiting.splice(place, 1);
    const seat = seats.find((candidate) => candidate.job === job);
    if (seat && !job.settled) {
      seat.worker.postMessage({ type: 'cancel', job: job.id });
      seat.hangTimer = setTimeout(() => replace(seat, 'a worker did not stop when it was told to'), HANG_MS);
    }
    settle(job, { outcome: 'cancelled' });
  }
}
