import { isUsedColumn } from '../rows/layouts';
import type { PreferenceRow } from '../rows/preference-row';
import {
  type DataRecord,
  preferenceRows,
  type ReadOptions,
  type RecordOptions,
  readRecordsFrom,
} from '../rows/read-rows';
import { type DataFile, type DataFileOptions, dataFiles } from './data-files';
import { type FileKind, kindOf, readDecompressed } from './files';

/** Which files to read, and how. */
export type ReadRowsOptions = ReadOptions & DataFileOptions;

/**
 * Reads preference rows from a file, folder, glob or data set of the Hugging Face hub (see `dataFiles`): Parquet, or JSONL
 * and JSON, plain or compressed with gzip or zstd. Only one row is in memory at a time, or one row group of a Parquet file.
 * Files are closed when the consumer stops early. The first character of a text decides between JSONL and a JSON array,
 * whatever the name of the file.
 *
 * @throws {RowError} on a bad row, unless `onBadRow` is `skip`; see `readRowsFrom`
 * @throws {Error} if a file cannot be read, or is damaged or cut off
 */
export const readRows = (
  source: string,
  options: ReadRowsOptions = {},
): AsyncGenerator<PreferenceRow, void, undefined> =>
  preferenceRows(
    records(source, options, (column) => isUsedColumn(column, options.columns)),
    options,
  );

/**
 * As `readRows`; yields each row's JSON value unchanged, with all its columns.
 *
 * @throws {RowError} on a row that is not JSON, unless `onBadRow` is `skip`
 * @throws {Error} if a file cannot be read, or is damaged or cut off
 */
export const readRecords = (
  source: string,
  options: RecordOptions & DataFileOptions = {},
): AsyncGenerator<DataRecord, void, undefined> => records(source, options);

/** @param isUsed which columns of a Parquet file to read; by default all */
async function* records(
  source: string,
  options: RecordOptions & DataFileOptions,
  isUsed?: (column: string) => boolean,
): AsyncGenerator<DataRecord, void, undefined> {
  for (const file of await dataFiles(source, options)) {
    for await (const record of recordsOf(file, options, isUsed)) {
      options.signal?.throwIfAborted();
      yield record;
    }
  }
}

/**
 * As `readRecords`, of one local file: a folder or data set is none.
 *
 * @throws {RowError} on a row that is not JSON, unless `onBadRow` is `skip`
 * @throws {Error} if the file cannot be read, or is damaged or cut off
 */
export const readFileRecords = (
  path: string,
  options: RecordOptions = {},
): AsyncGenerator<DataRecord, void, undefined> => recordsOf({ path, name: path }, options);

async function* recordsOf(
  file: DataFile,
  options: RecordOptions,
  isUsed?: (column: string) => boolean,
): AsyncGenerator<DataRecord, void, undefined> {
  const kind = await kindOf(file.path);
  if (kind === 'parquet') {
    const { parquetRecords } = await import('./parquet/records'); // not loaded for JSON
    yield* parquetRecords(file.path, file.name, isUsed);
  } else yield* jsonRecords(file, kind, options);
}

const jsonRecords = ({ path, name }: DataFile, kind: FileKind, options: RecordOptions) =>
  readRecordsFrom(readDecompressed(path, name, kind), name, options);
