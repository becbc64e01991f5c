export interface Histogram {
  /** The bins' borders, one more than there are bins. */
  readonly borders: readonly number[];
  /** Values in each bin; a value on a border counts in the bin above it, the highest border in the last bin. */
  readonly counts: readonly number[];
}

/**
 * Counts values in bins of equal width from 0 to 1, or to the largest value where that is above 1.
 *
 * @throws {RangeError} for a value below 0 or not finite
 */
export function histogram(values: readonly number[], bins = 10): Histogram {
  const bad = values.find((value) => !(value >= 0 && value < Number.POSITIVE_INFINITY));
  if (bad !== undefined) throw new RangeError(`found ${bad}, wanted finite numbers, 0 or more`);
  const high = values.reduce((most, value) => Math.max(most, value), 1);
  const counts = new Array<number>(bins).fill(0);
  for (const value of values) counts[Math.min(bins - 1, Math.floor((value / high) * bins))]! += 1;
  return { borders: Array.from({ length: bins + 1 }, (_, i) => (high * i) / bins), counts };
}

const WIDTH = 40;

/** The bins as lines of text, the fullest bin's bar 40 wide; a bin that is not empty has at least a sliver. */
export function formatHistogram({ borders, counts }: Histogram): string {
  const most = Math.max(1, ...counts);
  const digits = String(most).length;
  return counts
    .map((count, i) => {
      const range = `${borders[i]!.toFixed(2)}–${borders[i + 1]!.toFixed(2)}`;
      const eighths = count === 0 ? 0 : Math.max(1, Math.round((count / most) * WIDTH * 8));
      const bar = '█'.repeat(Math.floor(eighths / 8)) + ['', ...'▏▎▍▌▋▊▉'][eighths % 8]!;
      return `${range}  ${String(count).padStart(digits)}  ${bar}`.trimEnd();
    })
    .join('\n');
}
