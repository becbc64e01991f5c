import { createReadStream } from 'node:fs';
import { extname } from 'node:path';
import type { RowFormat } from '../json-stream';
import { type ReadOptions, readRowsFrom } from '../read-rows';
import type { PreferenceRow } from '../records';
import { fileError } from './file-error';

/**
 * Reads preference rows from a JSONL file or a JSON array, one row in memory at a time; closes the file when stopped
 * early. A file named `.jsonl` or `.ndjson` is read as lines; of any other, the first character tells.
 *
 * @throws {RowError} on a bad row, unless `onBadRow` is `skip`; see `readRowsFrom`
 * @throws {Error} where the file cannot be read
 */
export async function* readRows(
  path: string,
  options: ReadOptions = {},
): AsyncGenerator<PreferenceRow, void, undefined> {
  yield* readRowsFrom(bytesOf(path), path, { ...options, format: options.format ?? formatByName(path) });
}

function formatByName(path: string): RowFormat | 'auto' {
  return ['.jsonl', '.ndjson'].includes(extname(path).toLowerCase()) ? 'jsonl' : 'auto';
}

async function* bytesOf(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) yield chunk as Uint8Array;
  } catch (error) {
    throw fileError(path, error, 'a JSONL or JSON file of preference pairs', 'Check the path.');
  }
}
