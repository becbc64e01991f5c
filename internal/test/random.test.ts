import { expect, test } from 'vitest';
import { randomBelow, seededRandom, xoshiro128 } from '../src/random';

test('mulberry32 gives the numbers of its reference code', () => {
  const draws = (seed: number, count: number) => {
    const random = seededRandom(seed);
    return Array.from({ length: count }, () => random() * 2 ** 32);
  };
  expect(draws(1, 4)).toEqual([2693262067, 11749833, 2265367787, 4213581821]);
  expect(draws(2 ** 32 - 1, 2)).toEqual([3850105811, 813802916]);
  expect(draws(-1, 2)).toEqual([3850105811, 813802916]);
});

test('xoshiro128** gives the numbers of its authors’ C code for the state 1, 2, 3, 4', () => {
  const next = xoshiro128([1, 2, 3, 4]);
  expect(Array.from({ length: 6 }, next)).toEqual([11520, 0, 5927040, 70819200, 2031721883, 1637235492]);
});

test('randomBelow skips draws that would make some integers more likely', () => {
  // 2^32 mod 3 = 1: a draw of 0 is skipped, then 1 mod 3, 2 mod 3, 3 mod 3
  const draws = [0, 1, 2, 3][Symbol.iterator]();
  const next = () => draws.next().value ?? Number.NaN;
  expect([randomBelow(3, next), randomBelow(3, next), randomBelow(3, next)]).toEqual([1, 2, 0]);
  expect(randomBelow(2 ** 32, () => 5)).toBe(5);
  expect(randomBelow(1, () => 0)).toBe(0);
});
