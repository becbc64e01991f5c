import { fc, test as property } from '@fast-check/vitest';
import { expect, test } from 'vitest';
import { formatHistogram, histogram } from '../../src/terminal/format';

test('a value on a border counts in the bin above it, and the largest value in the last bin', () => {
  expect(histogram([0, 0.2, 0.25, 0.5, 0.9, 1])).toEqual({
    borders: [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1],
    counts: [1, 0, 2, 0, 0, 1, 0, 0, 0, 2],
  });
});

test.each([
  [
    'close to each other',
    [0.412, 0.413, 0.4159],
    [0.412, 0.4125, 0.413, 0.4135, 0.414, 0.4145, 0.415, 0.4155, 0.416],
    [1, 0, 1, 0, 0, 0, 0, 1],
  ],
  ['above 1', [0.5, 3, 4], [0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4], [1, 0, 0, 0, 0, 1, 1]],
  ['equal', [0.5, 0.5], [0.5, 0.5], [2]],
  [
    'of several powers of ten',
    [0.0012, 0.003, 0.4],
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5],
    [1, 1, 0, 0, 0, 0, 0, 1],
  ],
  ['0 and others', [0, 0.01, 1], [0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1], [1, 1, 0, 0, 0, 0, 1]],
] as const)('bins fit values %s', (_, values, borders, counts) => {
  expect(histogram(values)).toEqual({ borders, counts });
});

test('NaN, infinite and negative weights are errors', () => {
  expect(() => histogram([0.5, Number.NaN])).toThrow('found NaN');
});

property.prop([
  fc.array(fc.oneof(fc.double({ min: 0, max: 2, noNaN: true }), fc.double({ min: 0.4, max: 0.41, noNaN: true })), {
    minLength: 1,
  }),
])('every value is counted once, in a bin that holds it', (values) => {
  const { borders, counts } = histogram(values);
  expect(counts.length).toBeLessThanOrEqual(15);
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(values.length);
  for (const [i, count] of counts.entries()) {
    const slack = 1e-12;
    const inside = values.filter((x) => x >= borders[i]! - slack && x <= borders[i + 1]! + slack);
    expect(inside.length).toBeGreaterThanOrEqual(count);
  }
});

test('the largest bar is 40 wide, others are in proportion, and a single pair is still visible', () => {
  const lines = formatHistogram({ borders: [0, 0.25, 0.5, 0.75, 1], counts: [1, 0, 400, 200] }).split('\n');
  expect(lines).toEqual([
    '  0–0.25    1  ▏',
    '0.25–0.5    0',
    `0.5–0.75  400  ${'█'.repeat(40)}`,
    `  0.75–1  200  ${'█'.repeat(20)}`,
  ]);
});
