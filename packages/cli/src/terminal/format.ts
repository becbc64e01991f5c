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
 * Counts values in about ten bins that fit them: of equal width with round borders; where the largest value is more than 20
 * times the smallest above 0, each up to ten times the one before.
 *
 * @throws {RangeError} for a value below 0 or not finite, and without values
 */
export function histogram(values: readonly number[]): Histogram {
  const bad = values.find((value) => !(value >= 0 && value < Number.POSITIVE_INFINITY));
  if (bad !== undefined) throw new RangeError(`expected finite numbers of 0 or more, found ${bad}`);
  if (values.length === 0) throw new RangeError('expected at least one number, found none');
  const high = values.reduce((most, value) => Math.max(most, value), 0);
  const low = values.reduce((least, value) => Math.min(least, value), high);
  const positive = values.reduce((least, value) => (value > 0 ? Math.min(least, value) : least), high);
  const borders = high > 20 * positive ? logBorders(low, positive, high) : evenBorders(low, high);
  const counts = new Array<number>(borders.length - 1).fill(0);
  for (const value of values) {
    const above = borders.findIndex((border) => value < border);
    counts[above < 0 ? counts.length - 1 : Math.max(0, above - 1)]! += 1;
  }
  return { borders, counts };
}

const MAX_BINS = 12;

/** 0.3 / 0.1 is below 3. */
const ROUNDING = 1e-9;

/** Borders at multiples of 1, 2 or 5 times a power of ten, around all values. */
function evenBorders(low: number, high: number): number[] {
  if (high === low) return [low, high];
  const power = 10 ** Math.floor(Math.log10((high - low) / MAX_BINS));
  if (power === 0) return [low, high];
  const step = [1, 2, 5, 10, 20].map((n) => n * power).find((n) => (high - low) / n <= MAX_BINS - 2)!;
  const first = Math.floor(low / step + ROUNDING);
  const bins = Math.max(1, Math.ceil(high / step - ROUNDING) - first);
  return Array.from({ length: bins + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** Borders at 1, 2 and 5 times powers of ten, or at powers of ten; the first bin begins at 0 if a value is 0. */
function logBorders(low: number, positive: number, high: number): number[] {
  const [from, to] = [Math.floor(Math.log10(positive)), Math.ceil(Math.log10(high))];
  const decades = to - from;
  const every = Math.max(1, Math.ceil(decades / MAX_BINS));
  const factors = decades <= 4 ? [1, 2, 5] : [1];
  const all = Array.from({ length: Math.ceil(decades / every) + 1 }, (_, i) =>
    factors.map((factor) => Number(`${factor}e${from + i * every}`)),
  ).flat();
  const first = all.findLastIndex((border) => border <= positive);
  const last = all.findIndex((border) => border >= high);
  const fitting = all.slice(Math.max(0, first), last < 0 ? all.length : last + 1);
  return low === 0 && fitting[0]! > 0 ? [0, ...fitting] : fitting;
}

const WIDTH = 40;

/** The bins as lines of text. The largest bar is 40 wide; a bin with values has at least an eighth of a character. */
export function formatHistogram({ borders, counts }: Histogram): string {
  const most = Math.max(1, ...counts);
  const digits = String(most).length;
  const ranges = counts.map((_, i) => `${formatBorder(borders[i]!)}–${formatBorder(borders[i + 1]!)}`);
  const width = Math.max(...ranges.map((range) => range.length));
  return counts
    .map((count, i) => {
      const range = ranges[i]!.padStart(width);
      const eighths = count === 0 ? 0 : Math.max(1, Math.round((count / most) * WIDTH * 8));
      const bar = '█'.repeat(Math.floor(eighths / 8)) + ['', ...'▏▎▍▌▋▊▉'][eighths % 8]!;
      return `${range}  ${String(count).padStart(digits)}  ${bar}`.trimEnd();
    })
    .join('\n');
}

const formatBorder = (border: number): string =>
  border === 0 || (border >= 1e-4 && border < 1e6) ? String(Number(border.toPrecision(6))) : border.toExponential();
