import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import { claim } from './claim';
import { UserError } from './errors';

/** A row of a JSONL file and where it stands, e.g. `answers.jsonl:7`. */
export interface FileRow {
  readonly row: unknown;
  readonly at: string;
}

/** A file of rows to which rows are added. */
export interface RowsFile {
  /** Adds a row, whole or not at all as far as a later reader can see. */
  append(row: object): Promise<void>;
  close(): Promise<void>;
}

/**
 * Reads a JSONL file row by row; blank lines are passed over.
 *
 * @param wanted what the rows are to be, for errors, e.g. `answers`
 * @throws {UserError} naming file and line
 */
export async function* readRowsFile(path: string, wanted: string): AsyncGenerator<FileRow, void, undefined> {
  let line = 0;
  try {
    for await (const text of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
      line += 1;
      if (text.trim() !== '') yield { row: parse(text, `${path}:${line}`, wanted), at: `${path}:${line}` };
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    const found = code === 'ENOENT' ? 'no such file' : message;
    throw new UserError(`${path}: found ${found}, wanted a JSONL file of ${wanted}.`);
  }
}

function parse(text: string, at: string, wanted: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UserError(`${at}: found text that is not JSON (${(error as Error).message}), wanted ${wanted}.`);
  }
}

/**
 * Opens a file to go on with: makes it where there is none. A last line that was cut off when its writer was killed is
 * dropped, so that all that is there are whole rows.
 *
 * @throws {UserError} where no file can be made there, or another process adds rows to it
 */
export async function openRowsFile(path: string): Promise<RowsFile> {
  const file = await open(path, 'a+').catch((error: NodeJS.ErrnoException) => {
    const found = error.code === 'ENOENT' ? `no folder ${dirname(path)}` : error.message;
    throw new UserError(`${path}: cannot be written: found ${found}, wanted a place for a file.`);
  });
  const release = await claim(path, 'rows').catch(async (error) => {
    await file.close();
    throw error;
  });
  await mendEnd(file);
  return {
    append: (row) => file.appendFile(`${JSON.stringify(row)}\n`),
    close: () => file.close().finally(release),
  };
}

/** Half a JSON object is never JSON: so a last line without its newline is either a whole row or one to drop. */
async function mendEnd(file: FileHandle): Promise<void> {
  const { size } = await file.stat();
  const last = await lastLine(file, size);
  if (last.length === 0) return;
  if (isJson(last.toString('utf8'))) await file.appendFile('\n');
  else await file.truncate(size - last.length);
}

const CHUNK = 65_536;

/** What stands after the last newline. */
async function lastLine(file: FileHandle, size: number): Promise<Buffer> {
  let tail: Buffer = Buffer.alloc(0);
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - CHUNK);
    const { buffer } = await file.read(Buffer.alloc(end - start), 0, end - start, start);
    const newline = buffer.lastIndexOf(10);
    tail = Buffer.concat([buffer.subarray(newline + 1), tail]);
    if (newline >= 0) break;
    end = start;
  }
  return tail;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
