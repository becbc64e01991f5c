import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { nativeOperations } from '@wpo/tensorflow/kernels';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { float32Bits, runProgram } from '../src/kernels/native';
import { Program } from '../src/kernels/program';
import { normal } from './kernel-properties';
import { roundToBf16, runIn } from './stored';
import { BF16_ISAS, limitIsa } from './tiers';

nativeOperations();

const params = (...values: number[]) => tf.tensor1d(float32Bits(values), 'int32');
const ints = (...values: number[]) => tf.tensor1d(values, 'int32');

/** An operation's inputs, and the shapes of its outputs: those that may be bfloat16 first. */
interface Example {
  readonly inputs: tf.Tensor[];
  readonly outputs: readonly (readonly number[])[];
  /** Outputs that are always float32. */
  readonly others?: readonly (readonly number[])[];
}
interface Sizes {
  readonly t: number;
  readonly h: number;
  readonly n: number;
}

/** Every operation that reads or writes bfloat16 activations. */
const EXAMPLES: Readonly<Record<string, (sizes: Sizes) => Example>> = {
  WpoProduct: ({ t, h, n }) => ({ inputs: [normal([t, h], 1), normal([h, n], 2)], outputs: [[t, n]] }),
  WpoProductNT: ({ t, h, n }) => ({ inputs: [normal([t, h], 1), normal([n, h], 2)], outputs: [[t, n]] }),
  WpoProductTN: ({ t, h, n }) => ({ inputs: [normal([h, t], 1), normal([h, n], 2)], outputs: [[t, n]] }),
  WpoProductTT: ({ t, h, n }) => ({ inputs: [normal([h, t], 1), normal([n, h], 2)], outputs: [[t, n]] }),
  WpoGatedProduct: ({ t, h, n }) => ({
    inputs: [normal([t, h], 1, 3), normal([t, h], 2), normal([n, h], 3)],
    outputs: [[t, n]],
  }),
  WpoGatedProductGrad: ({ t, h, n }) => ({
    inputs: [normal([t, n], 1), normal([t, h], 2, 3), normal([t, h], 3)],
    outputs: [],
    others: [[n, h]],
  }),
  WpoLinearRows: ({ t, h, n }) => ({ inputs: [normal([t, h], 1), normal([n, h], 2)], outputs: [[t, n]] }),
  WpoLinearRowsToHeads: ({ t, h, n }) => ({
    inputs: [normal([t, h], 1), normal([2 * n, h], 2), params(2)],
    outputs: [[2, n, t]],
  }),
  WpoLinearRowsFromHeads: ({ t, h, n }) => ({
    inputs: [normal([2, h, t], 1), normal([n, 2 * h], 2)],
    outputs: [[t, n]],
  }),
  WpoAttention: ({ t, h }) => ({
    inputs: [
      normal([4, h, t], 1),
      normal([2, h, t], 2),
      normal([2, h, t], 3),
      ints(0, t, 0, 20, 1, 0, t),
      params(0.3, 50),
    ],
    outputs: [[4, h, t]],
  }),
  WpoAttentionGrad: ({ t, h }) => ({
    inputs: [
      ...[normal([4, h, t], 4), normal([4, h, t], 1), normal([2, h, t], 2), normal([2, h, t], 3)],
      ...[ints(0, t, 0, 20, 1, 0, t), params(0.3, 50)],
    ],
    outputs: [],
    others: [
      [4, h, t],
      [2, h, t],
      [2, h, t],
    ],
  }),
  WpoRmsNorm: ({ t, h }) => ({
    inputs: [normal([t, h], 1), normal([h], 2), params(1e-2, 1), normal([t, h], 3)],
    outputs: [[t, h]],
    others: [[t, 1]],
  }),
  WpoRmsNormGrad: ({ t, h }) => ({
    inputs: [normal([t, h], 1), normal([t, h], 2), normal([t, 1], 3), normal([h], 4)],
    outputs: [[t, h]],
    others: [[h]],
  }),
  WpoRope: ({ t, h, n }) => ({
    inputs: [normal([n, 2 * h, t], 1), normal([2 * h, t], 2), normal([2 * h, t], 3), params(1)],
    outputs: [[n, 2 * h, t]],
  }),
  WpoGeglu: ({ t, h }) => ({ inputs: [normal([t, h], 1, 3), normal([t, h], 2)], outputs: [[t, h]] }),
  WpoGegluGrad: ({ t, h }) => ({
    inputs: [normal([t, h], 1), normal([t, h], 2, 3), normal([t, h], 3)],
    outputs: [
      [t, h],
      [t, h],
    ],
  }),
  WpoDropout: ({ t, h }) => ({
    inputs: [normal([t, h], 1), ints(...Array(t).keys()), params(0.5, 2, 0)],
    outputs: [[t, h]],
  }),
  WpoScaledRows: ({ t, h }) => ({ inputs: [normal([t, h], 1), ints(t - 1, 0), params(3)], outputs: [[2, h]] }),
};
/** Inputs that are always float32. */
const FLOAT32_INPUTS: Readonly<Record<string, readonly number[]>> = {
  WpoRmsNormGrad: [0, 2],
  WpoRope: [1, 2],
};

