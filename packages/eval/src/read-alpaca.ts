import { RowError, type RowLocation, readRecordsFrom } from '@wpo/data';

/**
 * Reads a whole file in alpaca_eval's layout: a JSON array of rows, or one row a line.
 *
 * @param parse `parseModelOutput`, `parseAnnotation` or `parseInstruction`
 * @param file name of the source in errors
 * @throws {RowError} for the first row that cannot be used, and for a file without rows
 */
export async function readAlpacaFrom<T>(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  file: string,
  parse: (row: unknown, at: RowLocation) => T,
): Promise<T[]> {
  const rows: T[] = [];
  for await (const { value, at } of readRecordsFrom(chunks, file, { maxRowBytes: 2 ** 30 }))
    rows.push(parse(value, at));
  if (rows.length > 0) return rows;
  throw new RowError(
    { file, line: 1 },
    { found: 'no rows', expected: 'a JSON array of objects, or one a line', hint: 'Check the path.' },
  );
}
