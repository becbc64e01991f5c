/** What a list of numbers is like. */
export interface Distribution {
  readonly count: number;
  readonly mean: number;
  readonly least: number;
  readonly most: number;
  /** The value below which so many percent of the numbers lie. */
  readonly percentiles: { readonly [percent in (typeof PERCENTS)[number]]: number };
}

export const PERCENTS = [5, 25, 50, 75, 90, 95, 99] as const;

/**
 * Describes numbers exactly, by sorting a copy. A percentile that falls between two numbers is taken from the line
 * between them, as NumPy's `percentile` does by default. Undefined where there are none.
 */
export function distribution(values: Float64Array): Distribution | undefined {
  if (values.length === 0) return undefined;
  const sorted = values.slice().sort();
  const percentiles = Object.fromEntries(PERCENTS.map((percent) => [percent, quantile(sorted, percent / 100)]));
  return {
    count: sorted.length,
    mean: meanOf(sorted),
    least: sorted[0]!,
    most: sorted[sorted.length - 1]!,
    percentiles: percentiles as Distribution['percentiles'],
  };
}

/** @param sorted from least to most, at least one */
function quantile(sorted: Float64Array, share: number): number {
  const place = share * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(place)]!, sorted[Math.ceil(place)]!];
  return below + (above - below) * (place - Math.floor(place));
}

const meanOf = (values: Float64Array) => values.reduce((sum, value) => sum + value, 0) / values.length;
