import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readTensors, type TensorInParts, writeSafetensors, writeTensors } from '../../src/node';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wpo-tensors-'));
});
afterAll(() => rm(folder, { recursive: true }));

const tensorOf = (name: string, type: TensorInParts['type'], values: Float32Array | Uint8Array): TensorInParts => ({
  ...{ name, type, shape: [values.length] },
  read: async (start, count) => values.slice(start, start + count),
});

test('tensors of each type are read as they were written, also those of several parts', async () => {
  const large = Float32Array.from({ length: 2 ** 20 + 3 }, (_, i) => i / 7);
  const written = [
    tensorOf('large', 'F32', large),
    tensorOf('weights', 'BF16', Float32Array.of(1, -2.5, 0.00390625)),
    tensorOf('codes', 'U8', Uint8Array.of(0, 127, 255)),
  ];
  const path = join(folder, 'state.safetensors');
  await writeTensors(path, written);
  const names: string[] = [];
  for await (const { name, type, shape, read } of readTensors(path)) {
    const source = written.find((tensor) => tensor.name === name)!;
    names.push(name);
    expect([type, shape]).toEqual([source.type, source.shape]);
    expect(await read(1, shape[0]! - 1)).toEqual(await source.read(1, shape[0]! - 1));
  }
  expect(names.sort()).toEqual(['codes', 'large', 'weights']);
});

test('a tensor of another type is refused by name', async () => {
  const path = join(folder, 'half.safetensors');
  await writeSafetensors(path, [{ name: 'half', shape: [1], dtype: 'F16', data: () => Float32Array.of(1) }]);
  const read = async () => {
    for await (const tensor of readTensors(path)) void tensor;
  };
  await expect(read()).rejects.toThrow('tensor "half": expected F32, BF16 or U8, found F16.');
});
