/** A growing list of numbers at eight bytes each, a tenth of what an array of objects would take. */
export class NumberList {
  private values = new Float64Array(256);
  private count = 0;

  get length(): number {
    return this.count;
  }

  add(value: number): void {
    if (this.count === this.values.length) {
      const larger = new Float64Array(2 * this.count);
      larger.set(this.values);
      this.values = larger;
    }
    this.values[this.count++] = value;
  }

  /** @param i from 0 to `length - 1` */
  at(i: number): number {
    return this.values[i]!;
  }

  /** All values, without a copy. Adding more values invalidates it. */
  view(): Float64Array {
    return this.values.subarray(0, this.count);
  }
}

/** Summary statistics of a list of numbers. */
export interface Distribution {
  readonly count: number;
  readonly mean: number;
  readonly min: number;
  readonly max: number;
  /** The p-th percentile for each percentage p. */
  readonly percentiles: { readonly [percent in (typeof PERCENTS)[number]]: number };
}

const PERCENTS = [5, 25, 50, 75, 90, 95, 99] as const;

/**
 * Exact statistics of numbers; sorts a copy. A percentile between two numbers is interpolated linearly, as NumPy's
 * `percentile` does by default. Undefined for an empty list.
 */
export function distribution(values: Float64Array): Distribution | undefined {
  if (values.length === 0) return undefined;
  const sorted = values.slice().sort();
  const percentiles = Object.fromEntries(PERCENTS.map((percent) => [percent, quantile(sorted, percent / 100)]));
  return {
    count: sorted.length,
    mean: sorted.reduce((sum, value) => sum + value, 0) / sorted.length,
    min: sorted[0]!,
    max: sorted[sorted.length - 1]!,
    percentiles: percentiles as Distribution['percentiles'],
  };
}

/** How many of some whole numbers are in a range. */
export interface Bin {
  readonly low: number;
  /** Not in the range. */
  readonly high: number;
  readonly count: number;
}

const MAX_BINS = 30;
/** The part of the numbers at each end that may be outside the range of the bins, so that a few outliers do not make all bins wide. */
const OUTSIDE = 0.005;

/**
 * Counts whole numbers in at most 31 bins of equal width, a whole number. The first bin also counts what is below it and the last what
 * is above it, at most 0.5 % of the numbers each. Empty for an empty list.
 */
export function histogram(values: Float64Array): Bin[] {
  if (values.length === 0) return [];
  const sorted = values.slice().sort();
  const from = Math.floor(quantile(sorted, OUTSIDE));
  const to = Math.ceil(quantile(sorted, 1 - OUTSIDE));
  const width = Math.max(1, Math.ceil((to - from) / MAX_BINS));
  const counts = new Array<number>(Math.floor((to - from) / width) + 1).fill(0);
  for (const value of sorted) {
    counts[Math.max(0, Math.min(counts.length - 1, Math.floor((value - from) / width)))]! += 1;
  }
  return counts.map((count, i) => ({ low: from + i * width, high: from + (i + 1) * width, count }));
}

/** @param sorted ascending, at least one number; @param q from 0 to 1 */
function quantile(sorted: Float64Array, q: number): number {
  const position = q * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(position)]!, sorted[Math.ceil(position)]!];
  return below + (above - below) * (position - Math.floor(position));
}
