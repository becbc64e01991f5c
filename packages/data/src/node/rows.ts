import { createReadStream } from 'node:fs';
import { extname } from 'node:path';
import { type EncodedPair, type EncodeOptions, encodeRows } from '../encode';
import type { RowFormat } from '../json-stream';
import { type ReadOptions, readRowsFrom } from '../read-rows';
import type { PreferenceRow } from '../records';
import type { RowError } from '../row-error';
import { fileError } from './file-error';

/** The pairs of a file, and the rows that were left out. */
export interface LoadedPairs {
  readonly pairs: EncodedPair[];
  readonly skipped: RowError[];
}

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

/**
 * Reads and encodes a whole file: what training holds in memory, four bytes a token.
 *
 * @throws {RowError} on a row that cannot be read or encoded, unless `onBadRow` is `skip`
 * @throws {Error} where the file cannot be read, or no pair is left
 */
export async function loadPairs(path: string, options: EncodeOptions & ReadOptions): Promise<LoadedPairs> {
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
