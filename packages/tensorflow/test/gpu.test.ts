import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { parameter } from '@wpo/gemma';
import { adafactor, adamW, adamW8bit, lion, type OptimizerKernel } from '@wpo/trainer';
import { describe, expect, test, vi } from 'vitest';
import { tensorflowMatMul } from '../src/kernels/answer-logps';
import { nativeKernels } from '../src/kernels/kernels';
import { float32Bits, nativeStore, run } from '../src/kernels/native';
import { offloadedOptimizer } from '../src/kernels/offloaded-optimizer';
import { nativeOptimizer } from '../src/kernels/optimizer';
import { program } from '../src/kernels/program';
import { SplitVariable, StoredVariable, storedBytes } from '../src/kernels/store';
import { testGeneration, testPrograms } from './generate-properties';
import { loadGpuAddon, type NativeStore, useEmulatedGpu } from './gpu/addons';
import { testInputChecks } from './input-checks';
import { testActivations, testKernels } from './kernel-properties';
import { testMasterWeights } from './master-weights-properties';
import { testOffload, testOffloadedActivations } from './offload-properties';
import { testPolicy } from './policy-properties';
import { testSharding } from './sharding-properties';
import { roundToBf16, runStored, withArena } from './stored';
import { nativeBf16Tier, nativeTier } from './tiers';

await useEmulatedGpu();

test('the GPU addon builds, and loads where there is no GPU', async () => {
  const { operations, missing } = await loadGpuAddon();
  expect(operations).toContain('WpoAttentionGrad');
  expect(missing).toMatch(/^(|lib(cuda|nvrtc|cublas)\.so\.\d+ cannot be loaded: .*)$/);
});

test('uploading floats without a synchronization keeps their bits and leaves no tensor behind', () => {
  const { binding } = tf.backend() as unknown as { binding: { getNumOfTensors(): number } };
  const before = binding.getNumOfTensors();
  const values = [0.1, -0, Number.NaN, Number.POSITIVE_INFINITY, 1e-30];
  const doubled = tf.tidy(() => tf.mul(tf.tensor2d(values, [1, 5]), tf.scalar(2)).dataSync());
  expect(doubled).toEqual(Float32Array.from(values, (x) => 2 * Math.fround(x)));
  expect(binding.getNumOfTensors()).toBe(before);
});

/** Root mean square of the differences from the product in float64. */
function errorOf(product: tf.Tensor, a: tf.Tensor, b: tf.Tensor): number {
  const [m, k, n] = [a.shape[0]!, a.shape[1]!, b.shape[0]!];
  const [x, y] = [a.dataSync(), b.dataSync()];
  const squares = (product.dataSync() as Float32Array).map((value, i) => {
    const [row, column] = [Math.floor(i / n) * k, (i % n) * k];
    let truth = 0;
    for (let j = 0; j < k; j++) truth += x[row + j]! * y[column + j]!;
    return (value - truth) ** 2;
  });
  return Math.sqrt(squares.reduce((sum, square) => sum + square, 0) / (m * n));
}

test.each([
  ['a depth that is a multiple of eight', 16, 512],
  ['a depth that is not', 13, 507],
])('split-bfloat16 products are as close to the float64 product as float32 ones: %s', (_, rows, depth) => {
  tf.tidy(() => {
    const [a, b] = [
      tf.randomNormal([rows, depth], 0, 1, 'float32', 1),
      tf.randomNormal([20, depth], 0, 1, 'float32', 2),
    ];
    const [x, y] = [a as tf.Tensor2D, b as tf.Tensor2D];
    const split = tensorflowMatMul(x, y, false, true);
    expect(errorOf(split, a, b)).toBeLessThan(errorOf(tf.matMul(x, y, false, true), a, b));
    split.dispose();
  });
});

test('in split-bfloat16 products NaN and infinity make NaN of the values that depend on them, and of no other', () => {
  tf.tidy(() => {
    const rows = Array.from({ length: 9 }, () => new Array<number>(33).fill(1));
    [rows[3]![0], rows[5]![32]] = [Number.NaN, Number.NEGATIVE_INFINITY];
    const product = tensorflowMatMul(tf.tensor2d(rows), tf.ones([33, 10]));
    const expected = rows.map((_, i) => (i === 3 || i === 5 ? Number.NaN : 33));
    expect(product.arraySync()).toEqual(expected.map((value) => new Array(10).fill(value)));
    product.dispose();
  });
});

