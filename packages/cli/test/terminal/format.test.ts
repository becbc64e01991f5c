import { fc, test as property } from '@fast-check/vitest';
import { expect, test } from 'vitest';
import { formatHistogram, histogram } from '../../src/terminal/format';

test('a value on a border counts in the bin above it, and 1 in the last bin', () => {
  expect(histogram([0, 0.25, 0.5, 0.74, 0.75, 1], 4)).toEqual({
    borders: [0, 0.25, 0.5, 0.75, 1],
    counts: [1, 1, 2, 2],
  });
});

test('bins extend to the largest value if weights are not clamped', () => {
  expect(histogram([0.5, 3, 4], 2)).toEqual({ borders: [0, 2, 4], counts: [1, 2] });
});

test('NaN, infinite and negative weights are errors', () => {
  expect(() => histogram([0.5, Number.NaN])).toThrow('found NaN');
});

property.prop([fc.array(fc.double({ min: 0, max: 2, noNaN: true })), fc.integer({ min: 1, max: 20 })])(
  'every value is counted once, in a bin that holds it',
  (values, bins) => {
    const { borders, counts } = histogram(values, bins);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(values.length);
    for (const [i, count] of counts.entries()) {
      const slack = 1e-12;
      const inside = values.filter((x) => x >= borders[i]! - slack && x <= borders[i + 1]! + slack);
      expect(inside.length).toBeGreaterThanOrEqual(count);
    }
  },
);

test('the largest bar is 40 wide, others are in proportion, and a single pair is still visible', () => {
  const lines = formatHistogram({ borders: [0, 0.25, 0.5, 0.75, 1], counts: [1, 0, 400, 200] }).split('\n');
  expect(lines).toEqual([
    '0.00–0.25    1  ▏',
    '0.25–0.50    0',
    `0.50–0.75  400  ${'█'.repeat(40)}`,
    `0.75–1.00  200  ${'█'.repeat(20)}`,
  ]);
});
