import { fc, test } from '@fast-check/vitest';
import { describe, expect, it } from 'vitest';
import { epochOrder } from '../src/index';
import { reference } from './fixtures';

const seeds = fc.maxSafeNat();

describe('epochOrder', () => {
  it('is the documented order, computed a second time in Python', () => {
    const { orders } = reference();
    expect(orders.length).toBe(9);
    expect(
      orders.map(({ order, ...at }) => ({ ...at, order: Array.from(epochOrder(at.count, at.seed, at.epoch)) })),
    ).toEqual(orders);
  });

  it('is the order of the data without shuffling', () => {
    expect(Array.from(epochOrder(4, 7, 2, false))).toEqual([0, 1, 2, 3]);
    expect(Array.from(epochOrder(0, 0, 0))).toEqual([]);
  });

  test.prop([fc.integer({ min: 0, max: 300 }), seeds, fc.nat()])('contains each row once', (count, seed, epoch) => {
    const sorted = Array.from(epochOrder(count, seed, epoch)).sort((a, b) => a - b);
    expect(sorted).toEqual(Array.from({ length: count }, (_, i) => i));
  });

  test.prop([seeds, fc.nat()])('differs between epochs and between seeds', (seed, epoch) => {
    const order = (seed: number, epoch: number) => epochOrder(200, seed, epoch).join();
    const other = seed === Number.MAX_SAFE_INTEGER ? seed - 1 : seed + 1;
    expect(order(seed, epoch)).not.toBe(order(seed, epoch + 1));
    expect(order(seed, epoch)).not.toBe(order(other, epoch));
  });

  it('puts each row in each position about equally often', () => {
    const seen = Array.from({ length: 5 }, () => [0, 0, 0, 0, 0]);
    for (let epoch = 0; epoch < 20_000; epoch++) {
      epochOrder(5, 1, epoch).forEach((row, position) => {
        seen[position]![row]!++;
      });
    }
    // 4000 expected, standard deviation 57
    for (const count of seen.flat()) expect(Math.abs(count - 4000)).toBeLessThan(285);
  });

  it.each([
    [-1, 0, 0],
    [2.5, 0, 0],
    [2 ** 32, 0, 0],
    [3, -1, 0],
    [3, 0.5, 0],
    [3, 2 ** 53, 0],
    [3, 0, -1],
    [3, 0, Number.NaN],
  ])('rejects count %d, seed %d, epoch %d', (count, seed, epoch) => {
    expect(() => epochOrder(count, seed, epoch)).toThrow(RangeError);
  });
});
