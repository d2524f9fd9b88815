import test from 'node:test';
import assert from 'node:assert/strict';
import { createStore } from './store.js';
import { createUndo } from './undo.js';
import { replaceDocument } from './edit.js';
import { withPinned } from './pinned.js';

test('edits are taken back and made again; those that follow closely are one', () => {
  let clock = 0;
  const store = createStore(/** @type {any} */ ({ document: { n: 0 }, preset: 'p', results: [] }));
  const history = createUndo(store, () => clock);
  const edit = (/** @type {number} */ n, /** @type {number} */ at) => {
    clock = at;
    replaceDocument(store, { n }, {});
  };
  assert.deepEqual(history.can(), { undo: false, redo: false });
  edit(1, 5000);
  edit(12, 5300);
  edit(123, 5900);
  edit(4, 9000);
  history.undo();
  assert.deepEqual(store.get().document, { n: 123 });
  history.undo();
  assert.deepEqual([store.get().document, history.can()], [{ n: 0 }, { undo: false, redo: true }]);
  history.undo();
  history.redo();
  assert.deepEqual(store.get().document, { n: 123 });
  edit(7, 9100);
  assert.equal(history.can().redo, false, 'an edit begins another future');
  history.undo();
  assert.deepEqual(store.get().document, { n: 123 });
});

test('pinned results follow the present ones, with colours of their own', () => {
  const result = (/** @type {string} */ name, /** @type {number} */ entryIndex) => /** @type {any} */ ({ name, entryIndex });
  const pinned = [result('a', 0)];
  const results = [result('a', 0), result('b', 1)];
  const state = /** @type {any} */ ({ results, pinned });
  assert.deepEqual(withPinned(state).results.map(({ name, entryIndex }) => [name, entryIndex]), [['a', 0], ['b', 1], ['a (pinned)', 2]]);
  assert.equal(withPinned(state).results, withPinned({ ...state }).results);
  assert.equal(withPinned({ ...state, results: pinned }).results, pinned, 'not beside themselves');
});
