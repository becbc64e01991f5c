import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { checkLogps } from '../src/index';
import { matrix } from './tensors';

it('passes log-probs, rounding above 0 and −∞', () => {
  checkLogps(tf.tensor1d([-1, 0, 5e-4, Number.NEGATIVE_INFINITY]));
  checkLogps(matrix([[-1, -0.5]]));
});

it('names the first NaN by its place', () => {
  expect(() => checkLogps(tf.tensor1d([-1, Number.NaN]), { name: 'chosenLogps' })).toThrow(
    'checkLogps: chosenLogps[1] is NaN, but a log-probability is a number of at most 0.',
  );
  expect(() =>
    checkLogps(
      matrix([
        [-1, -2, -3],
        [-1, -2, Number.NaN],
      ]),
    ),
  ).toThrow('checkLogps: logps[1, 2] is NaN');
});

it('refuses positive log-probs, and guesses why', () => {
  expect(() => checkLogps(tf.tensor1d([2.5]))).toThrow(
    'checkLogps: logps[0] is 2.5, but a log-probability is a number of at most 0. Take log_softmax of the logits first',
  );
  expect(() => checkLogps(tf.tensor1d([Number.POSITIVE_INFINITY]))).toThrow('logps[0] is Infinity');
});

it('looks at answer tokens alone where there is a mask', () => {
  const logps = matrix([
    [-1, Number.NaN],
    [-1, 9],
  ]);
  checkLogps(logps, { mask: tf.tensor2d([1, 0, 1, 0], [2, 2], 'bool') });
  expect(() =>
    checkLogps(logps, {
      mask: matrix([
        [1, 0],
        [1, 1],
      ]),
    }),
  ).toThrow('logps[1, 1] is 9');
});

it('refuses an answer of no tokens', () => {
  const mask = matrix([
    [1, 0],
    [0, 0],
  ]);
  expect(() =>
    checkLogps(
      matrix([
        [-1, -1],
        [-1, -1],
      ]),
      { name: 'rejected', mask },
    ),
  ).toThrow('checkLogps: rejected[1] has no tokens: its mask is 0 throughout. Leave this pair out.');
  expect(() => checkLogps(tf.ones([1, 2]), { mask: tf.ones([2, 2]) })).toThrow('the mask of logps has shape [2,2]');
});
