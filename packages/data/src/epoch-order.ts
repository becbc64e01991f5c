import { below, stateFrom, xoshiro128 } from '@wpo/internal/random';

/** A place in the order of training: the next row to take. Plain JSON: save it, and resume from it. */
export interface Cursor {
  /** Epochs finished. */
  readonly epoch: number;
  /** Rows of this epoch already taken. */
  readonly index: number;
}

/** Rows to take together. */
export interface Batch {
  /** Indices of rows, in the order to take them; at most `batchSize`, at least one. */
  readonly rows: readonly number[];
  /** The epoch they belong to, from 0: a batch never spans two. */
  readonly epoch: number;
  /** Where to go on after this batch. */
  readonly next: Cursor;
}

export interface BatchOptions {
  /** Rows in the data. */
  readonly count: number;
  /** Default 1. The last batch of an epoch has the rows that are left. */
  readonly batchSize?: number;
  /** Default true; false keeps the data's order. */
  readonly shuffle?: boolean;
  /** Default 0. */
  readonly seed?: number;
  /** Epochs after which to end. Default: none. */
  readonly epochs?: number;
  /** Where to start. Default: at the beginning. */
  readonly from?: Cursor;
}

/**
 * The order in which an epoch takes rows 0 to `count - 1`: a permutation that `seed` and `epoch` alone decide, the same
 * on every platform. A Fisher-Yates shuffle from the last place down, drawing from xoshiro128** seeded with
 * (seed mod 2^32, floor(seed / 2^32), epoch).
 *
 * @param count from 0 to 2^32 - 1
 * @param seed a non-negative safe integer
 * @param shuffle false gives 0, 1, 2, …
 */
export function epochOrder(count: number, seed: number, epoch: number, shuffle = true): Uint32Array {
  integer('count', count, 0, 2 ** 32 - 1);
  integer('seed', seed, 0, Number.MAX_SAFE_INTEGER);
  integer('epoch', epoch, 0, 2 ** 32 - 1);
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  if (!shuffle) return order;
  const next = xoshiro128(stateFrom([seed >>> 0, Math.floor(seed / 2 ** 32), epoch]));
  for (let last = count - 1; last > 0; last--) {
    const pick = below(last + 1, next);
    const held = order[last]!;
    order[last] = order[pick]!;
    order[pick] = held;
  }
  return order;
}

/**
 * Batches of rows, epoch after epoch, each in its own order. Started from a batch's `next`, gives exactly the batches
 * that would have followed.
 *
 * @throws {RangeError} where an option is out of range, or the cursor lies beyond the data
 */
export function* batches(options: BatchOptions): Generator<Batch, void, undefined> {
  const { count, batchSize = 1, shuffle = true, seed = 0, epochs = Number.POSITIVE_INFINITY } = options;
  const from = options.from ?? { epoch: 0, index: 0 };
  integer('count', count, 1, 2 ** 32 - 1);
  integer('batchSize', batchSize, 1, 2 ** 32 - 1);
  if (epochs !== Number.POSITIVE_INFINITY) integer('epochs', epochs, 0, 2 ** 32 - 1);
  integer('from.epoch', from.epoch, 0, 2 ** 32 - 1);
  integer('from.index', from.index, 0, count, ' Was the run started on other data?');

  let { epoch, index } = from;
  for (; epoch < epochs; epoch++, index = 0) {
    const order = epochOrder(count, seed, epoch, shuffle);
    while (index < count) {
      const rows = Array.from(order.subarray(index, index + batchSize));
      index += rows.length;
      yield { rows, epoch, next: index < count ? { epoch, index } : { epoch: epoch + 1, index: 0 } };
    }
  }
}

function integer(name: string, value: number, least: number, most: number, mend = ''): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return;
  throw new RangeError(`found ${name} ${value}, wanted an integer from ${least} to ${most}.${mend}`);
}
