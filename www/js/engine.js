// Getting the wasm engine: compiled once a page, instantiated once a thread.

import init, * as exports from '../pkg/llmperforacle_wasm.js';

/** @import { Engine } from './types.js' */

const WASM_URL = new URL('../pkg/llmperforacle_wasm_bg.wasm', import.meta.url);

/** @returns {Promise<WebAssembly.Module>} */
export async function compileEngine() {
  const response = await fetch(WASM_URL);
  if (!response.ok) throw new Error(`${WASM_URL.pathname}: the server answered ${response.status}`);
  if (response.headers.get('content-type')?.startsWith('application/wasm')) return WebAssembly.compileStreaming(response);
  // A host that serves .wasm with another type: slower, but it works.
  return WebAssembly.compile(await response.arrayBuffer());
}

/**
 * @param {WebAssembly.Module} module
 * @returns {Promise<Engine>}
 */
export async function startEngine(module) {
  await init({ module_or_path: module });
  return exports;
}
