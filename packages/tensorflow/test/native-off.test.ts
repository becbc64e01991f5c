import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { portableKernels } from '@wpo/gemma';
import { nativeOperations, tensorflowAdamW, tensorflowGradientNorm, tensorflowKernels } from '@wpo/tensorflow/kernels';
import { gradientNorm } from '@wpo/trainer';
import { expect, test, vi } from 'vitest';
import { nativeKernels } from '../src/kernels/kernels';

// Vitest runs each test file in its own process, and the variable is read at the first call of `nativeOperations`.
vi.hoisted(() => {
  process.env.WPO_NATIVE = '0';
});

test('WPO_NATIVE=0 does not load the native kernels and selects the portable ones', () => {
  expect(nativeOperations()).toBe(false);
  expect(tensorflowKernels()).toBe(portableKernels);
  expect(tensorflowAdamW()).toBeUndefined();
  expect(tensorflowGradientNorm()).toBe(gradientNorm);
  expect(() => nativeKernels().add(tf.ones([1]), tf.ones([1]))).toThrow('There is no native operation WpoAdd');
});
