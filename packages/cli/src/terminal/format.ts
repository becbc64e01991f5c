/** A table: the first column is aligned left, the others right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  const line = (row: readonly string[]) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ');
  return rows.map((row) => `  ${line(row)}`.trimEnd()).join('\n');
}

/** A whole number with commas. */
export const count = (n: number): string => n.toLocaleString('en-US');

/** A count with its noun: `1 row`, `2,000 rows`. */
export const counted = (n: number, noun: string, plural = `${noun}s`): string =>
  `${count(n)} ${n === 1 ? noun : plural}`;

/** A count and its share of a total, e.g. `12 (4.8 %)`. */
export const share = (n: number, total: number): string =>
  total === 0 ? count(n) : `${count(n)} (${((100 * n) / total).toFixed(1)} %)`;

/** Formats names and values in two columns. */
export function alignedRows(pairs: readonly (readonly [string, string])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`).join('\n');
}

export interface Histogram {
  /** Borders of the bins, one more than there are bins. */
  readonly borders: readonly number[];
  /** Values per bin. A value on a border belongs to the bin above it; the largest value belongs to the last bin. */
  readonly counts: readonly number[];
}

/**
 * Counts values in bins of equal width from 0 to 1, or to the largest value if that is above 1.
 *
 * @throws {RangeError} for a value below 0 or not finite
 */
export function histogram(values: readonly number[], bins = 10): Histogram {
  const bad = values.find((value) => !(value >= 0 && value < Number.POSITIVE_INFINITY));
  if (bad !== undefined) throw new RangeError(`expected finite numbers of 0 or more, found ${bad}`);
  const high = values.reduce((most, value) => Math.max(most, value), 1);
  const counts = new Array<number>(bins).fill(0);
  for (const value of values) counts[Math.min(bins - 1, Math.floor((value / high) * bins))]! += 1;
  return { borders: Array.from({ length: bins + 1 }, (_, i) => (high * i) / bins), counts };
}

const WIDTH = 40;

/** The bins as lines of text. The largest bar is 40 wide; a bin with values has at least an eighth of a character. */
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
