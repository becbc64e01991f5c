import { fc, test as property } from '@fast-check/vitest';
import { expect, test } from 'vitest';
import { editDistance, nearest } from '../src/nearest';

test.each([
  ['kitten', 'sitting', 3],
  ['', 'beta', 4],
  ['beta', 'beta', 0],
  ['baet', 'beta', 2],
  ['bate', 'beta', 2],
  ['btea', 'beta', 1], // two neighbours swapped
])('the distance from %j to %j is %i', (a, b, distance) => {
  expect(editDistance(a, b)).toBe(distance);
});

test('the nearest name is that of the fewest changes, the first of several', () => {
  expect(nearest('learning_rte', ['beta', 'learning_rate', 'lr_scheduler_type'])).toBe('learning_rate');
  expect(nearest('c', ['a', 'b'])).toBe('a');
});

property.prop([fc.string({ maxLength: 12 }), fc.string({ maxLength: 12 })])(
  'the distance is symmetric, 0 for equal texts only, and at most the longer text',
  (a, b) => {
    const distance = editDistance(a, b);
    expect(distance).toBe(editDistance(b, a));
    expect(distance === 0).toBe(a === b);
    expect(distance).toBeLessThanOrEqual(Math.max(a.length, b.length));
  },
);
