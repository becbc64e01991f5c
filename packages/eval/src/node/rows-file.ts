import { open } from 'node:fs/promises';
import { JsonLineError, type JsonlAppender, openJsonl, readJsonLines } from '@wpo/internal/node/jsonl';
import { tryLock } from '@wpo/internal/node/lock';
import { explainWrites } from '@wpo/internal/node/write-errors';
import { EvaluationError } from '../errors';

/** A row of a JSONL file and its place, e.g. `answers.jsonl:7`. */
export interface FileRow {
  readonly row: unknown;
  readonly at: string;
}

/** A JSONL file to which rows are appended. It is locked until it is closed. */
export interface RowsFile {
  /** Appends a row. Resolves once it is synced to disk. */
  append(row: object): Promise<void>;
  close(): Promise<void>;
}

/**
 * Reads a JSONL file row by row. Blank lines are skipped.
 *
 * @param expected names the rows in errors, e.g. `answers`
 * @throws {EvaluationError} naming file and line, for a line that is not JSON, and if the file cannot be read
 */
export async function* readRowsFile(path: string, expected: string): AsyncGenerator<FileRow, void, undefined> {
  try {
    for await (const { value, line } of readJsonLines(path)) yield { row: value, at: `${path}:${line}` };
  } catch (error) {
    if (error instanceof JsonLineError) {
      const found = `text that is not JSON (${error.message})`;
      throw new EvaluationError(`${path}:${error.line}: expected ${expected}, found ${found}. Write one row per line.`);
    }
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    const found = code === 'ENOENT' ? 'no such file' : message;
    throw new EvaluationError(`${path}: expected a JSONL file of ${expected}, found ${found}. Check the path.`);
  }
}

/**
 * Opens a JSONL file for appending, or creates it, and locks it. A last line that a killed process left incomplete is cut
 * off.
 *
 * @throws {EvaluationError} if another process appends to it
 * @throws {WriteError} if the system refuses to write, also from `append`
 */
export async function openRowsFile(path: string): Promise<RowsFile> {
  const created = await explainWrites(path, () => open(path, 'a'));
  await created.close();
  const release = await tryLock(path, 'rows');
  if (release === undefined) {
    throw new EvaluationError(
      `${path}: another wpo process is writing here. Wait until it ends, or stop it: \`pgrep -af wpo\` lists such processes.`,
    );
  }
  try {
    const file: JsonlAppender = await openJsonl(path);
    return { append: file.append, close: () => file.close().finally(release) };
  } catch (error) {
    release();
    throw error;
  }
}