const largest = (x: tf.Tensor) => tf.max(tf.abs(x)).dataSync()[0]!;
const bits = (x: tf.Tensor) => Buffer.from((x.dataSync() as Float32Array).slice().buffer);

describe.each(BF16_ISAS)('operations limited to %s', (isa) => {
  limitIsa(isa);

  const size = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 90 }));
  test.each(Object.keys(EXAMPLES))('%s: bfloat16 values give the bits of the same float32 values, rounded', (name) => {
    const sizes = fc.record({ t: size, h: size, n: fc.integer({ min: 1, max: 40 }) });
    fc.assert(
      fc.property(sizes, fc.constantFrom('float32', 'bfloat16'), (sizes, precision) =>
        tf.tidy(() => {
          const { inputs, outputs, others = [] } = EXAMPLES[name]!(sizes);
          const computed = name.startsWith('WpoGated'); // a compiler may round GeGLU in one way or another, depending on the type
          const fixed = FLOAT32_INPUTS[name] ?? [];
          const narrow = [...inputs.keys()].filter((i) => inputs[i]!.dtype === 'float32' && !fixed.includes(i));
          const values = inputs.map((x, i) => (narrow.includes(i) ? roundToBf16(x) : x));
          const expected = runIn(precision, name, values, [], ...outputs, ...others);
          const narrowOutputs = outputs.map((bfloat16) => ({ bfloat16 }));
          const found = runIn(precision, name, values, narrow, ...narrowOutputs, ...others);
          for (const [i, y] of found.entries()) {
            const same = i < outputs.length ? roundToBf16(expected[i]!) : expected[i]!;
            const what = `output ${i} of ${JSON.stringify(sizes)}`;
            if (!computed) expect(Buffer.compare(bits(y), bits(same)), what).toBe(0);
            else expect(tf.max(tf.abs(tf.sub(y, same))).dataSync()[0], what).toBeLessThan(2 ** -7 * largest(same));
          }
        }),
      ),
      { numRuns: 12 },
    );
  });
});

describe('a program', () => {
  test('returns bfloat16 values as a tensor that another program reads, and widens them when they are asked for', () => {
    const program = new Program();
    const x = tf.tensor2d([1, 2 ** -9, -2.7, 4, 5.0001, 1e-3], [2, 3]);
    const { numTensors } = tf.memory();
    const rows = [{ ints: [1, 0] }, { numbers: [1] }];
    const [rounded] = program.record('WpoScaledRows', [x, ...rows], { bfloat16: [2, 3] });
    program.run();
    expect(rounded).toMatchObject({ shape: [2, 3], dtype: 'bfloat16' });
    const [back] = program.record('WpoScaledRows', [rounded!, ...rows], [2, 3]);
    const found = program.materialize(back!).dataSync();
    expect(Array.from(found)).toEqual(Array.from(roundToBf16(x).dataSync()));
    expect(program.materialize(rounded!)).toBe(program.materialize(rounded!));
    expect(Array.from(program.materialize(rounded!).dataSync().subarray(3))).toEqual(Array.from(found.subarray(0, 3)));
    back!.dispose();
    rounded!.dispose();
    expect(tf.memory().numTensors).toBeLessThanOrEqual(numTensors + 1);
    tf.dispose(x);
  });

  test('refuses a tensor of another size than its bfloat16 values, and bfloat16 where an operation has none', () => {
    const tensor = tf.zeros([3]);
    expect(() => runProgram([7, 1, 7], [tensor], 0)).toThrow(
      'expected a float32 tensor of 4 values with bfloat16 values of shape [7], found float32 of shape [3]',
    );
    expect(() => runIn('float32', 'WpoCapLogits', [tensor, params(3)], [], { bfloat16: [3] })).toThrow(
      'WpoCapLogits: expected logits: float as output 0, found bfloat16',
    );
    expect(() => runIn('float32', 'WpoGeglu', [tensor, tensor], [1], [3])).toThrow(
      'WpoGeglu: expected gate and up of one type, found float32 and bfloat16',
    );
    tensor.dispose();
  });
});
