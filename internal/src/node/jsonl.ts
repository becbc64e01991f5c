import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { appendWhole, syncFolder } from './files';
import { explainWrites } from './write-errors';

/** The lines of a text that end in a newline. Drops an incomplete last line, which a killed writer may have left. */
export const completeLines = (text: string): string[] => text.split('\n').slice(0, -1);

/** A JSONL file to which values are appended. */
export interface JsonlAppender {
  /** Appends a value as one line. Resolves once the line is synced to disk; calls that overlap share one sync. */
  append(value: object): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens a JSONL file for appending, or creates it. Removes an incomplete last line, which a killed writer may have left.
 *
 * Lock the file first: while another process writes to it, its last line looks incomplete.
 *
 * @throws {WriteError} also from `append`, if the system refuses to write; no part of the line stays in the file
 */
export async function openJsonl(path: string): Promise<JsonlAppender> {
  const file = await explainWrites(path, async () => {
    const file = await open(path, 'a+');
    try {
      await repairEnd(file);
      await syncFolder(dirname(path));
      return file;
    } catch (error) {
      await file.close();
      throw error;
    }
  });
  let pending = '';
  let writing = Promise.resolve();
  const flush = () =>
    explainWrites(path, async () => {
      const text = pending;
      pending = '';
      await appendWhole(file, text);
    });
  return {
    append(value) {
      const joinsNextFlush = pending !== '';
      pending += `${JSON.stringify(value)}\n`;
      if (!joinsNextFlush) writing = writing.then(flush);
      return writing;
    },
    close: () => writing.catch(() => {}).then(() => file.close()),
  };
}

/** Ends the last line with a newline if it is complete, else removes it. Part of a JSON object is never valid JSON. */
async function repairEnd(file: FileHandle): Promise<void> {
  const { size } = await file.stat();
  const last = await lastLine(file, size);
  if (last.length === 0) return;
  if (isJson(last.toString('utf8'))) await file.appendFile('\n');
  else await file.truncate(size - last.length);
}

const CHUNK = 65_536;

/** The bytes after the last newline. */
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
