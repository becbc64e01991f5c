import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { lossMetrics, readLossMetrics, wpoLoss } from '../src/index';

it('averages rewards, margins and weights over pairs by TRL’s names, blocking or not', async () => {
  const result = wpoLoss(
    {
      chosenLogps: tf.tensor1d([-1, -4, -2, -2]),
      rejectedLogps: tf.tensor1d([-3, -1, -2, -5]),
      refChosenLogps: tf.tensor1d([-2, -2, -2, -4]),
      refRejectedLogps: tf.tensor1d([-2, -2, -2, -3]),
      weights: tf.tensor1d([1, 0.5, 0.25, 0.25]),
    },
    { beta: 0.5 },
  );
  // chosen rewards 0.5, -1, 0, 1; rejected -0.5, 0.5, 0, -1; margins 1, -1.5, 0, 2: two of four are right, one is a tie
  expect(await readLossMetrics(result)).toEqual(lossMetrics(result));
  expect(lossMetrics(result)).toEqual({
    'rewards/chosen': 0.125,
    'rewards/rejected': -0.25,
    'rewards/accuracies': 0.5,
    'rewards/margins': 0.375,
    'wpo/weight': 0.5,
    'wpo/weight_min': 0.25,
    'wpo/weight_max': 1,
  });
});

it('allocates no tensor and disposes none', () => {
  const one = tf.tensor1d([1]);
  const before = tf.memory().numTensors;
  lossMetrics({ chosenRewards: one, rejectedRewards: one, margins: one, weights: one });
  expect(tf.memory().numTensors).toBe(before);
  expect(one.isDisposed).toBe(false);
});
