import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { checkLogps } from '../src/index';
import { matrix } from './tensors';

it('accepts log-probs, rounding above 0 and −∞', () => {
  checkLogps(tf.tensor1d([-1, 0, 5e-4, Number.NEGATIVE_INFINITY]));
  checkLogps(matrix([[-1, -0.5]]));
});

it('names the indices of the first NaN', () => {
  expect(() => checkLogps(tf.tensor1d([-1, Number.NaN]), { name: 'chosenLogps' })).toThrow(
    'checkLogps: chosenLogps[1]: expected a log-probability, at most 0, found NaN. Check the logits for NaN and infinity.',
  );
  expect(() =>
    checkLogps(
      matrix([
        [-1, -2, -3],
        [-1, -2, Number.NaN],
      ]),
    ),
  ).toThrow('checkLogps: logps[1, 2]: expected a log-probability, at most 0, found NaN.');
});

it('rejects positive log-probs with a hint', () => {
  expect(() => checkLogps(tf.tensor1d([2.5]))).toThrow(
    'checkLogps: logps[0]: expected a log-probability, at most 0, found 2.5. Apply log_softmax to the logits first.',
  );
  expect(() => checkLogps(tf.tensor1d([Number.POSITIVE_INFINITY]))).toThrow(
    'logps[0]: expected a log-probability, at most 0, found Infinity.',
  );
});

it('reads only answer tokens where there is a mask', () => {
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
  ).toThrow('logps[1, 1]: expected a log-probability, at most 0, found 9.');
});

it('rejects an answer without tokens', () => {
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
  ).toThrow('checkLogps: rejected[1]: expected at least one token, found a mask of zeros. Remove this pair.');
  expect(() => checkLogps(tf.ones([1, 2]), { mask: tf.ones([2, 2]) })).toThrow(
    'mask of logps: expected shape [1,2], found [2,2].',
  );
});
