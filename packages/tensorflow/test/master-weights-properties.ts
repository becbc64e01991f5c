import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { parameter } from '@wpo/gemma';
import { lion, type OptimizerKernel, portableOptimizer, sgd } from '@wpo/trainer';
import { expect, test } from 'vitest';
import { program } from '../src/kernels/program';
import { SplitVariable, StoredVariable } from '../src/kernels/store';
import { normal } from './kernel-properties';
import { optimizers } from './optimizers';
import type { Tier } from './tiers';

const bitsOf = (values: Float32Array) => new Uint32Array(values.buffer, values.byteOffset, values.length);
const expectBits = (found: Float32Array, expected: Float32Array, what = '') =>
  expect(
    Buffer.compare(Buffer.from(bitsOf(found).slice().buffer), Buffer.from(bitsOf(expected).slice().buffer)),
    what,
  ).toBe(0);

/** Every upper half of a float32 with some lower halves, the ties among them: all exponents, infinities, NaN and subnormals. */
const patterns = (() => {
  const lows = [0, 1, 0x1234, 0x7fff, 0x8000, 0x8001, 0xfedc, 0xffff];
  const values = new Float32Array(65536 * lows.length);
  for (let high = 0; high < 65536; high++) {
    lows.forEach((low, i) => {
      bitsOf(values)[high * lows.length + i] = high * 65536 + low;
    });
  }
  return values;
})();

/** The nearest bfloat16, ties away from zero: by arithmetic on the patterns' numbers. */
function nearest(bits: number): number {
  const [high, low] = [Math.floor(bits / 65536), bits % 65536];
  return ((low >= 0x8000 ? high + 1 : high) % 65536) * 65536;
}

const isNan = (bits: number) => bits % 2 ** 31 > 0x7f800000;

function splitOf(values: Float32Array, shape: readonly number[] = [values.length]): SplitVariable {
  const split = SplitVariable.splitZeros(shape, program);
  split.write(0, values);
  return split;
}

function bf16Of(values: Float32Array, shape: readonly number[] = [values.length]): StoredVariable<'bfloat16'> {
  const stored = StoredVariable.zeros(shape, 'bfloat16', program);
  stored.write(0, values);
  return stored;
}

