import { open } from 'node:fs/promises';
import { JsonLineError, type JsonlAppender, openJsonl, readJsonLines } from '@wpo/internal/node/jsonl';
import { claim } from './claim';
import { UserError } from './errors';
import { cannotWrite } from './whole-file';

/** A row of a JSONL file and its place, e.g. `answers.jsonl:7`. */
export interface FileRow {
  readonly row: unknown;
  readonly at: string;
}

/**
 * Reads a JSONL file row by row. Blank lines are skipped.
 *
 * @param expected what the rows are, for errors, e.g. `answers`
 * @throws {UserError} naming file and line
 */
export async function* readRowsFile(path: string, expected: string): AsyncGenerator<FileRow, void, undefined> {
  try {
    for await (const { value, line } of readJsonLines(path)) yield { row: value, at: `${path}:${line}` };
  } catch (error) {
    if (error instanceof JsonLineError) {
      const found = `text that is not JSON (${error.message})`;
      throw new UserError(`${path}:${error.line}: expected ${expected}, found ${found}.`);
    }
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    const found = code === 'ENOENT' ? 'no such file' : message;
    throw new UserError(`${path}: expected a JSONL file of ${expected}, found ${found}.`);
  }
}

/**
 * Opens a JSONL file for appending, or creates it, and locks it. Half a last line, left by a killed process, is cut off.
 *
 * @throws {UserError} where the file cannot be created, or another process appends to it
 */
export async function openRowsFile(path: string): Promise<JsonlAppender> {
  const created = await open(path, 'a').catch((error) => {
    throw cannotWrite(path, error);
  });
  await created.close();
  const release = await claim(path, 'rows');
  try {
    const file = await openJsonl(path);
    return { append: file.append, close: () => file.close().finally(release) };
  } catch (error) {
    release();
    throw error;
  }
}
