import test from 'node:test';
import assert from 'node:assert/strict';
import { sectionsOf } from './views/rules.js';

/** @param {string[]} frameworks */
const result = (frameworks) => /** @type {any} */ ({ summary: { provenance: { stacks: frameworks.map((framework) => ({ framework })) } } });

test('each stack has its section', () => {
  assert.deepEqual(sectionsOf(result(['vLLM'])), ['vLLM']);
  assert.deepEqual(sectionsOf(result(['SGLang'])), ['SGLang']);
  assert.deepEqual(sectionsOf(result(['TensorRT-LLM'])), ['TensorRT-LLM']);
  assert.deepEqual(sectionsOf(result(['NVIDIA Dynamo'])), ['Dynamo, replicas and routers']);
  assert.deepEqual(sectionsOf(/** @type {any} */ ({ summary: {} })), []);
});