/** Tests of weights that are trained in bfloat16. */
export function testMasterWeights(tier: Tier): void {
  const kernels = tier.kernels();

  test('a float32 value in two halves is exact, and operations read the nearest bfloat16', () => {
    const split = splitOf(patterns);
    const [joined, high] = [bitsOf(split.read()), bitsOf(split.clone().read() as Float32Array)];
    const expected = bitsOf(patterns);
    let wrong = 0;
    for (let i = 0; i < expected.length; i++) {
      const bits = expected[i]!;
      if (isNan(bits)) wrong += Number(!isNan(joined[i]!) || !isNan(high[i]!));
      else wrong += Number(joined[i] !== bits || high[i] !== nearest(bits));
    }
    expect(wrong).toBe(0);
    split.dispose();
  });

  test('an update that changes no value keeps all halves', async () => {
    const run = async (value: SplitVariable | StoredVariable) => {
      const weight = parameter('w', value, { kernels });
      weight.assignGradient(tf.ones([patterns.length]));
      await lion({ kernel: tier.optimizer }).step({ parameters: [weight], learningRate: 0, gradientScale: 1 });
      weight.zeroGradient();
      return weight;
    };
    const split = await run(splitOf(patterns));
    const float32 = StoredVariable.zeros([patterns.length], 'float32', program);
    float32.write(0, patterns);
    const [found, expected] = [split.value() as SplitVariable, (await run(float32)).value() as StoredVariable];
    const [joined, bits] = [bitsOf(found.read()), bitsOf(expected.read())];
    let wrong = 0;
    for (let i = 0; i < bits.length; i++) wrong += Number(isNan(bits[i]!) ? !isNan(joined[i]!) : joined[i] !== bits[i]);
    expect(wrong).toBe(0);
    found.dispose();
    expected.dispose();
  });

  test.each([
    [1e-40, true],
    [1e19, true],
    [Infinity, false],
    [Number.NaN, false],
  ])('values with %d among them: all are finite, %s', (value, expected) => {
    const split = splitOf(Float32Array.from({ length: 9000 }, (_, i) => (i === 8191 ? value : i / 9000)));
    expect(split.areFinite()).toBe(expected);
    split.dispose();
  });

  const shapes = { a: [130, 33], embedding: [67, 99], vector: [5000], cube: [3, 20, 30], empty: [0, 3] };

  test.each(Object.entries(optimizers))(
    '%s of values in two halves gives the bits of float32',
    async (_, optimizerOf) => {
      const run = async (make: (values: Float32Array, shape: number[]) => StoredVariable | tf.Tensor) => {
        const optimizer = optimizerOf({ weightDecay: 0.1, kernel: tier.optimizer });
        const weights = Object.entries(shapes).map(([name, shape], i) =>
          parameter(name, make(normal(shape, i).dataSync() as Float32Array, shape), {
            kernels,
            decay: name !== 'vector',
          }),
        );
        for (let step = 0; step < 4; step++) {
          weights.forEach((w, i) => w.assignGradient(normal([...w.shape], 10 * step + i)));
          await optimizer.step({ parameters: weights, learningRate: 1e-2, gradientScale: 0.7 });
          for (const w of weights) w.zeroGradient();
        }
        const state = await Promise.all(
          [...optimizer.state().tensors].map(({ shape, read }) => read(0, tf.util.sizeFromShape([...shape]))),
        );
        const values = weights.map((w) => (w.value() as StoredVariable).read());
        optimizer.dispose();
        for (const w of weights) w.dispose();
        return { values, state };
      };
      const found = await run(splitOf);
      const expected = await run((values, shape) => tf.tensor(values, shape));
      found.values.forEach((values, i) => expectBits(values, expected.values[i]!, Object.keys(shapes)[i]));
      expect(found.state).toEqual(expected.state);
    },
  );

  /** A step of SGD whose product and sum are exact, from `start` to `start` − `gradient` / 1024. */
  async function sgdStep(kernel: OptimizerKernel, start: Float32Array, gradient: Float32Array, seed: number, step = 1) {
    const weight = parameter('w', bf16Of(start), { kernels });
    const optimizer = sgd({ kernel, roundingSeed: seed });
    await optimizer.load({ step: step - 1, tensors: [] }, [weight]);
    weight.assignGradient(tf.tensor1d(gradient));
    await optimizer.step({ parameters: [weight], learningRate: 2 ** -10, gradientScale: 1 });
    const values = (weight.value() as StoredVariable).read();
    weight.dispose();
    return values;
  }

  test('stochastic rounding has the bits of the portable update', async () => {
    const size = 20_000;
    const start = normalValues(size, 3).map((x) => Math.fround(x));
    const gradient = normalValues(size, 4).map((x) => Math.round(x * 64) / 64);
    const found = await sgdStep(tier.optimizer, start, gradient, 7, 3);
    expectBits(found, await sgdStep(portableOptimizer, start, gradient, 7, 3));
    for (const other of [
      await sgdStep(tier.optimizer, start, gradient, 8, 3),
      await sgdStep(tier.optimizer, start, gradient, 7, 4),
    ]) {
      expect(found.filter((value, i) => value !== other[i]).length).toBeGreaterThan(size / 20);
    }
  });

  test.each([0, 0.03125, 0.25, 0.5, 0.84375])(
    'of values at %f of the way to the next bfloat16, as many are rounded up',
    async (share) => {
      const size = 100_000;
      const spacing = 2 ** -7; // of bfloat16 from 1 to 2
      const values = await sgdStep(
        tier.optimizer,
        new Float32Array(size).fill(1.5),
        new Float32Array(size).fill(-share * spacing * 1024),
        5,
      );
      const up = values.filter((value) => value === 1.5 + spacing).length;
      expect(values.filter((value) => value === 1.5).length).toBe(size - up);
      expect(Math.abs(up - share * size)).toBeLessThanOrEqual(4 * Math.sqrt(share * (1 - share) * size));
    },
  );

  test('the mean over many steps follows float32, where rounding to the nearest would never move', async () => {
    const size = 1000;
    const weight = parameter('w', bf16Of(new Float32Array(size).fill(1)), { kernels });
    const optimizer = sgd({ kernel: tier.optimizer });
    for (let step = 0; step < 200; step++) {
      weight.assignGradient(tf.ones([size])); // 1/8 of a spacing below 1 at a learning rate of 2⁻¹¹
      await optimizer.step({ parameters: [weight], learningRate: 2 ** -11, gradientScale: 1 });
      weight.zeroGradient();
    }
    const values = (weight.value() as StoredVariable).read();
    const mean = values.reduce((sum, value) => sum + value, 0) / size;
    expect(Math.abs(mean - (1 - 200 * 2 ** -11))).toBeLessThan(0.002);
    weight.dispose();
  });
}

const normalValues = (size: number, seed: number) => normal([size], seed).dataSync() as Float32Array;
