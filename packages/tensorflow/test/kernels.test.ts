import * as tf from '@tensorflow/tfjs-core';
import { type Kernels, type OpResult, parameter } from '@wpo/gemma';
import {
  nativeOperations,
  tensorflowGradientNorm,
  tensorflowKernels,
  tensorflowOptimizer,
} from '@wpo/tensorflow/kernels';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { hasOperation } from '../src/kernels/native';
import { normal, property, size, testActivations, testKernels, values } from './kernel-properties';
import { testMasterWeights } from './master-weights-properties';
import { BF16_ISAS, ISAS, limitIsa, nativeBf16Tier, nativeTier } from './tiers';

test('the native kernels are used: the tests run on a machine with a compiler and without a GPU', () => {
  expect(nativeOperations()).toBe(true);
  expect(tensorflowOptimizer()).toBe(nativeTier.optimizer);
  expect(tensorflowGradientNorm()).toBe(nativeTier.norm);
  const updates = [
    'WpoAdamW',
    'WpoAdamW8bit',
    'WpoAdamWMean8bit',
    'WpoLion',
    'WpoSgd',
    'WpoAdafactor',
    'WpoAdafactorVector',
  ];
  expect(updates.filter((name) => !hasOperation(name))).toEqual([]);
  expect(tensorflowKernels().rope).toBe(nativeTier.kernels().rope);
});

describe.each(ISAS)('native kernels limited to %s give the values and gradients of the portable kernels', (isa) => {
  limitIsa(isa);
  testKernels(nativeTier);
});

describe.each(BF16_ISAS)('products of bfloat16 limited to %s are those of the portable kernels', (isa) => {
  limitIsa(isa);
  testActivations(nativeBf16Tier);
});

describe('weights that are trained in bfloat16', () => testMasterWeights(nativeTier));

test('a small product gives a row the same bits, whatever other rows there are', () => {
  property(fc.record({ rows: fc.integer({ min: 2, max: 16 }), width: size(70), out: size(40) }), (shape, seed) => {
    const { rows, width, out } = shape;
    const kernels = tensorflowKernels();
    const w = parameter('w', normal([out, width], seed), { kernels });
    const x = normal([rows, width], seed + 1);
    const together = values(kernels.linear(x, w).output);
    for (let row = 0; row < rows; row++) {
      const alone = values(kernels.linear(tf.slice(x, [row, 0], [1, width]), w).output);
      expect(together.subarray(row * out, (row + 1) * out)).toEqual(alone);
    }
  });
});

const geglu =
  ({ gegluLinear }: Kernels) =>
  (gate: tf.Tensor, up: tf.Tensor) =>
    gegluLinear(gate, up, parameter('w', tf.ones([1, gate.shape[1]!])));

describe('native kernels', () => {
  test('pass NaN on', async () => {
    const kernels = nativeTier.kernels();
    const { rmsNorm, answerLogps } = kernels;
    const x = tf.tensor2d([[Number.NaN, 1, 2, 3]]);
    expect(values(geglu(kernels)(x, tf.ones([1, 4])).output)[0]).toBeNaN();
    expect(values(rmsNorm(x, parameter('w', tf.zeros([4])), 1e-6).output)[1]).toBeNaN();
    const head = await answerLogps(
      tf.tensor2d([[Number.NaN]]),
      parameter('e', tf.ones([20, 1])),
      Int32Array.of(0),
      30,
      false,
    );
    expect(values(head.logps)[0]).toBeNaN();
  });

  test('refuse sizes that do not match', async () => {
    const kernels = nativeTier.kernels();
    const { linear, rmsNorm, answerLogps } = kernels;
    const refused = (operation: () => OpResult) => expect(() => values(operation().output));
    refused(() => geglu(kernels)(tf.ones([2, 3]), tf.ones([2, 4]))).toThrow(
      'WpoGeglu: expected gate and up of one size, found [2, 3] and [2, 4]',
    );
    refused(() => rmsNorm(tf.ones([2, 3]), parameter('w', tf.zeros([4])), 1e-6)).toThrow(
      "WpoRmsNorm: expected a weight of x's width 3, found [4]",
    );
    refused(() => linear(tf.ones([2, 3]), parameter('w', tf.zeros([4, 5])))).toThrow(
      'WpoLinearRows: expected x and w of one width, found 3 and 5',
    );
    const table = parameter('e', tf.ones([20, 1]));
    await expect(answerLogps(tf.ones([1, 1]), table, Int32Array.of(20), 30, false)).rejects.toThrow(
      'WpoAnswerTerms: target 0: expected an index from 0 to 19, found 20',
    );
  });
});
