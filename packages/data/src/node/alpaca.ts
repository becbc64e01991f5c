import { createReadStream } from 'node:fs';
import { readAlpacaFrom } from '../evaluation/read-alpaca';
import type { Place } from '../rows/row-error';
import { fileError } from './file-error';

/**
 * Reads a file in alpaca_eval's layout: see `readAlpacaFrom`.
 *
 * @throws {RowError} on the first bad row, and where there is none
 * @throws {Error} where the file cannot be read
 */
export const readAlpaca = <T>(path: string, parse: (row: unknown, at: Place) => T): Promise<T[]> =>
  readAlpacaFrom(bytesOf(path), path, parse);

async function* bytesOf(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    for await (const chunk of createReadStream(path)) yield chunk as Uint8Array;
  } catch (error) {
    throw fileError(path, error, 'a JSON or JSONL file in alpaca_eval’s layout', 'Check the path.');
  }
}
