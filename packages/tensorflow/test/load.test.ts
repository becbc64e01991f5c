import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';

it('sets the native backend for whoever imports tfjs-core', () => {
  expect(tf.getBackend()).toBe('tensorflow');
});

it('multiplies matrices and reads the result', () => {
  const product = tf.matMul(
    [
      [1, 2],
      [3, 4],
    ],
    [
      [5, 6],
      [7, 8],
    ],
  );
  expect([...product.dataSync()]).toEqual([19, 22, 43, 50]);
});

it('reads what topk picks, whose kernel calls a function that Node 23 removed', () => {
  const { values, indices } = tf.topk(tf.tensor1d([3, 9, 4]), 2);
  expect([...values.dataSync()]).toEqual([9, 4]);
  expect([...indices.dataSync()]).toEqual([1, 2]);
});

it('has gradients registered', () => {
  const gradient = tf.grad((x: tf.Tensor) => tf.sum(tf.mul(tf.tanh(x), x)))(tf.tensor1d([0, 1]));
  // d/dx x tanh(x) = tanh(x) + x (1 - tanh(x)^2)
  const t = Math.tanh(1);
  expect([...gradient.dataSync()]).toEqual([0, expect.closeTo(t + 1 - t * t, 6)]);
});
