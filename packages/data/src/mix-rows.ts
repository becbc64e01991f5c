import { epochOrder } from './epoch-order';

/** The rows of one source, and their part of the mixture. */
export interface MixSource<T> {
  readonly rows: readonly T[];
  /** Above 0. Shares are relative: 1 and 3 are the same as 0.25 and 0.75. */
  readonly share: number;
}

/**
 * - `cap`: as many rows as possible without taking any twice, so that the other sources are cut to their shares.
 * - `repeat`: as few rows as possible with every row at least once, so that the other sources are repeated up to their shares.
 */
export type Mixing = 'cap' | 'repeat';

/**
 * Mixes sources by their shares, which the result has to the nearest row. Which rows are taken of a source that is cut, and
 * which are taken once more of one that is repeated, is drawn by the seed. No row is taken twice more often than another. The
 * result depends on the arguments only. It has the sources in their order, and the rows of each in theirs; repeated rows are
 * the same objects.
 *
 * @throws {RangeError} if a share is not a finite number above 0, a source has no rows, or the mixture has more than 2^32 - 1
 */
export function mixRows<T>(
  sources: readonly MixSource<T>[],
  {
    mixing,
    seed,
  }: {
    readonly mixing: Mixing;
    /** An integer from 0 to 2^53 - 1. */
    readonly seed: number;
  },
): T[] {
  const counts = mixCounts(
    sources.map(({ rows }) => rows.length),
    sources.map(({ share }) => share),
    mixing,
  );
  return sources.flatMap(({ rows }, i) => takeRows(rows, counts[i]!, seed, i));
}

/** How many rows are taken of each source. @param sizes the numbers of rows that the sources have */
export function mixCounts(sizes: readonly number[], shares: readonly number[], mixing: Mixing): number[] {
  for (const share of shares) {
    if (!(Number.isFinite(share) && share > 0))
      throw new RangeError(`share: expected a number above 0, found ${share}.`);
  }
  if (sizes.includes(0)) throw new RangeError('a source: expected at least one row, found none.');
  if (sizes.length === 0) return [];
  const sum = shares.reduce((total, share) => total + share, 0);
  const fractions = shares.map((share) => share / sum);
  const limits = sizes.map((size, i) => size / fractions[i]!);
  const total = mixing === 'cap' ? Math.floor(Math.min(...limits) * ABOVE) : Math.ceil(Math.max(...limits) / ABOVE);
  if (total > 2 ** 32 - 1) {
    throw new RangeError(
      `shares: expected a mixture of at most 2^32 - 1 rows, found ${total}. Bring the shares closer together.`,
    );
  }
  const counts = apportion(total, fractions);
  return counts.map((count, i) => (mixing === 'cap' ? Math.min(count, sizes[i]!) : Math.max(count, sizes[i]!)));
}

/** Absorbs the rounding of a division: 3 rows at a share of 0.3 are 10 rows. */
const ABOVE = 1 + 1e-12;

/** Splits a total by fractions: each part is rounded down, and those with the largest remainders get one more. */
function apportion(total: number, fractions: readonly number[]): number[] {
  const counts = fractions.map((fraction) => Math.floor(total * fraction * ABOVE));
  const remainder = (i: number) => total * fractions[i]! - counts[i]!;
  const order = [...counts.keys()].sort((a, b) => remainder(b) - remainder(a) || a - b);
  const left = total - counts.reduce((sum, count) => sum + count, 0);
  for (const i of order.slice(0, Math.max(0, left))) counts[i]! += 1;
  return counts;
}

function takeRows<T>(rows: readonly T[], count: number, seed: number, source: number): T[] {
  const again = count % rows.length;
  // epochs count from 0, so that these orders differ from those of training
  const drawn = new Set(epochOrder(rows.length, seed, 2 ** 32 - 1 - source).subarray(0, again));
  const times = Math.floor(count / rows.length);
  return rows.flatMap((row, i) => new Array<T>(times + (drawn.has(i) ? 1 : 0)).fill(row));
}
