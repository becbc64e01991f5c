import { expect, test } from 'vitest';
import { describeRange, isInRange } from '../src/ranges';

test.each([
  [{ above: 0, max: 1 }, [1e-300, 1], [0, 1.1, Number.NaN, Number.POSITIVE_INFINITY], ' above 0, at most 1'],
  [{ above: 0 }, [1e300], [0, -1, Number.NaN], ' above 0'],
  [{ min: 0, max: 5 }, [0, 5], [-1, 6, Number.NaN], ' from 0 to 5'],
  [{ min: 0, below: 1 }, [0, 0.9], [-1, 1], ' from 0 to below 1'],
  [{ min: 2 }, [2], [1], ' of 2 or more'],
  [{}, [0, Number.POSITIVE_INFINITY], [Number.NaN], ''],
])('%j: which numbers are in it, and in words', (range, inside, outside, words) => {
  for (const value of inside) expect(isInRange(value, range), String(value)).toBe(true);
  for (const value of outside) expect(isInRange(value, range), String(value)).toBe(false);
  expect(describeRange(range)).toBe(words);
});
