import { type FileHandle, open } from 'node:fs/promises';
import { NumberList } from '../numbers';
import { AnswerPool } from '../pairing/answer-pool';
import { type PairAnswersOptions, type Pairing, pairPool } from '../pairing/pair-answers';
import { parseScoredAnswer } from '../pairing/scored-answer';
import { type Fields, isFields, type RowLocation } from '../rows/fields';
import { splitRows } from '../rows/json-stream';
import { type BadRows, keepGood, MAX_ROW_BYTES, parseJsonRow, parseRawRow } from '../rows/read-rows';
import { fileError, readDecompressed } from './files';

/**
 * As `pairAnswers`, from JSONL files of scored answers that need not fit in memory. All files are read once, and about 100
 * bytes are kept per answer. The rows of chosen and rejected answers are read again when their pairs are taken. The answers
 * to a prompt may be in several files, in any order. Compressed files are rejected, because rows are read by their offset.
 *
 * @throws {RowError} on a row that is not a scored answer, unless `onBadRow` is `skip`
 * @throws {Error} if a file cannot be read
 */
export async function pairAnswerFiles(
  files: readonly string[],
  options: PairAnswersOptions & BadRows = {},
): Promise<Pairing> {
  const pool = new AnswerPool();
  const positions = new RowPositions();
  for (const [file, path] of files.entries()) await addFile(path, file, pool, positions, options);
  const reader = new RowReader(files);
  const { rows, summary } = pairPool(pool, (answer) => reader.read(positions.at(answer)), options);
  return { rows: thenClose(rows, reader), summary };
}

async function addFile(
  path: string,
  file: number,
  pool: AnswerPool,
  positions: RowPositions,
  options: BadRows,
): Promise<void> {
  const format = { file: path, format: 'auto', maxRowBytes: MAX_ROW_BYTES } as const;
  for await (const raw of splitRows(readDecompressed(path, path, 'text'), format)) {
    const at = { file: path, line: raw.line };
    const added = keepGood(() => pool.add(parseScoredAnswer(parseRawRow(raw, at, MAX_ROW_BYTES), at)), options);
    if (added !== undefined) positions.add({ file, ...raw });
  }
}

async function* thenClose<T>(rows: AsyncIterable<T>, reader: RowReader): AsyncGenerator<T, void, undefined> {
  try {
    yield* rows;
  } finally {
    await reader.close();
  }
}

/** Where an answer's row is. */
interface RowPosition {
  /** Index of the file. */
  readonly file: number;
  readonly line: number;
  readonly offset: number;
  readonly length: number;
}

/** The positions of all answers, by their indices in the pool. */
class RowPositions {
  private readonly columns = {
    file: new NumberList(),
    line: new NumberList(),
    offset: new NumberList(),
    length: new NumberList(),
  };

  add({ file, line, offset, length }: RowPosition): void {
    this.columns.file.add(file);
    this.columns.line.add(line);
    this.columns.offset.add(offset);
    this.columns.length.add(length);
  }

  at(answer: number): RowPosition {
    const { file, line, offset, length } = this.columns;
    return { file: file.at(answer), line: line.at(answer), offset: offset.at(answer), length: length.at(answer) };
  }
}

/** Reads rows by their position in the files. Each file is opened once. */
class RowReader {
  private readonly handles = new Map<number, FileHandle>();

  constructor(private readonly paths: readonly string[]) {}

  /** @throws {Error} if the row is no longer there */
  async read({ file, line, offset, length }: RowPosition): Promise<Fields> {
    const at: RowLocation = { file: this.paths[file]!, line };
    const { buffer, bytesRead } = await (await this.handle(file)).read(Buffer.alloc(length), 0, length, offset);
    const text = buffer.toString('utf8', 0, bytesRead);
    const row = bytesRead < length ? undefined : parseJsonRow(text, at);
    if (isFields(row)) return row;
    const hint = 'The file must not change while its answers are paired: run it again.';
    throw fileError(`${at.file}:${line}`, 'another', 'the row that was there before', hint);
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
