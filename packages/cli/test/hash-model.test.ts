import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { platform, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { hashModel } from '../src/models';

const folder = mkdtempSync(join(tmpdir(), 'wpo-hash-'));
afterAll(() => rmSync(folder, { recursive: true }));

const BYTES = 2 ** 25;
const write = (value: number) => writeFileSync(join(folder, 'model.safetensors'), Buffer.alloc(BYTES, value));

/** Bytes that this process has read from files and sockets. */
const bytesRead = () => Number(/^rchar: (\d+)/m.exec(readFileSync('/proc/self/io', 'utf8'))![1]);

test.skipIf(platform() !== 'linux')('a model is read once for its hash, and again after a change', async () => {
  write(1);
  const start = bytesRead();
  const hash = await hashModel(folder);
  expect(await hashModel(folder)).toBe(hash);
  expect((bytesRead() - start) / BYTES).toBeCloseTo(1, 1);
  write(2); // the same size
  expect(await hashModel(folder)).not.toBe(hash);
  expect((bytesRead() - start) / BYTES).toBeCloseTo(2, 1);
});
