// A worker: an engine of its own behind worker-server.js. Nothing else belongs here, so that the rest can be tested in Node.

import { startEngine } from './engine.js';
import { createWorkerServer } from './worker-server.js';

const port = /** @type {{ postMessage(message: unknown, transfer: Transferable[]): void, onmessage: ((event: MessageEvent) => void) | null }} */ (
  /** @type {unknown} */ (globalThis)
);

// A message to oneself is a task of its own: what the page sent meanwhile is handled first.
const channel = new MessageChannel();
/** @type {(() => void) | null} */
let resume = null;
channel.port1.onmessage = () => resume?.();

const server = createWorkerServer({
  load: startEngine,
  post: (message, transfer) => port.postMessage(message, transfer),
  now: () => performance.now(),
  pause: () =>
    new Promise((resolve) => {
      resume = resolve;
      channel.port2.postMessage(null);
    }),
});

port.onmessage = (event) => void server.handle(event.data);
