import * as tf from '@tensorflow/tfjs';
import { expect, test } from 'vitest';
import { loadWeights } from '../src';
import { spread, toyPolicy } from './toy-policy';

const policy = () => toyPolicy(2, spread(4), spread(2));
const weights = (shapes: Record<string, number[]>) =>
  Object.entries(shapes).map(([name, shape]) => ({
    name,
    shape,
    type: 'F32' as const,
    read: async (_: number, count: number) => new Float32Array(count).fill(1),
  }));

test('weights are assigned by name in any order, and the old ones are disposed', async () => {
  const toy = policy();
  const before = tf.memory().numTensors;
  await loadWeights(toy, weights({ bias: [2], 'table.weight': [2, 2] }));
  expect(toy.values()).toEqual({ 'table.weight': [1, 1, 1, 1], bias: [1, 1] });
  expect(tf.memory().numTensors).toBe(before);
});

test('codes of 8 bits are refused as weights', async () => {
  const [bias] = weights({ bias: [2] });
  await expect(loadWeights(policy(), [{ ...bias!, type: 'U8' }])).rejects.toThrow(
    'weights: "bias": expected type F32 or BF16, found U8',
  );
});

test.each([
  [{ bias: [2] }, 'weights: expected all parameters of the model, but 1 are missing: table.weight'],
  [{ bias: [2], head: [2] }, 'weights: expected each parameter of the model once, found "head" of shape [2]'],
  [{ bias: [3] }, 'weights: "bias": expected shape [2], found [3]'],
])('%j is refused', async (shapes, message) => {
  const load = loadWeights(policy(), weights(shapes as Record<string, number[]>));
  await expect(load).rejects.toThrow(message);
});
