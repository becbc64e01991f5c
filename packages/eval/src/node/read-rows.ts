import { createReadStream } from 'node:fs';
import { type DataRecord, readRecordsFrom } from '@wpo/data';
import { EvaluationError } from '../errors';

/**
 * Reads a JSONL file row by row. Blank lines are skipped.
 *
 * @param rows what the rows are, for errors, e.g. `answers`
 * @throws {RowError} for a line that is not JSON
 * @throws {EvaluationError} if the file cannot be read
 */
export const readJsonl = (path: string, rows: string): AsyncGenerator<DataRecord, void, undefined> =>
  readRecordsFrom(bytesOf(path, `a JSONL file of ${rows}`), path, { format: 'jsonl' });

/** Streams a file's bytes. @param expected what the file is, for errors */
export async function* bytesOf(path: string, expected: string): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    for await (const chunk of createReadStream(path)) yield chunk as Uint8Array;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const found = code === 'ENOENT' ? 'no such file' : code === 'EISDIR' ? 'a folder' : message;
    throw new EvaluationError(`${path}: expected ${expected}, found ${found}. Check the path.`, { cause: error });
  }
}
