import * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import { adafactor, adamW, lion, type Optimizer, type RuleOptions, type SavedTensor, sgd } from '../src';
import golden from './fixtures/optimizers.json';
import { readState, saved, spread, toyParameter } from './toy-policy';

const OPTIMIZERS: Record<keyof typeof golden.optimizers, (options?: RuleOptions) => Optimizer> = {
  adamW,
  lion,
  adafactor,
  sgd,
};
const names = Object.keys(OPTIMIZERS) as (keyof typeof OPTIMIZERS)[];

const values = (tensor: tf.Tensor) => [...tensor.dataSync()];
const f32 = (numbers: readonly number[]) => [...Float32Array.from(numbers)];

/** float32 results that differ by rounding alone: by at most 4 units in the last place of the larger. */
function expectClose(found: ArrayLike<number>, expected: readonly number[]): void {
  expect(found).toHaveLength(expected.length);
  for (const [i, value] of expected.entries()) {
    expect(Math.abs(found[i]! - value)).toBeLessThanOrEqual(4 * 2 ** -23 * Math.max(Math.abs(value), 1e-6));
  }
}

/** A copy of an optimizer's state. */
async function copyState(optimizer: Optimizer): Promise<SavedTensor[]> {
  const values = await readState(optimizer);
  return [...optimizer.state().tensors].map(({ name, shape }) => saved(name, shape, Float32Array.from(values[name]!)));
}

test.each(names)(
  '%s: five steps give the values and states of the reference, with decay on a matrix only',
  async (name) => {
    const parameters = golden.initial.map((initial, i) =>
      toyParameter(`p${i}`, i === 0, tf.tensor(initial, golden.shapes[i]!)),
    );
    const optimizer = OPTIMIZERS[name]({ weightDecay: golden.weight_decay });
    for (const [i, expected] of golden.optimizers[name].entries()) {
      for (const [j, parameter] of parameters.entries()) {
        parameter.assignGradient(tf.tensor(golden.gradients[i]![j]!, golden.shapes[j]!));
      }
      optimizer.step({ parameters, learningRate: golden.rates[i]!, gradientScale: 1 });
      const found = await readState(optimizer);
      const states = expected.states.flatMap((state, j) =>
        Object.entries(state).map(([name, value]) => [`p${j}.${name}`, value] as [string, number[]]),
      );
      expect(Object.keys(found).sort()).toEqual(states.map(([name]) => name).sort());
      for (const [name, value] of states) expectClose(found[name]!, value);
      for (const [j, parameter] of parameters.entries()) expectClose(values(parameter.value()), expected.values[j]!);
    }
    expect(optimizer.state().step).toBe(5);
  },
);

test('the first step moves each value by the learning rate against the sign of its gradient', () => {
  const parameter = toyParameter('p', false, tf.tensor1d([1, 1, 1]));
  parameter.assignGradient(tf.tensor1d([3, -0.02, 0]));
  adamW().step({ parameters: [parameter], learningRate: 0.5, gradientScale: 1 });
  // m̂/(√v̂ + ε) = g/(|g| + ε)
  expectClose(values(parameter.value()), f32([1 - 0.5 / (1 + 1e-8 / 3), 1 + 0.5 / (1 + 1e-8 / 0.02), 1]));
});

test.each(names)('%s: gradientScale gives the same result as scaled gradients', (name) => {
  const run = (gradient: number, gradientScale: number) => {
    const parameter = toyParameter('p', true, tf.tensor1d([1, -2]));
    parameter.assignGradient(tf.tensor1d([gradient, -gradient]));
    OPTIMIZERS[name]({ weightDecay: 0.1 }).step({ parameters: [parameter], learningRate: 0.1, gradientScale });
    return values(parameter.value());
  };
  expect(run(8, 0.25)).toEqual(run(2, 1));
});

test.each(names)('%s: a parameter without a gradient does not change and does not decay', (name) => {
  const still = toyParameter('still', true, tf.tensor1d([1, 2]));
  const optimizer = OPTIMIZERS[name]({ weightDecay: 0.5 });
  optimizer.step({ parameters: [still], learningRate: 0.1, gradientScale: 1 });
  expect(values(still.value())).toEqual([1, 2]);
  expect([...optimizer.state().tensors]).toEqual([]);
});