test('the output of RMSNorm is kept for the backward pass', () => {
  const [x, w] = [tf.ones([3, 4]), parameter('w', tf.zeros([4]))];
  const { output, saved, discard } = nativeKernels().rmsNorm(x, w, 1e-6);
  expect(discard).toBeUndefined();
  program.run();
  for (const value of [x, w, output, ...saved]) value.dispose();
});

describe('stored values in GPU memory', () => {
  const store = nativeStore() as NativeStore;

  test('are copied in and out in pieces', () => {
    const values = Float32Array.from({ length: 9_000_000 }, (_, i) => i % 251); // more than fit in the staging memory
    withArena(4 * values.length, (id) => {
      store.set(id, 0, values, 'F32');
      expect(
        Buffer.compare(Buffer.from(store.get(id, 0, values.length, 'F32').buffer), Buffer.from(values.buffer)),
      ).toBe(0);
      const folder = mkdtempSync(join(tmpdir(), 'wpo-gpu-store-'));
      const path = join(folder, 'values');
      writeFileSync(path, '');
      store.write(id, 4, path, 1, values.length - 1, 'F32', 'BF16');
      store.read(id, 0, path, 1, values.length - 1, 'BF16', 'BF16');
      rmSync(folder, { recursive: true });
      expect(Array.from(store.get(id, 2 * 8_999_990, 3, 'BF16'))).toEqual([
        values[8_999_991],
        values[8_999_992],
        values[8_999_993],
      ]);
    });
    expect(store.bytes()).toEqual({ allocated: 0, mapped: 0, pinned: 0 });
    expect(store.map).toBeUndefined();
  });

  test('of a step are kept for the next one: no memory is allocated or freed then', () => {
    const { gradient } = nativeTier.kernels().storage!;
    const calls = (['allocate', 'allocateForStep', 'free'] as const).map((name) => vi.spyOn(nativeStore()!, name));
    const before = store.bytes().allocated;
    const shapes = [[7, 1013], [7091], [3, 331]];
    for (let step = 0; step < 3; step++) {
      const sums = shapes.map(gradient);
      for (const sum of sums) expect([sum.version, sum.read(0, 1)[0]]).toEqual([0, step === 0 ? Number.NaN : 5]);
      for (const sum of sums) sum.write(0, Float32Array.of(5));
      expect(store.bytes().allocated).toBe(before + 4 * (2 * 7091 + 993));
      for (const sum of sums) sum.dispose();
    }
    expect(calls.map(({ mock }) => mock.calls.length)).toEqual([0, 3, 0]);
    vi.restoreAllMocks();
  });

  /** Expects the results of the same values in float32. Products may be cut into other pieces. */
  const expectSame = (name: string, inputs: tf.Tensor[], narrow: number[], ...shapes: number[][]) =>
    tf.tidy(() => {
      const values = inputs.map((x, i) => (narrow.includes(i) ? roundToBf16(x) : x));
      const expected = runStored(name, values, [], ...shapes);
      for (const [i, y] of runStored(name, values, narrow, ...shapes).entries()) {
        expect(tf.max(tf.abs(tf.sub(y, expected[i]!))).dataSync()[0]).toBeLessThan(1e-5);
      }
    });
  const random = (...shape: number[]) => tf.randomUniform(shape, -1, 1);

  test.each([
    [40, 30, 20],
    [13, 17, 9],
    [2, 50, 60],
    [1, 33, 7],
    [2, 16, 6], // few rows: their parts are rows of one product
  ])('as bfloat16 operands of products give the values of float32: %i x %i x %i', (m, k, n) => {
    for (const narrow of [[0], [1], [0, 1]]) {
      expectSame('WpoProduct', [random(m, k), random(k, n)], narrow, [m, n]);
      expectSame('WpoProductNT', [random(m, k), random(n, k)], narrow, [m, n]);
      expectSame('WpoProductTN', [random(k, m), random(k, n)], narrow, [m, n]);
      expectSame('WpoProductTT', [random(k, m), random(n, k)], narrow, [m, n]);
    }
    expectSame('WpoGatedProduct', [random(m, k), random(m, k), random(n, k)], [2], [m, n]);
    expectSame('WpoLinearRows', [random(m, k), random(n, k)], [1], [m, n]);
    expectSame(
      'WpoLinearRowsToHeads',
      [random(m, k), random(n, k), tf.tensor1d(float32Bits([1]), 'int32')],
      [1],
      [1, n, m],
    );
    expectSame('WpoLinearRowsFromHeads', [random(1, k, m), random(n, k)], [1], [m, n]);
  });

  test('as bfloat16 weights of RMSNorm and of rows by index give the values of float32', () => {
    const params = (...values: number[]) => tf.tensor1d(float32Bits(values), 'int32');
    const x = random(5, 30);
    expectSame('WpoRmsNorm', [x, random(30), params(1e-6, 0), x], [1], [5, 30], [5, 1]);
    expectSame('WpoRmsNormGrad', [x, x, random(5, 1), random(30)], [3], [5, 30], [30]);
    expectSame('WpoScaledRows', [random(7, 30), tf.tensor1d([6, 0, 6], 'int32'), params(3)], [0], [3, 30]);
  });
});

