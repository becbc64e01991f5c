import { fc, test } from '@fast-check/vitest';
import { expect, it } from 'vitest';
import { distribution, NumberList } from '../src/numbers';

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

test.prop([fc.array(fc.double({ noNaN: true }), { maxLength: 600 })])('NumberList keeps its numbers', (values) => {
  const numbers = new NumberList();
  for (const value of values) numbers.add(value);
  expect(numbers.length).toBe(values.length);
  expect([...numbers.view()]).toEqual(values);
  expect(values.map((_, i) => numbers.at(i))).toEqual(values);
});
