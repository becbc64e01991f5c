import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { type PairLoss, type Policy, runMicroBatch, wpoPairLoss } from '@wpo/trainer';
import { afterEach, expect, test, vi } from 'vitest';

afterEach(() => vi.restoreAllMocks());

const terms = (values: number[]) => ({
  logps: tf.tensor1d(values),
  logSumSquares: tf.tensor1d(values),
  logMax: tf.tensor1d(values.map(() => 0)),
});

/** A pass whose log-probs are given, and what came back to it. */
function fixedPolicy() {
  const gradients: number[][] = [];
  const policy: Policy = {
    parameters: [],
    forward() {
      const pair = { chosen: terms([-1, -2]), rejected: terms([-3]) };
      return {
        pairs: [pair],
        backward: ([gradient]) => {
          for (const side of [gradient!.chosen, gradient!.rejected]) gradients.push(Array.from(side.dataSync()));
        },
        dispose: () => tf.dispose([{ ...pair.chosen }, { ...pair.rejected }]),
      };
    },
  };
  return { policy, gradients };
}

const batch = {
  pairs: [{ id: 'a', prompt: [1], chosen: [2, 3], rejected: [4] }],
  references: [{ chosen: -3, rejected: -3 }],
};

test('a loss is computed beside TensorFlow, and its gradient goes back to it', async () => {
  const said = vi.spyOn(console, 'warn').mockImplementation(() => {});
  const { policy, gradients } = fixedPolicy();
  const inner = wpoPairLoss({ beta: 0.1 });
  const backends: string[] = [];
  const loss: PairLoss = (input) => {
    backends.push(tf.getBackend());
    return inner(input);
  };
  const before = tf.memory().numTensors;
  const [result] = await runMicroBatch({ policy, batch, loss, lossScale: 1 });
  expect(backends).toEqual(['cpu']);
  expect(tf.getBackend()).toBe('tensorflow');
  expect(tf.memory().numTensors).toBe(before);
  // equal to the reference: log 2 times the weight, and −w β / 2 a token of the chosen answer
  expect(result!.loss).toBeCloseTo(result!.weight * Math.LN2, 6);
  const slope = (result!.weight * 0.1) / 2;
  gradients.flat().forEach((value, i) => expect(value).toBeCloseTo([-slope, -slope, slope][i]!, 6));
  expect(said).not.toHaveBeenCalled();
});

test('a loss that throws leaves TensorFlow in its place', async () => {
  const loss: PairLoss = () => {
    throw new Error('no loss');
  };
  await expect(runMicroBatch({ policy: fixedPolicy().policy, batch, loss, lossScale: 1 })).rejects.toThrow('no loss');
  expect(tf.getBackend()).toBe('tensorflow');
});
