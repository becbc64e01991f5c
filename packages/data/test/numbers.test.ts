import { fc, test } from '@fast-check/vitest';
import { expect, it } from 'vitest';
import { distribution, histogram, NumberList } from '../src/numbers';

it('percentiles are NumPy’s', () => {
  // numpy.percentile([7, 1, 3, 10], [5, 25, 50, 75, 90, 95, 99])
  const { percentiles, ...rest } = distribution(Float64Array.of(7, 1, 3, 10))!;
  expect(rest).toEqual({ count: 4, mean: 5.25, min: 1, max: 10 });
  const expected = { 5: 1.3, 25: 2.5, 50: 5, 75: 7.75, 90: 9.1, 95: 9.55, 99: 9.91 };
  for (const [percent, value] of Object.entries(expected)) {
    expect(percentiles[Number(percent) as keyof typeof percentiles]).toBeCloseTo(value, 12);
  }
});

it('the distribution of a single number is that number, and that of none is undefined', () => {
  expect(distribution(Float64Array.of(4))).toMatchObject({ mean: 4, min: 4, max: 4, percentiles: { 5: 4, 99: 4 } });
  expect(distribution(new Float64Array())).toBeUndefined();
});

it('a histogram has bins of whole width, and its outer bins hold outliers', () => {
  expect(histogram(new Float64Array())).toEqual([]);
  expect(histogram(Float64Array.of(-1, 2, 2))).toEqual([
    ...[-1, 0, 1].map((low, i) => ({ low, high: low + 1, count: i === 0 ? 1 : 0 })),
    { low: 2, high: 3, count: 2 },
  ]);
  const values = Float64Array.from({ length: 1000 }, (_, i) => (i === 0 ? -9000 : i === 999 ? 1e6 : i % 100));
  const bins = histogram(values);
  expect(bins).toHaveLength(25);
  expect(bins[0]).toEqual({ low: 0, high: 4, count: 40 });
  expect(bins.at(-1)).toEqual({ low: 96, high: 100, count: 40 });
});

test.prop([fc.array(fc.integer({ min: -500, max: 500 }), { minLength: 1 })])(
  'a histogram counts each number once',
  (all) => {
    const bins = histogram(Float64Array.from(all));
    expect(bins.length).toBeLessThanOrEqual(31);
    expect(bins.reduce((sum, { count }) => sum + count, 0)).toBe(all.length);
    expect(bins.slice(1).every(({ low }, i) => low === bins[i]!.high)).toBe(true);
  },
);

test.prop([fc.array(fc.double({ noNaN: true }), { maxLength: 600 })])('NumberList keeps its numbers', (values) => {
  const numbers = new NumberList();
  for (const value of values) numbers.add(value);
  expect(numbers.length).toBe(values.length);
  expect([...numbers.view()]).toEqual(values);
  expect(values.map((_, i) => numbers.at(i))).toEqual(values);
});
