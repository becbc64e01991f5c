import type { PreferenceRow } from '../rows/preference-row';
import { preferenceRows, type ReadOptions } from '../rows/read-rows';
import type { DataFileOptions } from './data-files';
import { readRecords } from './records';

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
