import '@wpo/tensorflow';
import { mkdtemp, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { parameter, readTensor } from '@wpo/gemma';
import { openSafetensors, writeSafetensors } from '@wpo/gemma/node';
import { storedBytes, tensorflowKernels, tensorflowOptimizer, tensorflowTensorLoader } from '@wpo/tensorflow/kernels';
import { sgd } from '@wpo/trainer';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findNotFinite } from '../../gemma/src/finite';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wpo-tensor-loader-'));
});
afterAll(() => rm(folder, { recursive: true }));

const loadTensor = tensorflowTensorLoader();

const bytesOf = (values: Float32Array) => Buffer.from(values.buffer, values.byteOffset, values.byteLength);

test('the native function that reads files is used', () => expect(loadTensor).not.toBe(readTensor));

test('a tensor has the bits of its file in float32, for every type, shape and offset', async () => {
  const tensor = fc.record({
    shape: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 }),
    dtype: fc.constantFrom('F32' as const, 'BF16' as const),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(tensor, { minLength: 1, maxLength: 5 }), fc.nat(), async (tensors, seed) => {
      const path = join(folder, 'all.safetensors');
      const named = tensors.map(({ shape, dtype }, i) => ({
        name: `t${i}`,
        shape,
        dtype,
        data: async () => Float32Array.from({ length: tf.util.sizeFromShape(shape) }, (_, j) => Math.sin(seed + i + j)),
      }));
      await writeSafetensors(path, named);
      const file = await openSafetensors(path);
      for (const { name } of named) {
        const found = await loadTensor(file, name);
        expect(found.shape).toEqual(file.info(name).shape);
        expect(await found.data()).toEqual(await file.read(name));
        found.dispose();
      }
      await file.close();
    }),
    { numRuns: 30 },
  );
});

test('a tensor that is read in many chunks has the same bits', async () => {
  const path = join(folder, 'large.safetensors');
  const values = Float32Array.from({ length: 1_500_001 }, (_, i) => Math.fround(i * 1.1));
  for (const dtype of ['F32', 'BF16'] as const) {
    await writeSafetensors(path, [{ name: 'w', shape: [values.length], dtype, data: async () => values }]);
    const file = await openSafetensors(path);
    const found = await loadTensor(file, 'w');
    expect(bytesOf((await found.data()) as Float32Array).equals(bytesOf(await file.read('w')))).toBe(true);
    found.dispose();
    await file.close();
  }
});

test('subnormal numbers have the same bits on every thread, after threads that TensorFlow did not call have started', async () => {
  const kernels = tensorflowKernels(); // the tests before have read files
  const weight = parameter('w', tf.fill([1 << 21], 2 ** -130), { kernels });
  weight.assignGradient(tf.fill([1 << 21], 2 ** -135));
  const optimizer = sgd({ kernel: tensorflowOptimizer() });
  for (let step = 1; step <= 20; step++) {
    await optimizer.step({ parameters: [weight], learningRate: 1, gradientScale: 1 });
    const found = (await weight.value().data()) as Float32Array;
    expect(found.filter((value) => value !== found[0]).length, `step ${step}`).toBe(0);
  }
  weight.dispose();
});

test('a file truncated after it was opened is an error that names file and tensor', async () => {
  const path = join(folder, 'cut.safetensors');
  await writeSafetensors(path, [{ name: 'w', shape: [1000], dtype: 'F32', data: async () => new Float32Array(1000) }]);
  const file = await openSafetensors(path);
  await truncate(path, 2000);
  const before = storedBytes();
  await expect(loadTensor(file, 'w')).rejects.toThrow(
    /cut\.safetensors: tensor "w" could not be read: .*the file ends before/s,
  );
  expect(storedBytes()).toEqual(before);
  await file.close();
});

test('a size beyond 32 bits is refused, and does not wrap', async () => {
  const path = join(folder, 'wide.safetensors');
  await writeSafetensors(path, [{ name: 'w', shape: [4], dtype: 'F32', data: () => Float32Array.of(1, 2, 3, 4) }]);
  const file = await openSafetensors(path);
  const shape = [2 ** 32 + 4];
  const source = { ...file, locate: () => ({ ...file.locate('w'), shape }) };
  await expect(loadTensor(source, 'w')).rejects.toThrow(
    new RangeError(`${path}: tensor "w": expected sizes of at most 2147483647, found [4294967300].`),
  );
  await file.close();
});

test.each([
  [3e38, undefined],
  [Number.NaN, 'NaN at index 3'],
  [Number.NEGATIVE_INFINITY, '-Infinity at index 3'],
])('of values with %s, the one that is not finite is found', async (value, expected) => {
  const path = join(folder, 'finite.safetensors');
  await writeSafetensors(path, [
    { name: 'w', shape: [5], dtype: 'F32', data: () => Float32Array.of(1, 2, 3, value, 5) },
  ]);
  const file = await openSafetensors(path);
  const found = await loadTensor(file, 'w');
  expect(await findNotFinite(found)).toBe(expected);
  found.dispose();
  await file.close();
});
