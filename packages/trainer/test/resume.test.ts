import * as tf from '@tensorflow/tfjs';
import { expect, test } from 'vitest';
import { loadWeights } from '../src';
import { spread, toyPolicy } from './toy-policy';

const policy = () => toyPolicy(2, spread(4), spread(2));
const weights = (shapes: Record<string, number[]>) =>
  Object.entries(shapes).map(([name, shape]) => ({ name, tensor: tf.ones(shape) }));

test('weights are put in by name, whatever their order, and take the old ones’ place', async () => {
  const toy = policy();
  const before = tf.memory().numTensors;
  await loadWeights(toy, weights({ bias: [2], 'table.weight': [2, 2] }));
  expect(toy.values()).toEqual({ 'table.weight': [1, 1, 1, 1], bias: [1, 1] });
  expect(tf.memory().numTensors).toBe(before);
});

test.each([
  [{ bias: [2] }, 'the weights lack 1 of the model’s parameters: table.weight'],
  [{ bias: [2], head: [2] }, 'the weights hold "head" of shape [2], which the model has no parameter for'],
  [{ bias: [3] }, 'the weights hold "bias" of shape [3], and the model wants [2]'],
])('%j is refused', async (shapes, message) => {
  const load = loadWeights(policy(), weights(shapes as Record<string, number[]>));
  await expect(load).rejects.toThrow(message.replace('’', "'"));
});
