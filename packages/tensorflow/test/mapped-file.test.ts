import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { kernelsPath } from './gpu/addons';

// Changes of a file that is mapped. A part that cannot be read any more ends a process without a handler by SIGBUS.

const folder = mkdtempSync(join(tmpdir(), 'wpo-mapped-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Before the code of a test: `path` is a file of 2¹⁸ float32 values that are 1, and `sum(id)` adds up the values of its mapping. */
const PRELUDE = `
  const fs = require('node:fs');
  const [addon, path, other] = process.argv.slice(1);
  const { store } = require(addon);
  fs.writeFileSync(path, new Float32Array(2 ** 18).fill(1));
  fs.writeFileSync(other, new Float32Array(2 ** 18).fill(1));
  fs.utimesSync(path, 1e9, 1e9);
  const sum = (id) => store.get(id, 0, 2 ** 18, 'F32').reduce((a, b) => a + b);
  const report = (run) => { try { console.log(run()); } catch (error) { console.log(error.message); } };
`;
const SUM = String(2 ** 18);

/** Runs code in a process of its own. Returns the lines that it printed, and the signal that ended it. */
function runAlone(code: string) {
  const paths = [kernelsPath, join(folder, 'model.safetensors'), join(folder, 'other.safetensors')];
  const { stdout, stderr, signal } = spawnSync(process.execPath, ['-e', PRELUDE + code, ...paths], {
    encoding: 'utf8',
  });
  expect(stderr).not.toContain('Error:');
  return { lines: stdout.trim().split('\n'), signal };
}

const CHANGED = `${join(folder, 'model.safetensors')}: expected a file that does not change while its model is in use, found`;

describe('a mapped file', () => {
  test.each([0, 1, 100_000, 2 ** 20 - 1])(
    'of 2²⁰ bytes that is truncated to %i bytes is an error; the process and other files live on',
    (bytes) => {
      const { lines, signal } = runAlone(`
      const ids = [store.map(path), store.map(other), store.map(path)];
      fs.truncateSync(path, ${bytes});
      for (const id of [...ids, ...ids]) report(() => sum(id));
      for (const id of ids) store.free(id);
    `);
      const error = `${CHANGED} that its size changed from 1048576 to ${bytes} bytes`;
      expect(lines).toEqual([error, SUM, error, error, SUM, error]);
      expect(signal).toBe(null);
    },
  );

  test('that is truncated after it was read is an error from then on, also after its bytes are back', () => {
    const { lines } = runAlone(`
      const id = store.map(path);
      report(() => sum(id));
      const bytes = fs.readFileSync(path);
      fs.truncateSync(path, 0);
      report(() => sum(id));
      fs.writeFileSync(path, bytes);
      report(() => sum(id));
      fs.utimesSync(path, 1e9, 1e9);
      report(() => sum(id));
      report(() => sum(store.map(path)));
    `);
    const unreadable = `${join(folder, 'model.safetensors')}: expected a file that can be read, found a part that the system could not read`;
    expect(lines).toEqual([
      SUM,
      `${CHANGED} that its size changed from 1048576 to 0 bytes`,
      `${CHANGED} that it was written to`,
      unreadable,
      SUM,
    ]);
  });

  test('that is written to, with as many bytes, is an error', () => {
    const { lines } = runAlone(`
      const id = store.map(path);
      fs.writeSync(fs.openSync(path, 'r+'), Buffer.alloc(4), 0, 4, 1000);
      report(() => sum(id));
    `);
    expect(lines).toEqual([`${CHANGED} that it was written to`]);
  });

  test('may be renamed, replaced, removed and given other permissions', () => {
    const { lines } = runAlone(`
      const [id, second] = [store.map(path), store.map(other)];
      fs.chmodSync(path, 0o444);
      fs.renameSync(path, path + '.old');
      fs.writeFileSync(path, 'x');
      fs.rmSync(path + '.old');
      fs.renameSync(path, other);
      for (const one of [id, second]) report(() => sum(one));
    `);
    expect(lines).toEqual([SUM, SUM]);
  });
});

describe('SIGBUS', () => {
  test('that a process sends ends this one, as without mapped files', () => {
    const { lines, signal } = runAlone(`
      const id = store.map(path);
      fs.truncateSync(path, 0);
      report(() => typeof sum(id));
      process.kill(process.pid, 'SIGBUS');
      setTimeout(() => console.log('still there'), 5000);
    `);
    expect(lines).toEqual([`${CHANGED} that its size changed from 1048576 to 0 bytes`]);
    expect(signal).toBe('SIGBUS');
  });

  test('goes to a handler that was there before', () => {
    const { lines, signal } = runAlone(`
      process.on('SIGBUS', () => { console.log('handled'); process.exit(); });
      const id = store.map(path);
      fs.truncateSync(path, 0);
      report(() => sum(id));
      process.kill(process.pid, 'SIGBUS');
      setTimeout(() => console.log('still there'), 5000);
    `);
    expect(lines).toEqual([`${CHANGED} that its size changed from 1048576 to 0 bytes`, 'handled']);
    expect(signal).toBe(null);
  });
});
