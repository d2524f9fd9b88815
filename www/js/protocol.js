// What the page and a worker say to each other. Data only; the two ends are pool.js and worker-server.js.
// A message carries the number of its job, so a late answer to an old question is recognised and dropped.

/** @import { CalibrationWanted, DocumentObject, Diagnostic, Fitted, Moment, RunResult } from './types.js' */

/**
 * @typedef {{ type: 'init', module: WebAssembly.Module }} InitMessage
 * @typedef {{ type: 'file', name: string, bytes: Uint8Array }} FileMessage  replaces an earlier file of this name
 * @typedef {{ type: 'run', job: number, document: DocumentObject, runIndex: number, want: Want, atS?: number, window?: [number, number], calibration?: CalibrationWanted }} RunMessage  `atS` of a moment, `window` of a trace, s
 * @typedef {{ type: 'cancel', job: number }} CancelMessage
 * @typedef {InitMessage | FileMessage | RunMessage | CancelMessage} ToWorker
 *
 * @typedef {'result' | 'summary' | 'csv' | 'trace' | 'moment' | 'calibration'} Want  what the page needs of a finished run
 */

/**
 * @typedef {{ type: 'ready', version: string }} ReadyMessage
 * @typedef {{ type: 'progress', job: number, fraction: number, simulatedS: number, requestsEnded: number }} ProgressMessage
 * @typedef {{ type: 'done', job: number, result: RunResult }} DoneMessage
 * @typedef {{ type: 'summary', job: number, summary: Record<string, any> }} SummaryMessage
 * @typedef {{ type: 'csv', job: number, text: string }} CsvMessage
 * @typedef {{ type: 'trace', job: number, text: string }} TraceMessage
 * @typedef {{ type: 'moment', job: number, moment: Moment }} MomentMessage
 * @typedef {{ type: 'calibrated', job: number, fitted: Fitted }} CalibratedMessage
 * @typedef {{ type: 'cancelled', job: number }} CancelledMessage
 * @typedef {{ type: 'failed', job: number, message: string, diagnostics: Diagnostic[] }} FailedMessage  the document cannot be run; the worker lives
 * @typedef {{ type: 'crashed', job: number | null, message: string }} CrashedMessage  a defect of the engine; the worker is to be replaced
 * @typedef {ReadyMessage | ProgressMessage | DoneMessage | SummaryMessage | CsvMessage | TraceMessage | MomentMessage | CalibratedMessage | CancelledMessage | FailedMessage | CrashedMessage} FromWorker
 */

const TO_WORKER = new Set(['init', 'file', 'run', 'cancel']);
const FROM_WORKER = new Set(['ready', 'progress', 'done', 'summary', 'csv', 'trace', 'moment', 'calibrated', 'cancelled', 'failed', 'crashed']);

/**
 * @param {unknown} message
 * @param {Set<string>} types
 */
function hasType(message, types) {
  return typeof message === 'object' && message !== null && 'type' in message && typeof message.type === 'string' && types.has(message.type);
}

/**
 * @param {unknown} message
 * @returns {message is ToWorker}
 */
export function isToWorker(message) {
  if (!hasType(message, TO_WORKER)) return false;
  const given = /** @type {Record<string, unknown>} */ (message);
  return (given.type !== 'run' && given.type !== 'cancel') || Number.isInteger(given.job);
}

/**
 * @param {unknown} message
 * @returns {message is FromWorker}
 */
export function isFromWorker(message) {
  return hasType(message, FROM_WORKER);
}

/** @param {never} message */
export function unknownMessage(message) {
  return new Error(`unknown message: ${JSON.stringify(message)}`);
}