describe('state', () => {
  const step = (optimizer: Optimizer, parameter: ReturnType<typeof toyParameter>, seed: number) => {
    parameter.assignGradient(tf.tensor(spread(6, seed), parameter.shape as number[]));
    optimizer.step({ parameters: [parameter], learningRate: 0.01, gradientScale: 1 });
  };
  const matrix = (name = 'p') => toyParameter(name, true, tf.tensor2d(spread(6), [2, 3]));

  test.each(names)('%s with the loaded state of another continues like it, bit for bit', async (name) => {
    const one = matrix();
    const first = OPTIMIZERS[name]({ weightDecay: 0.1 });
    for (const seed of [1, 2, 3]) step(first, one, seed);

    const other = toyParameter('p', true, one.value().clone());
    const second = OPTIMIZERS[name]({ weightDecay: 0.1 });
    await second.load({ step: first.state().step, tensors: (await copyState(first)).reverse() }, [other]);
    for (const seed of [4, 5]) {
      step(first, one, seed);
      step(second, other, seed);
    }
    expect(values(other.value())).toEqual(values(one.value()));
    expect(Object.entries(await readState(second))).toEqual(Object.entries(await readState(first)));
  });

  test.each(names)(
    '%s: a step leaves no other tensor; load disposes the old state, and dispose the current',
    async (name) => {
      const parameter = matrix();
      const optimizer = OPTIMIZERS[name]();
      step(optimizer, parameter, 1);
      const before = tf.memory().numTensors;
      step(optimizer, parameter, 2);
      expect(tf.memory().numTensors).toBe(before);
      await optimizer.load({ step: 1, tensors: await copyState(optimizer) }, [parameter]);
      expect(tf.memory().numTensors).toBe(before);
      const held = [...optimizer.state().tensors].length;
      optimizer.dispose();
      expect(tf.memory().numTensors).toBe(before - held);
    },
  );

  test('a state is saved in the order of the parameters, also after a resume', async () => {
    const parameters = ['a', 'b', 'c'].map((name, i) => toyParameter(name, i === 2, tf.tensor1d([1, 2])));
    const [first, second] = [adamW(), adamW()];
    for (const parameter of parameters) parameter.assignGradient(tf.tensor1d([1, 1]));
    first.step({ parameters, learningRate: 0.1, gradientScale: 1 });
    await second.load({ step: 1, tensors: (await copyState(first)).reverse() }, parameters);
    const order = ['a', 'b', 'c'].flatMap((name) => [`${name}.exp_avg`, `${name}.exp_avg_sq`]);
    for (const optimizer of [first, second]) {
      expect([...optimizer.state().tensors].map(({ name }) => name)).toEqual(order);
    }
  });

  const shapes: Record<string, number[]> = { 'p.exp_avg_sq_row': [2], 'p.exp_avg_sq_col': [3], 'p.exp_avg_sq': [2, 3] };
  test.each<[keyof typeof OPTIMIZERS, string[], string]>([
    [
      'adamW',
      ['p.exp_avg'],
      'state of AdamW: expected "p.exp_avg_sq", found none. Resume with the model and the optimizer that',
    ],
    [
      'adamW',
      ['p.exp_avg', 'p.exp_avg_sq', 'p.momentum'],
      'expected tensors like "p.exp_avg", each once, found "p.momentum"',
    ],
    ['adamW', ['p.exp_avg', 'p.exp_avg'], 'each once, found "p.exp_avg"'],
    ['adamW', ['q.exp_avg'], 'found "q.exp_avg"'],
    ['adamW', ['p.exp_avg_sq_row'], 'found "p.exp_avg_sq_row"'],
    [
      'lion',
      ['p.exp_avg', 'p.exp_avg_sq'],
      'state of Lion: expected tensors like "p.exp_avg", each once, found "p.exp_avg_sq"',
    ],
    ['adafactor', ['p.exp_avg_sq'], 'state of Adafactor: expected tensors like "p.exp_avg_sq_row"'],
    ['adafactor', ['p.exp_avg_sq_col'], 'expected "p.exp_avg_sq_row", found none'],
    ['sgd', ['p.exp_avg'], 'state of SGD: expected no tensors, found "p.exp_avg"'],
  ])('%s refuses %j, and disposes the tensors', async (name, tensorNames, message) => {
    const optimizer = OPTIMIZERS[name]();
    const parameter = matrix();
    const before = tf.memory().numTensors;
    const tensors = tensorNames.map((name) => saved(name, shapes[name] ?? [2, 3], new Float32Array(6)));
    await expect(optimizer.load({ step: 1, tensors }, [parameter])).rejects.toThrow(message);
    expect(tf.memory().numTensors).toBe(before);
  });

  test('a state of another shape is refused', async () => {
    const tensors = ['p.exp_avg', 'p.exp_avg_sq'].map((name) => saved(name, [5], new Float32Array(5)));
    await expect(adamW().load({ step: 1, tensors }, [matrix()])).rejects.toThrow(
      '"p.exp_avg": expected shape [2,3], found [5]. Resume with the model',
    );
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

test('options out of range are rejected by the other optimizers too', () => {
  expect(() => lion({ beta2: 1 })).toThrow('lion: beta2: expected a number from 0 to below 1, found 1.');
  expect(() => adafactor({ weightDecay: 2 })).toThrow('adafactor: weightDecay: expected');
  expect(() => sgd({ weightDecay: -1 })).toThrow('sgd: weightDecay: expected');
});
