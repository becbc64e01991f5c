import { readFile, stat } from 'node:fs/promises';
import { JsonError, parseJson } from '../json';

export interface JsonFileOptions {
  /** What the file should be, to complete "expected …". Default `a JSON file`. */
  readonly expected?: string;
  /** A last sentence for messages: how to fix the file. */
  readonly hint?: string;
  /** Default 16 MB. */
  readonly maxBytes?: number;
}

/**
 * Reads a JSON file.
 *
 * @returns the parsed value; undefined if there is no such file
 * @throws {Error} naming the file, if it is not JSON, too large, or not a file
 */
export async function readJsonFile(path: string, options: JsonFileOptions = {}): Promise<unknown> {
  const { expected = 'a JSON file', hint, maxBytes = 2 ** 24 } = options;
  const refuse = (found: string) =>
    new Error(`${path}: expected ${expected}, found ${found}.${hint ? ` ${hint}` : ''}`);
  let text: string;
  try {
    const stats = await stat(path); // before the file is opened: opening a pipe would wait for its writer
    if (!stats.isFile()) throw refuse(stats.isDirectory() ? 'a folder' : 'something that is not a file');
    if (stats.size > maxBytes) throw refuse(`${stats.size} bytes, more than ${maxBytes}`);
    text = await readFile(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    if (code === undefined) throw error;
    throw refuse(`one that cannot be read (${code})`);
  }
  try {
    return parseJson(text);
  } catch (error) {
    throw error instanceof JsonError ? refuse(error.message) : error;
  }
}
