import * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import { adamW, type NamedTensor } from '../src';
import golden from './fixtures/adamw.json';
import { spread, toyParameter } from './toy-policy';

const values = (tensor: tf.Tensor) => [...tensor.dataSync()];
const f32 = (numbers: readonly number[]) => [...Float32Array.from(numbers)];

/** float32 results that differ by rounding alone: by at most 4 units in the last place of the larger. */
function expectClose(found: readonly number[], wanted: readonly number[]): void {
  for (const [i, value] of wanted.entries()) {
    expect(Math.abs(found[i]! - value)).toBeLessThanOrEqual(4 * 2 ** -23 * Math.max(Math.abs(value), 1e-6));
  }
}

const collect = (state: { tensors: Iterable<NamedTensor> }) =>
  [...state.tensors].map(({ name, tensor }) => ({ name, tensor: tensor.clone() }));

test('five steps give the values and moments of torch.optim.AdamW, with decay on the one parameter that wants it', () => {
  const parameters = golden.initial.map((initial, i) =>
    toyParameter(`p${i}`, i === 0, tf.tensor(initial, golden.shapes[i]!)),
  );
  const optimizer = adamW({ weightDecay: golden.weight_decay });
  for (const [i, wanted] of golden.steps.entries()) {
    for (const [j, parameter] of parameters.entries()) {
      parameter.assignGradient(tf.tensor(wanted.gradients[j]!, golden.shapes[j]!));
    }
    optimizer.step({ parameters, learningRate: golden.rates[i]!, gradientScale: 1 });
    const state = Object.fromEntries(collect(optimizer.state()).map(({ name, tensor }) => [name, values(tensor)]));
    for (const [j, parameter] of parameters.entries()) {
      expectClose(values(parameter.value()), wanted.values[j]!);
      expectClose(state[`p${j}.exp_avg`]!, wanted.exp_avg[j]!);
      expectClose(state[`p${j}.exp_avg_sq`]!, wanted.exp_avg_sq[j]!);
    }
  }
  expect(optimizer.state().step).toBe(5);
});

test('the first step moves each value by the rate against its gradient’s sign', () => {
  const parameter = toyParameter('p', false, tf.tensor1d([1, 1, 1]));
  parameter.assignGradient(tf.tensor1d([3, -0.02, 0]));
  adamW().step({ parameters: [parameter], learningRate: 0.5, gradientScale: 1 });
  // m̂/(√v̂ + ε) = g/(|g| + ε)
  expectClose(values(parameter.value()), f32([1 - 0.5 / (1 + 1e-8 / 3), 1 + 0.5 / (1 + 1e-8 / 0.02), 1]));
});

test('a gradient scale is the same as gradients that were scaled', () => {
  const run = (gradient: number, gradientScale: number) => {
    const parameter = toyParameter('p', true, tf.tensor1d([1, -2]));
    parameter.assignGradient(tf.tensor1d([gradient, -gradient]));
    adamW({ weightDecay: 0.1 }).step({ parameters: [parameter], learningRate: 0.1, gradientScale });
    return values(parameter.value());
  };
  expect(run(8, 0.25)).toEqual(run(2, 1));
});

test('a parameter without a gradient is left alone, decay included', () => {
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

  test('an optimizer that was given another’s state goes on as that one would, bit for bit', async () => {
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

  test('loading frees the moments it replaces, and disposing the rest', async () => {
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
    [['p.exp_avg'], 'lacks "p.exp_avg_sq"'],
    [['p.exp_avg', 'p.exp_avg_sq', 'p.momentum'], '"p.momentum" is no AdamW state'],
  ])('%j is refused, and nothing of it kept', async (names, message) => {
    const optimizer = adamW();
    const before = tf.memory().numTensors;
    const tensors = names.map((name) => ({ name, tensor: tf.zeros([4]) }));
    await expect(optimizer.load({ step: 1, tensors })).rejects.toThrow(message);
    expect(tf.memory().numTensors).toBe(before);
  });

  test('moments of another shape are refused at the next step', async () => {
    const parameter = toyParameter('p', true, tf.tensor1d(spread(4)));
    const optimizer = adamW();
    const tensors = ['p.exp_avg', 'p.exp_avg_sq'].map((name) => ({ name, tensor: tf.zeros([5]) }));
    await optimizer.load({ step: 1, tensors });
    expect(() => step(optimizer, parameter, 1)).toThrow('state of "p" has shape [5] and the parameter [4]');
  });
});

test.each([
  [{ beta1: 1 }, 'beta1 must be at least 0 and below 1, found 1'],
  [{ beta2: -0.1 }, 'beta2 must be'],
  [{ epsilon: Number.NaN }, 'epsilon must be'],
  [{ weightDecay: -1 }, 'weightDecay must be'],
])('%j is refused', (options, message) => {
  expect(() => adamW(options)).toThrow(message);
});
