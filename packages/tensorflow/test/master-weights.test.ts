import '@wpo/tensorflow';
import { mkdtempSync, rmSync } from 'node:fs';
import { truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs-core';
import { type GemmaPolicy, gemmaPolicy, loadWeights, parameter } from '@wpo/gemma';
import { openSafetensors, readModelFolder, writeSafetensors } from '@wpo/gemma/node';
import { storedBytes, tensorflowTensorLoader, trainedBytes } from '@wpo/tensorflow/kernels';
import { adamW, type Policy, step, type TokenPair, wpoPairLoss } from '@wpo/trainer';
import { afterAll, expect, test } from 'vitest';
import { f16ToF32, f32ToBf16, f32ToF16 } from '../../gemma/src/dtype';
import { nativeKernels } from '../src/kernels/kernels';
import { nativeGradientNorm, nativeOptimizer } from '../src/kernels/optimizer';
import type { SplitVariable, StoredVariable } from '../src/kernels/store';

const folder = mkdtempSync(join(tmpdir(), 'wpo-master-'));
afterAll(() => rmSync(folder, { recursive: true }));

const bits = (values: Float32Array) => Buffer.from(values.buffer, values.byteOffset, values.byteLength);
const nearestEven = (values: Float32Array) => {
  const wide = new Int32Array(values.length);
  f32ToBf16(values).forEach((b, i) => {
    wide[i] = b << 16;
  });
  return new Float32Array(wide.buffer);
};

test.each(['F32', 'F16', 'BF16'] as const)(
  'a matrix of %s has the values of its file, a vector stays float32',
  async (dtype) => {
    const path = join(folder, `${dtype}.safetensors`);
    const shape = [1500, 3001]; // read in two parts
    const written = Float32Array.from({ length: 1500 * 3001 }, (_, i) => Math.sin(i) * 2 ** (i % 9));
    const values = { F32: written, F16: f16ToF32(f32ToF16(written)), BF16: nearestEven(written) }[dtype];
    await writeSafetensors(path, [
      { name: 'matrix', shape, dtype, data: () => written },
      { name: 'vector', shape: [7], dtype, data: () => written.subarray(0, 7) },
    ]);
    const file = await openSafetensors(path);
    const load = async (how: 'exact' | 'stochastic', name: string) =>
      (await tensorflowTensorLoader(how)(file, name)) as StoredVariable;
    for (const how of ['exact', 'stochastic'] as const) {
      const before = storedBytes().allocated;
      const vector = await load(how, 'vector');
      expect([vector.dtype, vector.fileType, vector.read()]).toEqual(['float32', 'F32', values.slice(0, 7)]);
      const matrix = await load(how, 'matrix');
      expect([matrix.dtype, matrix.fileType]).toEqual(['bfloat16', how === 'exact' ? 'F32' : 'BF16']);
      expect(bits(matrix.read()).equals(bits(how === 'exact' ? values : nearestEven(values)))).toBe(true);
      expect(storedBytes().allocated - before).toBe(trainedBytes(shape, how) + trainedBytes([7], how));
      vector.dispose();
      matrix.dispose();
      expect(storedBytes().allocated).toBe(before);
    }
    await truncate(path, 9000);
    const before = storedBytes().allocated;
    await expect(load('exact', 'matrix')).rejects.toThrow(`${path}: tensor "matrix" could not be read`);
    expect(storedBytes().allocated).toBe(before);
    await file.close();
  },
);

const model = fileURLToPath(new URL('../../../demo/model', import.meta.url));
const kernels = nativeKernels();

async function demoPolicy(masterWeights?: 'exact'): Promise<GemmaPolicy> {
  const { config, checkpoint } = await readModelFolder(model);
  try {
    const loadTensor = tensorflowTensorLoader(masterWeights);
    return gemmaPolicy(await loadWeights(config, checkpoint, { kernels, loadTensor }), { kernels });
  } finally {
    await checkpoint.close();
  }
}

const stored = ({ value }: { value(): unknown }) => value() as StoredVariable;

/**
 * A policy whose passes read bfloat16 values in float32 memory, and whose optimizer changes float32 values beside them: what exact
 * master weights do, without the code that does it.
 */
function mixedPrecision(policy: GemmaPolicy): Policy & { round(): void } {
  const masters = policy.parameters.map((p) =>
    parameter(p.name, tf.tensor(stored(p).read(), [...p.shape]), { decay: p.decay, kernels }),
  );
  return {
    ...policy,
    parameters: policy.parameters.map((read, i) => ({
      ...masters[i]!,
      gradient: read.gradient,
      zeroGradient: read.zeroGradient,
      assignGradient: read.assignGradient,
    })),
    round() {
      for (const [i, read] of policy.parameters.entries()) {
        const values = stored(masters[i]!).read();
        stored(read).write(0, read.shape.length === 1 ? values : nearestAway(values));
      }
    },
  };
}

/** The nearest bfloat16 of finite values, ties away from zero, in their place. */
function nearestAway(values: Float32Array): Float32Array {
  const patterns = new Uint32Array(values.buffer);
  for (let i = 0; i < patterns.length; i++) patterns[i] = (patterns[i]! + 0x8000) & 0xffff0000;
  return values;
}

test('1,000 steps of the demo model with exact master weights are those of AdamW on float32 values whose bfloat16 the passes read', async () => {
  const [exact, float32] = [await demoPolicy('exact'), mixedPrecision(await demoPolicy())];
  const ids = (length: number, seed: number) =>
    Array.from({ length }, (_, i) => 3 + ((seed * 7919 + i * i * 31 + i) % 3000));
  const pairs: TokenPair[] = [1, 2, 3].map((seed) => ({
    id: `pair ${seed}`,
    prompt: ids(6, seed),
    chosen: ids(5, seed + 10),
    rejected: ids(4, seed + 20),
  }));
  const train = (policy: Policy) => ({
    policy,
    optimizer: adamW({ weightDecay: 0.01, kernel: nativeOptimizer }),
    loss: wpoPairLoss(),
    maxGradNorm: 1,
    computeNorm: nativeGradientNorm,
  });
  const [found, expected] = [train(exact), train(float32)];
  const moved = stored(exact.parameters[1]!).clone().read();
  for (let i = 0; i < 1000; i++) {
    const batch = { pairs: [pairs[i % 3]!], references: [{ chosen: -40, rejected: -35 }] };
    const settings = { microBatches: [batch], learningRate: 1e-6 * (1 + (i % 5)), step: i + 1 };
    const results = [await step({ ...found, ...settings }), await step({ ...expected, ...settings })];
    if (i % 100 === 0) expect(results[0]).toEqual(results[1]);
    float32.round();
  }
  for (const [i, p] of exact.parameters.entries()) {
    expect(bits(stored(p).read()).equals(bits(stored(float32.parameters[i]!).read())), p.name).toBe(true);
  }
  for (const [i, { name, shape, read }] of [...found.optimizer.state().tensors].entries()) {
    const size = tf.util.sizeFromShape([...shape]);
    const other = await [...expected.optimizer.state().tensors][i]!.read(0, size);
    expect(Buffer.compare(Buffer.from((await read(0, size)).buffer), Buffer.from(other.buffer)), name).toBe(0);
  }
  expect(moved).not.toEqual(stored(exact.parameters[1]!).clone().read());
  expect((stored(exact.parameters[0]!) as SplitVariable).low.read().some((low) => low !== 0)).toBe(true);
});
