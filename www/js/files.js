// Files the reader drops or picks: a document (YAML, JSON), a trace, or a benchmark's output. Traces are kept in this browser, by name,
// so that a reload finds them again; nothing is sent anywhere.

/** @import { Files } from './types.js' */

export const MAX_FILE_BYTES = 512 * 1024 * 1024;
const DATABASE = 'llmperforacle';
const TRACES = 'traces';

/**
 * @param {string} name
 * @param {string} start  the first few hundred characters
 * @returns {'document' | 'trace' | 'benchmark'}
 */
export function kindOfFile(name, start) {
  // What vLLM's and SGLang's benchmarks and AIPerf call their numbers; no document and no trace has such keys.
  if (/\.(json|jsonl|ndjson)$/i.test(name) && /"(mean_ttft_ms|median_ttft_ms|request_throughput|output_throughput|request_latency|time_to_first_token)"\s*:/.test(start)) return 'benchmark';
  if (/\.(csv|jsonl|ndjson|tsv)(\.gz)?$/i.test(name)) return 'trace';
  if (/\.(ya?ml|json)$/i.test(name)) {
    // A Mooncake trace is often called .json though it holds one object a line.
    return /^\s*\{[^\n]*"(timestamp|input_length)"[^\n]*\}\s*\n\s*\{/.test(start) ? 'trace' : 'document';
  }
  return /^[^\n]*,[^\n]*\n/.test(start) && !/^\s*[{[]/.test(start) ? 'trace' : 'document';
}

/** @returns {Promise<IDBDatabase>} */
function openDatabase() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(TRACES);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/**
 * @template T
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest<T>} ask
 * @returns {Promise<T>}
 */
async function inDatabase(mode, ask) {
  const database = await openDatabase();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(TRACES, mode);
      const request = ask(transaction.objectStore(TRACES));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
      transaction.onerror = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

/**
 * @param {string} name
 * @param {Uint8Array} bytes
 * @returns {Promise<void>}
 */
export async function keepTrace(name, bytes) {
  await inDatabase('readwrite', (store) => store.put(bytes, name));
}

/**
 * The kept trace of this name, if this browser has it.
 * @param {string} name
 * @returns {Promise<Files>}
 */
export async function keptTrace(name) {
  /** @type {Files} */
  const files = new Map();
  if (name === '') return files;
  const bytes = await inDatabase('readonly', (store) => /** @type {IDBRequest<unknown>} */ (store.get(name)));
  if (bytes instanceof Uint8Array) files.set(name, bytes);
  return files;
}
