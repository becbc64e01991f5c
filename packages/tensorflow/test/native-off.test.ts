import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { portableKernels } from '@wpo/gemma';
import {
  nativeOperations,
  storedBytes,
  tensorflowGradientNorm,
  tensorflowKernels,
  tensorflowOptimizer,
  weightStorage,
} from '@wpo/tensorflow/kernels';
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
  expect(tensorflowOptimizer()).toBeUndefined();
  expect(tensorflowGradientNorm()).toBe(gradientNorm);
  expect(() => nativeKernels().add(tf.ones([1]), tf.ones([1]))).toThrow('There is no native operation WpoAdd');
});

test('weights are then tensors, and no values are rounded to bfloat16', async () => {
  const location = { path: 'a', file: -1, fileSize: 16, offset: 8, shape: [2] };
  const source = (dtype: string) => ({
    where: 'models/a',
    names: () => ['w'],
    info: () => ({ shape: [2] }),
    read: async () => Float32Array.of(1, 2),
    locate: () => ({ ...location, dtype }),
  });
  for (const dtype of ['auto', 'bfloat16'] as const) {
    const { loadTensor, bytesOf } = weightStorage({ dtype });
    const tensor = await loadTensor(source('BF16'), 'w');
    expect(tensor).toBeInstanceOf(tf.Tensor);
    tensor.dispose();
    expect(bytesOf({ ...location, dtype: 'BF16' })).toEqual({ allocated: 8, mapped: 0 });
  }
  expect(storedBytes()).toEqual({ allocated: 0, mapped: 0 });
  await expect(weightStorage({ dtype: 'bfloat16' }).loadTensor(source('F32'), 'w')).rejects.toThrow(
    'models/a: tensor "w": expected BF16, found F32: without native operations on this device no values are rounded to bfloat16.',
  );
});
