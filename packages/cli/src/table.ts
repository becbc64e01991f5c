/** Cells in columns, the first aligned left, the others right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  const line = (row: readonly string[]) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ');
  return rows.map((row) => `  ${line(row)}`.trimEnd()).join('\n');
}

/** A whole number with commas. */
export const count = (n: number): string => n.toLocaleString('en-US');

/** A count and what share of a total it is, e.g. `12 (4.8 %)`. */
export const share = (n: number, total: number): string =>
  total === 0 ? count(n) : `${count(n)} (${((100 * n) / total).toFixed(1)} %)`;