test.each([
  ['', [5, 9], [9, 4]],
  ['NT', [5, 9], [4, 9]],
  ['TN', [9, 5], [9, 4]],
  ['TT', [9, 5], [4, 9]],
] as const)('a product%s is added to a tensor in place', (form, a, b) => {
  tf.tidy(() => {
    const [x, y, into] = [tf.randomUniform([...a]), tf.randomUniform([...b]), tf.ones([5, 4])];
    run(`WpoAddProduct${form}`, [into, x, y], 1);
    const product = tf.add(tf.matMul(x as tf.Tensor2D, y as tf.Tensor2D, form[0] === 'T', form[1] === 'T'), 1);
    expect(tf.max(tf.abs(tf.sub(into, product))).dataSync()[0]).toBeLessThan(1e-5);
  });
});

describe('an optimizer with its state in memory of the CPU', () => {
  const rules = { adamW, adamW8bit, lion };
  const shapes = [[7, 700], [5000], [3], [4096]];
  const values = (shape: readonly number[], seed: number) => tf.randomNormal([...shape], 0, 1, 'float32', 1 + seed); // 0 is no seed

  /** Six steps, the last three after a restart, some of them in parts of parameters: the weights and states at the end. */
  async function train(rule: keyof typeof rules, held: 'float32' | 'exact', makeKernel: () => OptimizerKernel) {
    const kernels = nativeTier.kernels();
    const initial = (shape: readonly number[], seed: number) => {
      if (held === 'float32') return values(shape, seed);
      const split = SplitVariable.splitZeros(shape, program);
      split.write(
        0,
        tf.tidy(() => values(shape, seed).dataSync() as Float32Array),
      );
      return split;
    };
    const parameters = shapes.map((shape, i) => parameter(`p${i}`, initial(shape, i), { kernels, decay: i % 2 === 0 }));
    let optimizer = rules[rule]({ kernel: makeKernel(), weightDecay: 0.1 });
    for (let step = 0; step < 6; step++) {
      if (step === 3) {
        const state = optimizer.state();
        const read = [...state.tensors].map(async (saved) => ({
          ...saved,
          read: copyOf((await saved.read(0, sizeOf(saved.shape))) as Float32Array),
        }));
        const tensors = await Promise.all(read);
        optimizer.dispose();
        optimizer = rules[rule]({ kernel: makeKernel(), weightDecay: 0.1 });
        await optimizer.load({ step: state.step, tensors }, parameters);
      }
      for (const [i, p] of parameters.entries()) p.assignGradient(values(p.shape, 10 * step + i));
      const input = { parameters, learningRate: 0.01, gradientScale: 0.5 };
      if (step % 2 === 0) await optimizer.step(input);
      else {
        const update = optimizer.beginStep(input);
        await update(parameters.slice(2));
        await update(parameters.slice(0, 2));
      }
    }
    const weights = await Promise.all(parameters.map(async (p) => [...((await p.value().data()) as Float32Array)]));
    const states = [...optimizer.state().tensors].map(async ({ name, shape, read }) => [
      name,
      [...(await read(0, sizeOf(shape)))],
    ]);
    const result = { weights, states: await Promise.all(states) };
    optimizer.dispose();
    for (const p of parameters) p.dispose();
    return result;
  }
  const sizeOf = (shape: readonly number[]) => shape.reduce((size, n) => size * n, 1);
  const copyOf = (values: Float32Array | Uint8Array) => async (start: number, count: number) =>
    values.subarray(start, start + count);

  test.each(Object.keys(rules) as (keyof typeof rules)[])(
    'updates as one with its state on the GPU, bit for bit: %s',
    async (rule) => {
      const before = storedBytes();
      for (const held of ['float32', 'exact'] as const) {
        const resident = await train(rule, held, () => nativeOptimizer);
        for (const part of [256, 1024, 1 << 24]) {
          expect(await train(rule, held, () => offloadedOptimizer({ part }))).toEqual(resident);
        }
      }
      expect(storedBytes()).toEqual(before);
    },
  );

  test('takes memory of the GPU for two parts', async () => {
    const before = storedBytes();
    const kernels = nativeTier.kernels();
    const p = parameter('p', values([10_000], 1), { kernels });
    const optimizer = adamW({ kernel: offloadedOptimizer({ part: 1024 }) });
    p.assignGradient(values([10_000], 2));
    optimizer.step({ parameters: [p], learningRate: 0.01, gradientScale: 1 });
    const { allocated, pinned } = storedBytes();
    expect(pinned! - before.pinned!).toBe(4 * 2 * 10_000);
    expect(allocated - before.allocated).toBe(4 * (2 * 10_000 + 2 * 2 * 1024)); // value, gradient, and two parts of two moments
    optimizer.dispose();
    p.dispose();
    expect(storedBytes()).toEqual(before);
  });

  test('is refused where an update needs more than a part of a parameter', () => {
    const p = parameter('p', values([4, 5], 1), { kernels: nativeTier.kernels() });
    p.assignGradient(values([4, 5], 2));
    const optimizer = adafactor({ kernel: offloadedOptimizer() });
    expect(() => optimizer.step({ parameters: [p], learningRate: 0.01, gradientScale: 1 })).toThrow(
      'Adafactor: its state cannot be in memory of the CPU: expected one of AdamW, AdamW8bit, Lion, SGD.',
    );
    optimizer.dispose();
    p.dispose();
  });
});

