import { type FileHandle, open } from 'node:fs/promises';
import { Numbers } from '../numbers';
import { AnswerPool } from '../pairing/answer-pool';
import { type PairAnswersOptions, type Pairing, pairPool } from '../pairing/pair-answers';
import { parseScoredAnswer } from '../pairing/scored-answer';
import { splitRows } from '../rows/json-stream';
import { type Fields, isFields, parseJson } from '../rows/preference-row';
import { type BadRows, decodeRow, keepGood, MAX_ROW_BYTES } from '../rows/read-rows';
import type { Place } from '../rows/row-error';
import { fileError } from './file-error';
import { unpacked } from './unpack';

/** Where an answer's row lies. */
interface Where {
  /** Number of the file. */
  readonly file: number;
  readonly line: number;
  readonly offset: number;
  readonly length: number;
}

/**
 * As `pairAnswers`, from JSONL files of scored answers that need not fit memory: all are read once, some 100 bytes kept
 * an answer, and the rows of chosen and rejected answers are read again as they are written. The answers to a prompt may lie
 * in several files, in any order. Files that are packed are refused, since rows are read from their middle.
 *
 * @throws {RowError} on a row that is no scored answer, unless `onBadRow` is `skip`
 * @throws {Error} where a file cannot be read
 */
export async function pairAnswerFiles(
  files: readonly string[],
  options: PairAnswersOptions & BadRows = {},
): Promise<Pairing> {
  const pool = new AnswerPool();
  const places = new Places();
  for (const [file, path] of files.entries()) await addFile(path, file, pool, places, options);
  const reader = new RowReader(files);
  const { rows, summary } = pairPool(pool, (answer) => reader.read(places.at(answer)), options);
  return { rows: thenClose(rows, reader), summary };
}

async function addFile(path: string, file: number, pool: AnswerPool, places: Places, options: BadRows): Promise<void> {
  const format = { file: path, format: 'jsonl', maxRowBytes: MAX_ROW_BYTES } as const;
  for await (const raw of splitRows(unpacked(path, path, 'text'), format)) {
    const at = { file: path, line: raw.line };
    const added = keepGood(() => {
      const value = parseJson(decodeRow(raw, path, MAX_ROW_BYTES), at);
      return pool.add(parseScoredAnswer(value, at));
    }, options);
    if (added !== undefined) places.add({ file, ...raw });
  }
}

async function* thenClose<T>(rows: AsyncIterable<T>, reader: RowReader): AsyncGenerator<T, void, undefined> {
  try {
    yield* rows;
  } finally {
    await reader.close();
  }
}

/** Where all answers lie, by their numbers. */
class Places {
  private readonly columns = { file: new Numbers(), line: new Numbers(), offset: new Numbers(), length: new Numbers() };

  add({ file, line, offset, length }: Where): void {
    this.columns.file.add(file);
    this.columns.line.add(line);
    this.columns.offset.add(offset);
    this.columns.length.add(length);
  }

  at(answer: number): Where {
    const { file, line, offset, length } = this.columns;
    return { file: file.at(answer), line: line.at(answer), offset: offset.at(answer), length: length.at(answer) };
  }
}

/** Reads rows from the middle of files, each opened once. */
class RowReader {
  private readonly handles = new Map<number, FileHandle>();

  constructor(private readonly paths: readonly string[]) {}

  /** @throws {Error} where the row is no longer there */
  async read({ file, line, offset, length }: Where): Promise<Fields> {
    const at: Place = { file: this.paths[file]!, line };
    const { buffer, bytesRead } = await (await this.handle(file)).read(Buffer.alloc(length), 0, length, offset);
    const text = buffer.toString('utf8', 0, bytesRead);
    const row = bytesRead < length ? undefined : parseJson(text, at);
    if (isFields(row)) return row;
    throw fileError(`${at.file}:${line}`, 'another row than before', 'a file that stays as it is', 'Run it again.');
  }

  async close(): Promise<void> {
    for (const handle of this.handles.values()) await handle.close();
  }

  private async handle(file: number): Promise<FileHandle> {
    const known = this.handles.get(file);
    if (known !== undefined) return known;
    const opened = await open(this.paths[file]!, 'r');
    this.handles.set(file, opened);
    return opened;
  }
}
