import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { testGeneration, testOnePass } from './generate-properties';
import { loadGpuAddon, useEmulatedGpu } from './gpu/addons';
import { testKernels } from './kernel-properties';
import { testPolicy } from './policy-properties';
import { tiers } from './tiers';

useEmulatedGpu();

test('what is installed for GPUs is built, and loads where there is none', () => {
  const { operations, lack } = loadGpuAddon();
  expect(operations).toContain('WpoAttendSpansGrad');
  expect(lack).toMatch(/^(|lib(cuda|nvrtc|cublas)\.so\.\d+ cannot be loaded: .*)$/);
});

test('floats come to the GPU among the work to the last bit, and leave nothing behind', () => {
  const { binding } = tf.backend() as unknown as { binding: { getNumOfTensors(): number } };
  const before = binding.getNumOfTensors();
  const values = [0.1, -0, Number.NaN, Number.POSITIVE_INFINITY, 1e-30];
  const doubled = tf.tidy(() => tf.mul(tf.tensor2d(values, [1, 5]), tf.scalar(2)).dataSync());
  expect(doubled).toEqual(Float32Array.from(values, (x) => 2 * Math.fround(x)));
  expect(binding.getNumOfTensors()).toBe(before);
});

describe('operations for GPUs, on one that the processor plays', () => {
  testKernels(tiers.fused);
  testPolicy(tiers.fused);
  testGeneration(tiers.fused);
  testOnePass(tiers.fused);
});
