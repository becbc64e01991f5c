import { type FileHandle, open } from 'node:fs/promises';
import { printable } from '@wpo/internal/printable';
import { MapRow, type RecordBatch, RecordBatchReader, StructRow, Vector } from 'apache-arrow';
import type { DataRecord } from '../rows/read-rows';
import { DAMAGED, FileError, fileError } from './files';
import { toJson } from './parquet/values';

/**
 * Reads an Arrow file, one record batch in memory at a time: a stream, as `save_to_disk` and the cache of Python's datasets
 * write it, or a file with a footer (Feather). A row's line is its number, counted from 1. Values are converted to JSON's, as
 * those of Parquet are.
 *
 * @param name names the file in errors
 * @param isUsed which columns to read; the others are null in every row. Default: all
 * @throws {Error} if the file is damaged, cut off or compressed
 */
export async function* arrowRecords(
  path: string,
  name: string,
  isUsed: (column: string) => boolean = () => true,
): AsyncGenerator<DataRecord, void, undefined> {
  const file = await open(path);
  let row = 0;
  try {
    await checkEnd(file, name);
    const reader = await RecordBatchReader.from(file.createReadStream({ start: 0, autoClose: false }));
    await reader.open();
    for await (const batch of reader) {
      const columns = columnsOf(batch, isUsed);
      for (let i = 0; i < batch.numRows; i++) {
        const value = Object.fromEntries(columns.map(([column, values]) => [column, toValue(values?.get(i))]));
        yield { value, at: { file: name, line: ++row } };
      }
    }
  } catch (error) {
    if (error instanceof FileError) throw error;
    if (/compress/i.test((error as Error).message)) {
      const hint =
        'Write it without compression, or as Parquet, e.g. in Python: pyarrow.parquet.write_table(table, path).';
      throw fileError(name, 'compressed record batches', 'an Arrow file without compression', hint);
    }
    const why = new Error(`unreadable data after row ${row} (${printable((error as Error).message, 200)})`, {
      cause: error,
    });
    throw fileError(name, why, 'a complete Arrow file', DAMAGED);
  } finally {
    await file.close();
  }
}

/** A stream ends in a mark of 8 bytes, a file in the letters ARROW1. A reader would take a stream without it as complete. */
async function checkEnd(file: FileHandle, name: string): Promise<void> {
  const { size } = await file.stat();
  const { buffer, bytesRead } = await file.read(Buffer.alloc(8), 0, 8, Math.max(0, size - 8));
  const end = buffer.subarray(0, bytesRead);
  if (end.equals(Buffer.from('ffffffff00000000', 'hex')) || end.subarray(-6).toString('latin1') === 'ARROW1') return;
  throw fileError(name, 'no end mark', 'a complete Arrow file', DAMAGED);
}

const columnsOf = (batch: RecordBatch, isUsed: (column: string) => boolean) =>
  batch.schema.fields.map(({ name }, i): readonly [string, Vector | null] => [
    name,
    isUsed(name) ? batch.getChildAt(i) : null,
  ]);

function toValue(value: unknown): unknown {
  if (value instanceof Vector) return Array.from(value, toValue);
  if (value instanceof StructRow || value instanceof MapRow) {
    return Object.fromEntries(Object.entries(value.toJSON()).map(([name, inner]) => [name, toValue(inner)]));
  }
  return toJson(value);
}
