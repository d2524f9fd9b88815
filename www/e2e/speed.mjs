// The speed report in the browser: node www/e2e/speed.mjs, with SITE_URL as for the journeys.
// Simulates the cases of `llmperforacle bench` on the page's own module, on one thread, and prints requests per second and the module's memory.
// With --fleet: a million turns of conversations on a thousand replicas behind Dynamo's KV router instead, once.

import { readFileSync } from 'node:fs';
import { chromium } from 'playwright-core';

const FLEET = process.argv.includes('--fleet');
const CASES = FLEET ? ['fleet'] : ['closed-loop', 'closed-loop-trtllm', 'closed-loop-sglang', 'poisson', 'azure-conversation'];
const REPEAT = FLEET ? 1 : 20;
const REPLICAS = 1000;
const root = new URL('../../', import.meta.url);
const read = (/** @type {string} */ path) => readFileSync(new URL(path, root));

const site = process.env.SITE_URL ?? 'http://127.0.0.1:8080/';
const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
const page = await browser.newPage();
// An address of the site without the page: nothing else runs.
await page.goto(new URL('style.css', site).href);
const trace = read('tests/fixtures/traces/azure_2023_conv.csv.gz').toString('base64');
console.log('case                  requests         s    requests_per_s   MiB');
for (const name of CASES) {
  const { requests, seconds, bytes } = await page.evaluate(
    async ({ text, trace, site, repeat, replicas }) => {
      const module = await import(new URL('pkg/llmperforacle_wasm.js', site).href);
      const { memory } = await module.default();
      const { document } = module.readDocument(text, 'case.yaml');
      if (replicas > 1) {
        document.workload.rate_scale = replicas;
        for (const entry of document.frameworks_to_test) entry.replicas = replicas;
      }
      const contents = Uint8Array.from(atob(trace), (letter) => letter.charCodeAt(0));
      const path = document.workload.trace?.path;
      const files = new Map(path ? [[path, contents]] : []);
      let seconds = Infinity;
      let requests = 0;
      for (let run = 0; run < repeat; run += 1) {
        const start = performance.now();
        const simulation = new module.Simulation(document, 0, files, true);
        while (!simulation.advance(1_000_000).done);
        const finished = simulation.finish();
        seconds = Math.min(seconds, (performance.now() - start) / 1000);
        requests = finished.requestCount;
        finished.free();
      }
      return { requests, seconds, bytes: memory.buffer.byteLength };
    },
    { text: read(`configs/bench/${name}.yaml`).toString('utf8'), trace, site, repeat: REPEAT, replicas: FLEET ? REPLICAS : 1 },
  );
  const columns = [String(requests).padStart(9), seconds.toFixed(4).padStart(9), String(Math.round(requests / seconds)).padStart(17), String(Math.round(bytes / 2 ** 20)).padStart(5)];
  console.log(`${name.padEnd(20)} ${columns.join(' ')}`);
}
await browser.close();
