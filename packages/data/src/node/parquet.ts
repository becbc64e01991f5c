import { open } from 'node:fs/promises';
import { type AsyncBuffer, type FileMetaData, parquetMetadataAsync, parquetReadObjects } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import type { DataRecord } from '../rows/read-rows';
import { fileError } from './file-error';
import { DAMAGED } from './unpack';

/**
 * Reads a Parquet file, one row group in memory at a time. A row's line is its number, counted from 1. Values become
 * what JSON has: 64-bit integers numbers (text where a number would not be exact), absent lists null, dates text.
 *
 * @param name what errors call the file
 * @throws {Error} where the file is damaged or cut off
 */
export async function* parquetRecords(path: string, name: string): AsyncGenerator<DataRecord, void, undefined> {
  const file = await openBuffer(path);
  try {
    const metadata = await whole(name, 'its footer', () => parquetMetadataAsync(file));
    let start = 0;
    for (const group of metadata.row_groups) {
      const end = start + Number(group.num_rows);
      const rows = await whole(name, `rows ${start + 1} to ${end}`, () => readGroup(file, metadata, start, end));
      for (const [i, row] of rows.entries()) yield { value: asJson(row), at: { file: name, line: start + i + 1 } };
      start = end;
    }
    if (start !== Number(metadata.num_rows)) {
      throw fileError(name, `${start} rows in its row groups`, `${metadata.num_rows}, as its footer says`, DAMAGED);
    }
  } finally {
    await file.close();
  }
}

async function readGroup(file: AsyncBuffer, metadata: FileMetaData, rowStart: number, rowEnd: number) {
  const rows = await parquetReadObjects({ file, metadata, compressors, rowStart, rowEnd });
  if (rows.length !== rowEnd - rowStart) throw new Error(`${rows.length} rows where ${rowEnd - rowStart} should be`);
  return rows;
}

/** What a damaged file makes the reader throw is told as damage, whatever kind of error it is. */
async function whole<T>(name: string, part: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw fileError(name, new Error(`${part} unreadable (${why})`, { cause: error }), 'a whole Parquet file', DAMAGED);
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

function asJson(value: unknown): unknown {
  if (typeof value === 'bigint') {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : String(value);
  }
  if (value === undefined || value === null) return null;
  if (Array.isArray(value)) return value.map(asJson);
  if (value instanceof Date) return value.toISOString();
  if (typeof value !== 'object' || ArrayBuffer.isView(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, asJson(inner)]));
}
