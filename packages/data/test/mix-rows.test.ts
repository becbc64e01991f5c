import { fc, test } from '@fast-check/vitest';
import { describe, expect, it } from 'vitest';
import { mixRows } from '../src/index';
import { mixCounts } from '../src/mix-rows';

const rowsOf = (name: string, count: number) => Array.from({ length: count }, (_, i) => `${name}${i}`);

describe('mixRows', () => {
  it.each([
    ['cap', [100, 10], [1, 1], [10, 10]],
    ['repeat', [100, 10], [1, 1], [100, 100]],
    ['cap', [3, 100], [0.3, 0.7], [3, 7]],
    ['repeat', [3, 7], [0.3, 0.7], [3, 7]],
    ['cap', [5, 5, 5], [1, 1, 2], [3, 2, 5]],
    ['repeat', [5, 5, 5], [1, 1, 2], [5, 5, 10]],
    ['cap', [7], [3], [7]],
  ] as const)('%s: of %j rows with the shares %j it takes %j', (mixing, sizes, shares, counts) => {
    expect(mixCounts(sizes, shares, mixing)).toEqual(counts);
  });

  it('draws the rows by the seed, and keeps sources and rows in their order', () => {
    const sources = [
      { rows: rowsOf('a', 8), share: 1 },
      { rows: rowsOf('b', 4), share: 1 },
    ];
    const drawn = [1, 1, 2].map((seed) => mixRows(sources, { mixing: 'cap', seed }));
    expect(drawn[0]).toEqual(drawn[1]);
    expect(drawn[0]).not.toEqual(drawn[2]);
    for (const rows of drawn) expect(rows).toEqual([...rows].sort());
    expect(mixRows(sources, { mixing: 'repeat', seed: 1 })).toEqual([
      ...rowsOf('a', 8),
      ...rowsOf('b', 4).flatMap((row) => [row, row]),
    ]);
  });

  it('refuses shares and sources that cannot be mixed', () => {
    const mix = (share: number, count = 1) =>
      mixRows([{ rows: rowsOf('a', count), share }], { mixing: 'cap', seed: 0 });
    for (const share of [0, -1, Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => mix(share)).toThrow(`share: expected a number above 0, found ${share}.`);
    expect(() => mix(1, 0)).toThrow('a source: expected at least one row, found none.');
    const far = [1, 1e-12].map((share) => ({ rows: rowsOf('a', 1), share }));
    expect(() => mixRows(far, { mixing: 'repeat', seed: 0 })).toThrow('expected a mixture of at most 2^32 - 1 rows');
  });
});

const source = fc.record({
  size: fc.integer({ min: 1, max: 60 }),
  share: fc.double({ min: 0.01, max: 1, noNaN: true }),
});

test.prop([fc.array(source, { minLength: 1, maxLength: 4 }), fc.constantFrom('cap', 'repeat'), fc.nat()])(
  'a mixture has the shares to the nearest row, and the rows of a source equally often',
  (sources, mixing, seed) => {
    const mixed = mixRows(
      sources.map(({ size, share }, i) => ({ rows: rowsOf(`${i}:`, size), share })),
      { mixing, seed },
    );
    const sum = sources.reduce((total, { share }) => total + share, 0);
    for (const [i, { size, share }] of sources.entries()) {
      const own = mixed.filter((row) => row.startsWith(`${i}:`));
      expect(Math.abs(own.length - (mixed.length * share) / sum)).toBeLessThan(1 + 1e-6);
      const times = rowsOf(`${i}:`, size).map((row) => own.filter((other) => other === row).length);
      expect(Math.max(...times) - Math.min(...times)).toBeLessThanOrEqual(1);
      if (mixing === 'cap') expect(Math.max(...times)).toBeLessThanOrEqual(1);
      else expect(Math.min(...times)).toBeGreaterThanOrEqual(1);
    }
  },
);
