import * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import { adamW, type NamedTensor } from '../src';
import golden from './fixtures/adamw.json';
import { spread, toyParameter } from './toy-policy';

const values = (tensor: tf.Tensor) => [...tensor.dataSync()];
const f32 = (numbers: readonly number[]) => [...Float32Array.from(numbers)];

/** float32 results that differ by rounding alone: by at most 4 units in the last place of the larger. */
function expectClose(found: readonly number[], expected: readonly number[]): void {
  for (const [i, value] of expected.entries()) {
    expect(Math.abs(found[i]! - value)).toBeLessThanOrEqual(4 * 2 ** -23 * Math.max(Math.abs(value), 1e-6));
  }
}

const collect = (state: { tensors: Iterable<NamedTensor> }) =>
  [...state.tensors].map(({ name, tensor }) => ({ name, tensor: tensor.clone() }));

test('five steps give the values and moments of torch.optim.AdamW, with decay on one parameter only', () => {
  const parameters = golden.initial.map((initial, i) =>
    toyParameter(`p${i}`, i === 0, tf.tensor(initial, golden.shapes[i]!)),
  );
  const optimizer = adamW({ weightDecay: golden.weight_decay });
  for (const [i, expected] of golden.steps.entries()) {
    for (const [j, parameter] of parameters.entries()) {
      parameter.assignGradient(tf.tensor(expected.gradients[j]!, golden.shapes[j]!));
    }
    optimizer.step({ parameters, learningRate: golden.rates[i]!, gradientScale: 1 });
    const state = Object.fromEntries(collect(optimizer.state()).map(({ name, tensor }) => [name, values(tensor)]));
    for (const [j, parameter] of parameters.entries()) {
      expectClose(values(parameter.value()), expected.values[j]!);
      expectClose(state[`p${j}.exp_avg`]!, expected.exp_avg[j]!);
      expectClose(state[`p${j}.exp_avg_sq`]!, expected.exp_avg_sq[j]!);
    }
  }
  expect(optimizer.state().step).toBe(5);
});

test('the first step moves each value by the learning rate against the sign of its gradient', () => {
  const parameter = toyParameter('p', false, tf.tensor1d([1, 1, 1]));
  parameter.assignGradient(tf.tensor1d([3, -0.02, 0]));
  adamW().step({ parameters: [parameter], learningRate: 0.5, gradientScale: 1 });
  // m̂/(√v̂ + ε) = g/(|g| + ε)
  expectClose(values(parameter.value()), f32([1 - 0.5 / (1 + 1e-8 / 3), 1 + 0.5 / (1 + 1e-8 / 0.02), 1]));
});

test('gradientScale gives the same result as scaled gradients', () => {
  const run = (gradient: number, gradientScale: number) => {
    const parameter = toyParameter('p', true, tf.tensor1d([1, -2]));
    parameter.assignGradient(tf.tensor1d([gradient, -gradient]));
    adamW({ weightDecay: 0.1 }).step({ parameters: [parameter], learningRate: 0.1, gradientScale });
    return values(parameter.value());
  };
  expect(run(8, 0.25)).toEqual(run(2, 1));
});

test('a parameter without a gradient does not change and does not decay', () => {
  const still = toyParameter('still', true, tf.tensor1d([1, 2]));
  const optimizer = adamW({ weightDecay: 0.5 });
  optimizer.step({ parameters: [still], learningRate: 0.1, gradientScale: 1 });
  expect(values(still.value())).toEqual([1, 2]);
  expect([...optimizer.state().tensors]).toEqual([]);
});

describe('state', () => {
  const step = (optimizer: ReturnType<typeof adamW>, parameter: ReturnType<typeof toyParameter>, seed: number) => {
    parameter.assignGradient(tf.tensor1d(spread(4, seed)));
    optimizer.step({ parameters: [parameter], learningRate: 0.01, gradientScale: 1 });
  };

  test('an optimizer with the loaded state of another continues like it, bit for bit', async () => {
    const one = toyParameter('p', true, tf.tensor1d(spread(4)));
    const first = adamW({ weightDecay: 0.1 });
    for (const seed of [1, 2, 3]) step(first, one, seed);

    const other = toyParameter('p', true, one.value().clone());
    const second = adamW({ weightDecay: 0.1 });
    await second.load({ step: first.state().step, tensors: collect(first.state()) });
    for (const seed of [4, 5]) {
      step(first, one, seed);
      step(second, other, seed);
    }
    expect(values(other.value())).toEqual(values(one.value()));
  });

  test('load disposes the old moments, and dispose the current ones', async () => {
    const parameter = toyParameter('p', true, tf.tensor1d(spread(4)));
    const optimizer = adamW();
    step(optimizer, parameter, 1);
    const before = tf.memory().numTensors;
    await optimizer.load({ step: 1, tensors: collect(optimizer.state()) });
    expect(tf.memory().numTensors).toBe(before);
    optimizer.dispose();
    expect(tf.memory().numTensors).toBe(before - 2);
  });

  test.each([
    [['p.exp_avg'], 'expected "p.exp_avg_sq", found none'],
    [['p.exp_avg', 'p.exp_avg_sq', 'p.momentum'], 'found "p.momentum"'],
  ])('%j is rejected, and its tensors are disposed', async (names, message) => {
    const optimizer = adamW();
    const before = tf.memory().numTensors;
    const tensors = names.map((name) => ({ name, tensor: tf.zeros([4]) }));
    await expect(optimizer.load({ step: 1, tensors })).rejects.toThrow(message);
    expect(tf.memory().numTensors).toBe(before);
  });

  test('moments of another shape are rejected at the next step', async () => {
    const parameter = toyParameter('p', true, tf.tensor1d(spread(4)));
    const optimizer = adamW();
    const tensors = ['p.exp_avg', 'p.exp_avg_sq'].map((name) => ({ name, tensor: tf.zeros([5]) }));
    await optimizer.load({ step: 1, tensors });
    expect(() => step(optimizer, parameter, 1)).toThrow('state of "p": expected shape [4], found [5]');
  });
});

test.each([
  [{ beta1: 1 }, 'adamW: beta1: expected a number from 0 to below 1, found 1.'],
  [{ beta2: -0.1 }, 'beta2: expected'],
  [{ epsilon: Number.NaN }, 'epsilon: expected'],
  [{ weightDecay: -1 }, 'weightDecay: expected'],
])('%j is rejected', (options, message) => {
  expect(() => adamW(options)).toThrow(message);
});
