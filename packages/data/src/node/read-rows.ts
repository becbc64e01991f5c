import { type Columns, isNumberColumn, isUsedColumn } from '../rows/layouts';
import type { PreferenceRow } from '../rows/preference-row';
import {
  type DataRecord,
  preferenceRows,
  type ReadOptions,
  type RecordOptions,
  readRecordsFrom,
} from '../rows/read-rows';
import { isTable } from '../rows/splits';
import { type DataFile, type DataFileOptions, dataFiles } from './data-files';
import { kindOf, readDecompressed } from './files';

/** Which files to read, and how. */
export type ReadRowsOptions = ReadOptions & DataFileOptions;

/**
 * Reads preference rows from a file, folder, glob or data set of the Hugging Face hub (see `dataFiles`): Parquet and
 * Arrow, or JSONL, JSON, CSV and TSV, plain or compressed with gzip or zstd. Only one row is in memory at a time, or one row
 * group of a Parquet file, or one record batch of an Arrow file. Files are closed when the consumer stops early. The first
 * character of a text decides between JSONL and a JSON array, whatever the name of the file; CSV and TSV have their names.
 *
 * @throws {RowError} on a bad row, unless `onBadRow` is `skip`; see `readRowsFrom`
 * @throws {Error} if a file cannot be read, or is damaged or cut off
 */
export const readRows = (
  source: string,
  options: ReadRowsOptions = {},
): AsyncGenerator<PreferenceRow, void, undefined> =>
  preferenceRows(records(source, options, columnsRead(options.columns)), options);

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

/** What to know about the columns of a file. */
interface ColumnsRead {
  /** Which columns of a Parquet file to read; by default all. */
  readonly isUsed?: (column: string) => boolean;
  /** Which columns of a CSV file hold numbers. */
  readonly isNumber: (column: string) => boolean;
}

const columnsRead = (columns?: Columns): ColumnsRead => ({
  isUsed: (column) => isUsedColumn(column, columns),
  isNumber: (column) => isNumberColumn(column, columns),
});

const ALL: ColumnsRead = { isNumber: (column) => isNumberColumn(column) };

async function* records(
  source: string,
  options: RecordOptions & DataFileOptions,
  columns = ALL,
): AsyncGenerator<DataRecord, void, undefined> {
  for (const file of await dataFiles(source, options)) {
    for await (const record of recordsOf(file, options, columns)) {
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
): AsyncGenerator<DataRecord, void, undefined> => recordsOf({ path, name: path }, options, ALL);

/** The readers of other formats than JSON are loaded when they are needed. */
async function* recordsOf(
  { path, name }: DataFile,
  options: RecordOptions,
  { isUsed, isNumber }: ColumnsRead,
): AsyncGenerator<DataRecord, void, undefined> {
  const kind = await kindOf(path);
  if (kind === 'parquet') {
    const { parquetRecords } = await import('./parquet/records');
    yield* parquetRecords(path, name, isUsed);
  } else if (kind === 'arrow') {
    const { arrowRecords } = await import('./arrow');
    yield* arrowRecords(path, name, isUsed);
  } else if (isTable(name) && (options.format ?? 'auto') === 'auto') {
    const { tableRecords } = await import('./csv');
    yield* tableRecords(readDecompressed(path, name, kind), name, options, isNumber);
  } else yield* readRecordsFrom(readDecompressed(path, name, kind), name, options);
}
