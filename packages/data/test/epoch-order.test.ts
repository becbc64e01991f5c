import { fc, test } from '@fast-check/vitest';
import { describe, expect, it } from 'vitest';
import { batches, type Cursor, epochOrder } from '../src/index';
import { reference } from './fixtures';

const seeds = fc.maxSafeNat();
const counts = fc.integer({ min: 1, max: 60 });

describe('epochOrder', () => {
  it('is the order that its description gives, worked out once more in Python', () => {
    const { orders } = reference();
    expect(orders.length).toBe(9);
    expect(
      orders.map(({ order, ...at }) => ({ ...at, order: Array.from(epochOrder(at.count, at.seed, at.epoch)) })),
    ).toEqual(orders);
  });

  it('is the data’s order where shuffling is off', () => {
    expect(Array.from(epochOrder(4, 7, 2, false))).toEqual([0, 1, 2, 3]);
    expect(Array.from(epochOrder(0, 0, 0))).toEqual([]);
  });

  test.prop([fc.integer({ min: 0, max: 300 }), seeds, fc.nat()])('holds each row once', (count, seed, epoch) => {
    const sorted = Array.from(epochOrder(count, seed, epoch)).sort((a, b) => a - b);
    expect(sorted).toEqual(Array.from({ length: count }, (_, i) => i));
  });

  test.prop([seeds, fc.nat()])('differs from epoch to epoch and from seed to seed', (seed, epoch) => {
    const order = (seed: number, epoch: number) => epochOrder(200, seed, epoch).join();
    const other = seed === Number.MAX_SAFE_INTEGER ? seed - 1 : seed + 1;
    expect(order(seed, epoch)).not.toBe(order(seed, epoch + 1));
    expect(order(seed, epoch)).not.toBe(order(other, epoch));
  });

  it('puts each row in each place about as often as the next', () => {
    const seen = Array.from({ length: 5 }, () => [0, 0, 0, 0, 0]);
    for (let epoch = 0; epoch < 20_000; epoch++) {
      epochOrder(5, 1, epoch).forEach((row, place) => {
        seen[place]![row]!++;
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
  ])('refuses count %d, seed %d, epoch %d', (count, seed, epoch) => {
    expect(() => epochOrder(count, seed, epoch)).toThrow(RangeError);
  });
});

describe('batches', () => {
  it('cuts each epoch on its own, the last batch taking what is left', () => {
    const all = [...batches({ count: 5, batchSize: 2, shuffle: false, epochs: 2 })];
    expect(all).toEqual([
      { rows: [0, 1], epoch: 0, next: { epoch: 0, index: 2 } },
      { rows: [2, 3], epoch: 0, next: { epoch: 0, index: 4 } },
      { rows: [4], epoch: 0, next: { epoch: 1, index: 0 } },
      { rows: [0, 1], epoch: 1, next: { epoch: 1, index: 2 } },
      { rows: [2, 3], epoch: 1, next: { epoch: 1, index: 4 } },
      { rows: [4], epoch: 1, next: { epoch: 2, index: 0 } },
    ]);
  });

  test.prop([counts, fc.integer({ min: 1, max: 70 }), seeds, fc.integer({ min: 0, max: 3 }), fc.boolean()])(
    'takes every row once an epoch, in that epoch’s order',
    (count, batchSize, seed, epochs, shuffle) => {
      const rows = [...batches({ count, batchSize, seed, epochs, shuffle })].flatMap((batch) => batch.rows);
      const orders = Array.from({ length: epochs }, (_, epoch) => Array.from(epochOrder(count, seed, epoch, shuffle)));
      expect(rows).toEqual(orders.flat());
    },
  );

  test.prop([counts, fc.integer({ min: 1, max: 9 }), seeds, fc.integer({ min: 1, max: 3 }), fc.boolean(), fc.nat()])(
    'resumed from any batch, its cursor saved as JSON, goes on as if never stopped',
    (count, batchSize, seed, epochs, shuffle, stop) => {
      const options = { count, batchSize, seed, epochs, shuffle };
      const whole = [...batches(options)];
      const done = (stop % whole.length) + 1;
      const from = JSON.parse(JSON.stringify(whole[done - 1]!.next)) as Cursor;
      expect([...batches({ ...options, from })]).toEqual(whole.slice(done));
    },
  );

  it('may start anywhere, the end of an epoch included', () => {
    const rows = (from: Cursor) =>
      [...batches({ count: 3, shuffle: false, epochs: 2, from })].flatMap((batch) => batch.rows);
    expect(rows({ epoch: 0, index: 3 })).toEqual([0, 1, 2]);
    expect(rows({ epoch: 1, index: 1 })).toEqual([1, 2]);
    expect(rows({ epoch: 2, index: 0 })).toEqual([]);
  });

  it('goes on without end where no number of epochs is given', () => {
    const endless = batches({ count: 2 });
    const epochs = Array.from({ length: 100 }, () => endless.next().value?.epoch);
    expect(epochs.at(-1)).toBe(49);
  });

  it('says that the data has changed where the cursor lies beyond it', () => {
    expect(() => [...batches({ count: 3, from: { epoch: 0, index: 4 } })]).toThrow(
      'found from.index 4, wanted an integer from 0 to 3. Was the run started on other data?',
    );
    expect(() => [...batches({ count: 0 })]).toThrow('found count 0');
    expect(() => [...batches({ count: 3, batchSize: 0 })]).toThrow('found batchSize 0');
    expect(() => [...batches({ count: 3, epochs: 1.5 })]).toThrow('found epochs 1.5');
  });
});
