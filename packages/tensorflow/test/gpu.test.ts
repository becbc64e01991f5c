import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { tensorflowMatMul } from '../src/kernels/answer-logps';
import { testGeneration, testPrograms } from './generate-properties';
import { loadGpuAddon, useEmulatedGpu } from './gpu/addons';
import { testInputChecks } from './input-checks';
import { testKernels } from './kernel-properties';
import { testPolicy } from './policy-properties';
import { nativeTier } from './tiers';

useEmulatedGpu();

test('the GPU addon builds, and loads where there is no GPU', () => {
  const { operations, missing } = loadGpuAddon();
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

describe('GPU operations, on an emulated GPU', () => {
  testKernels(nativeTier);
  testPolicy(nativeTier);
  testGeneration(nativeTier);
  testPrograms(nativeTier);
  testInputChecks();
});
