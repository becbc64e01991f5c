import type { RowFormat } from '../rows/json-stream';
import { type DataRecord, type RecordOptions, readRecordsFrom } from '../rows/read-rows';
import { type DataFile, type DataFileOptions, dataFiles } from './data-files';
import { parquetRecords } from './parquet';
import { type FileKind, kindOf, unpacked } from './unpack';

/**
 * Reads the rows of a source (see `dataFiles`) as they are, whatever their columns: JSONL, JSON arrays and Parquet,
 * packed by gzip or zstd or not. One row is in memory at a time, of Parquet one row group.
 *
 * @throws {RowError} on a row that is not JSON, unless `onBadRow` is `skip`
 * @throws {Error} where a file cannot be read, or is damaged or cut off
 */
export async function* readRecords(
  source: string,
  options: RecordOptions & DataFileOptions = {},
): AsyncGenerator<DataRecord, void, undefined> {
  for (const file of await dataFiles(source, options)) {
    const kind = await kindOf(file.path);
    yield* kind === 'parquet' ? parquetRecords(file.path, file.name) : jsonRecords(file, kind, options);
  }
}

const jsonRecords = ({ path, name }: DataFile, kind: FileKind, options: RecordOptions) =>
  readRecordsFrom(unpacked(path, name, kind), name, { ...options, format: options.format ?? formatByName(name) });

function formatByName(name: string): RowFormat | 'auto' {
  return /\.(jsonl|ndjson)(\.(gz|zst))?$/i.test(name) ? 'jsonl' : 'auto';
}
