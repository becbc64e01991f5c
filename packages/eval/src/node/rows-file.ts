import { open } from 'node:fs/promises';
import { RowError, type RowLocation } from '@wpo/data';
import { readFileRecords } from '@wpo/data/node';
import { type JsonlAppender, openJsonl } from '@wpo/internal/node/jsonl';
import { tryLock } from '@wpo/internal/node/lock';
import { explainWrites } from '@wpo/internal/node/write-errors';
import { printable } from '@wpo/internal/printable';
import { EvaluationError } from '../errors';

/** A row of a file and its place. */
export interface FileRow {
  readonly row: unknown;
  /** As in messages, e.g. `answers.jsonl:7`. */
  readonly at: string;
  readonly location: RowLocation;
}

/** A JSONL file to which rows are appended. It is locked until it is closed. */
export interface RowsFile {
  /** Appends a row. Resolves once it is synced to disk. */
  append(row: object): Promise<void>;
  close(): Promise<void>;
}

/**
 * Reads a file of rows as pairs are read: JSONL, a JSON array or Parquet, plain or compressed.
 *
 * @throws {RowError} naming file and line, for a row that is not JSON
 * @throws {EvaluationError} if the file cannot be read
 */
export async function* readRowsFile(path: string): AsyncGenerator<FileRow, void, undefined> {
  try {
    for await (const { value, at } of readFileRecords(path)) {
      yield { row: value, at: `${printable(at.file)}:${at.line}`, location: at };
    }
  } catch (error) {
    if (!(error instanceof Error) || error instanceof RowError || error instanceof EvaluationError) throw error;
    throw error instanceof TypeError ? error : new EvaluationError(error.message, { cause: error });
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