describe('gradients in memory of the CPU', () => testOffload());

describe('sharding', () => testSharding(() => nativeOptimizer, [{ optim: 'AdamW', held: 'exact' }]));

describe('sharding, with the state in memory of the CPU', () =>
  testSharding(
    () => offloadedOptimizer({ part: 1024 }),
    [
      { optim: 'AdamW', held: 'float32' },
      { optim: 'AdamW with 8-bit moments', held: 'exact' },
    ],
  ));

describe('inputs of layers in memory of the CPU', () => testOffloadedActivations());

test('pinned memory is refused where an operation computes, and other memory where it is copied', () => {
  const pinned = StoredVariable.pinnedZeros([8], 'float32', program);
  const onGpu = StoredVariable.zeros([8], 'float32', program);
  expect(() => program.squareSums([pinned])).toThrow('expected x: N * float|bfloat16 as input 0 in memory of the GPU');
  const copy = (into: StoredVariable, from: StoredVariable) => {
    program.recordInPlace('WpoCopyToPinned', [into, from]);
    program.run();
  };
  expect(() => copy(onGpu, onGpu)).toThrow(
    'WpoCopyToPinned: expected pinned: float|bfloat16|int16|uint8 as input 0 in memory of the CPU',
  );
  expect(() => copy(pinned, StoredVariable.zeros([7], 'float32', program))).toThrow(
    'expected values of one type and number, found 8',
  );
  pinned.dispose();
  onGpu.dispose();
});

describe('GPU operations, on an emulated GPU', () => {
  testKernels(nativeTier);
  describe('with products of bfloat16', () => testActivations(nativeBf16Tier));
  describe('weights that are trained in bfloat16', () => testMasterWeights(nativeTier));
  testPolicy(nativeTier);
  testGeneration(nativeTier);
  testPrograms(nativeTier);
  testInputChecks();
});
