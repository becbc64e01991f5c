import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { stopGradient } from '../src/index';
import { values } from './tensors';

it('stopGradient(x) is constant: x · stopGradient(x) has the gradient x', () => {
  const x = tf.tensor1d([3, -2]);
  expect(values(tf.grad((x) => tf.mul(x, stopGradient(x)))(x))).toEqual([3, -2]);
  expect(values(tf.grad((x) => stopGradient(x))(x))).toEqual([0, 0]);
});

it('stopGradient returns a new tensor, so that either may be disposed', () => {
  const x = tf.tensor1d([3, -2]);
  const stopped = stopGradient(x);
  x.dispose();
  expect(values(stopped)).toEqual([3, -2]);
});
