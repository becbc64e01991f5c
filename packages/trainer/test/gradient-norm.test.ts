import { fc, test as property } from '@fast-check/vitest';
import * as tf from '@tensorflow/tfjs';
import { expect, test } from 'vitest';
import { clipScale, gradientNorm } from '../src';
import { toyParameter } from './toy-policy';

function withGradient(values: ArrayLike<number> | null) {
  const parameter = toyParameter('p', true, tf.zeros([1]));
  if (values) parameter.assignGradient(tf.tensor1d(Float32Array.from(values)));
  return parameter;
}

test('the norm covers all gradients as one vector, and a missing gradient counts as zeros', async () => {
  expect(await gradientNorm([withGradient([3, 4]), withGradient(null), withGradient([12])])).toBe(13);
  expect(await gradientNorm([withGradient(null)])).toBe(0);
});

test('a gradient of more than 2^24 values is summed completely', async () => {
  const values = new Float32Array(2 ** 24 + 3);
  values[0] = 3;
  values[2 ** 24 + 2] = 4;
  expect(await gradientNorm([withGradient(values)])).toBe(5);
});

test('a NaN or an infinity in any gradient makes the norm NaN or infinite', async () => {
  expect(await gradientNorm([withGradient([1, Number.NaN]), withGradient([2])])).toBeNaN();
  expect(await gradientNorm([withGradient([1]), withGradient([Number.NEGATIVE_INFINITY])])).toBe(
    Number.POSITIVE_INFINITY,
  );
});

test.each([
  [4, 1, 1 / 4.000001],
  [1, 1, 1 / 1.000001], // torch's epsilon scales a norm of exactly the maximum too
  [0.5, 1, 1],
  [0, 1, 1],
  [123, 0, 1],
  [123, Number.POSITIVE_INFINITY, 1],
])('a norm of %d under a maximum of %d is scaled by %d', (norm, maximum, scale) => {
  expect(clipScale(norm, maximum)).toBe(scale);
});

property.prop([fc.double({ min: 0, max: 1e30, noNaN: true }), fc.double({ min: 1e-6, max: 1e6, noNaN: true })])(
  'a clipped norm never exceeds the maximum, and a norm below it is not clipped',
  (norm, maximum) => {
    const scale = clipScale(norm, maximum);
    expect(scale * norm).toBeLessThanOrEqual(maximum * (1 + 2 ** -50));
    if (norm + 1e-6 <= maximum) expect(scale).toBe(1);
  },
);

test('a maximum below 0 is rejected', () => {
  expect(() => clipScale(1, -1)).toThrow('maxGradNorm: expected a number of at least 0, found -1');
});
