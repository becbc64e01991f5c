import { open } from 'node:fs/promises';
import { type AsyncBuffer, type FileMetaData, parquetMetadataAsync, parquetReadObjects } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import type { DataRecord } from '../rows/read-rows';
import { DAMAGED, fileError } from './files';

/**
 * Reads a Parquet file, one row group in memory at a time. A row's line is its number, counted from 1. Values are
 * converted to JSON's: 64-bit integers to numbers (to text if a number is not exact), absent lists to null, dates to
 * text.
 *
 * @param name names the file in errors
 * @throws {Error} if the file is damaged or cut off
 */
export async function* parquetRecords(path: string, name: string): AsyncGenerator<DataRecord, void, undefined> {
  const file = await openBuffer(path);
  try {
    const metadata = await readPart(name, 'its footer', () => parquetMetadataAsync(file));
    let start = 0;
    for (const group of metadata.row_groups) {
      const end = start + Number(group.num_rows);
      const rows = await readPart(name, `rows ${start + 1} to ${end}`, () => readGroup(file, metadata, start, end));
      for (const [i, row] of rows.entries()) yield { value: toJson(row), at: { file: name, line: start + i + 1 } };
      start = end;
    }
    if (start !== Number(metadata.num_rows)) {
      throw fileError(
        name,
        `${start} in its row groups`,
        `the ${metadata.num_rows} rows that its footer declares`,
        DAMAGED,
      );
    }
  } finally {
    await file.close();
  }
}

async function readGroup(file: AsyncBuffer, metadata: FileMetaData, rowStart: number, rowEnd: number) {
  const rows = await parquetReadObjects({ file, metadata, compressors, rowStart, rowEnd });
  if (rows.length !== rowEnd - rowStart) throw new Error(`${rows.length} rows instead of ${rowEnd - rowStart}`);
  return rows;
}

/** Reads a part of the file. Every error of the Parquet reader is reported as a damaged file. */
async function readPart<T>(name: string, part: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const cause = new Error(`${part} unreadable (${why})`, { cause: error });
    throw fileError(name, cause, 'a complete Parquet file', DAMAGED);
  }
}

async function openBuffer(path: string): Promise<AsyncBuffer & { close(): Promise<void> }> {
  const file = await open(path);
  const { size } = await file.stat();
  return {
    byteLength: size,
    async slice(start, end = size) {
      if (start < 0 || end > size || start > end) throw new Error(`bytes ${start} to ${end} of ${size}`);
      const buffer = new ArrayBuffer(end - start);
      const { bytesRead } = await file.read(new Uint8Array(buffer), 0, end - start, start);
      if (bytesRead < end - start) throw new Error(`the file’s end at byte ${start + bytesRead}`);
      return buffer;
    },
    close: () => file.close(),
  };
}

function toJson(value: unknown): unknown {
  if (typeof value === 'bigint') {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : String(value);
  }
  if (value === undefined || value === null) return null;
  if (Array.isArray(value)) return value.map(toJson);
  if (value instanceof Date) return value.toISOString();
  if (typeof value !== 'object' || ArrayBuffer.isView(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, toJson(inner)]));
}
