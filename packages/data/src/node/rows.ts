import { type EncodedPair, type EncodeOptions, encodeRows } from '../encode';
import { preferenceRows, type ReadOptions } from '../read-rows';
import type { PreferenceRow } from '../records';
import type { RowError } from '../row-error';
import type { DataFileOptions } from './data-files';
import { readRecords } from './records';

/** The pairs of a file, and the rows that were left out. */
export interface LoadedPairs {
  readonly pairs: EncodedPair[];
  readonly skipped: RowError[];
}

/** How preference rows are found and read. */
export type ReadRowsOptions = ReadOptions & DataFileOptions;

/**
 * Reads preference rows from a file, folder, glob or data set of the hub (see `dataFiles`): JSONL, JSON or Parquet,
 * packed or not, one row in memory at a time (of Parquet one row group); closes the file when stopped early. A file named
 * `.jsonl` or `.ndjson` is read as lines; of any other text, the first character tells.
 *
 * @throws {RowError} on a bad row, unless `onBadRow` is `skip`; see `readRowsFrom`
 * @throws {Error} where a file cannot be read, or is damaged or cut off
 */
export const readRows = (
  source: string,
  options: ReadRowsOptions = {},
): AsyncGenerator<PreferenceRow, void, undefined> => preferenceRows(readRecords(source, options), options);

/**
 * Reads and encodes a whole file: what training holds in memory, four bytes a token.
 *
 * @throws {RowError} on a row that cannot be read or encoded, unless `onBadRow` is `skip`
 * @throws {Error} where the file cannot be read, or no pair is left
 */
export async function loadPairs(path: string, options: EncodeOptions & ReadRowsOptions): Promise<LoadedPairs> {
  const pairs: EncodedPair[] = [];
  const skipped: RowError[] = [];
  const skipping = {
    ...options,
    onSkip(error: RowError) {
      skipped.push(error);
      options.onSkip?.(error);
    },
  };
  for await (const pair of encodeRows(readRows(path, skipping), skipping)) pairs.push(pair);
  if (pairs.length === 0) {
    const why =
      skipped[0] === undefined ? '' : ` All ${skipped.length} rows were skipped; the first: ${skipped[0].message}`;
    throw new Error(`${path}: found no preference pairs, wanted at least one.${why}`);
  }
  return { pairs, skipped };
}
