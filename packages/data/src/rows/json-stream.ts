import { type Chunks, isSpace, joinBytes, type Line, LineBytes, splitLines } from '@wpo/internal/lines';
import { RowError } from './fields';
import { refuseOtherKinds } from './other-kinds';

/** `jsonl`: one row per line. `json`: the rows are the elements of one JSON array. */
export type RowFormat = 'jsonl' | 'json';

const NEWLINE = 0x0a;
const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_LIST = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/**
 * Splits a stream of bytes into rows of JSON text, with one row and one chunk in memory at a time. It works on bytes, since
 * no multi-byte character of UTF-8 contains an ASCII byte. A byte-order mark at the start is dropped.
 *
 * `format` `auto` is `json` if the first character is `[`, else `jsonl`.
 *
 * @throws {RowError} if the file is of another kind (CSV, gzip, UTF-16, …), or its JSON array is broken, so that it is
 * unknown where the next row begins
 */
export const splitRows = (
  chunks: Chunks,
  options: { readonly file: string; readonly format: RowFormat | 'auto'; readonly maxRowBytes: number },
): AsyncGenerator<Line, void, undefined> =>
  readText(chunks, ({ head, mark, rest }) => {
    refuseOtherKinds(head, options.file);
    const first = head.subarray(mark).find((byte) => !isSpace(byte));
    const format = options.format === 'auto' ? (first === OPEN_LIST ? 'json' : 'jsonl') : options.format;
    if (format === 'json') return splitArray(rest, mark, options.file, options.maxRowBytes);
    return splitLines(rest, { maxBytes: options.maxRowBytes, offset: mark });
  });

/** A text, of which the start was read. */
export interface Text {
  /** The first line that is not blank, or more, as it is in the file. */
  readonly head: Uint8Array;
  /** Number of bytes of the byte-order mark at the start of `head`: 3 or 0. */
  readonly mark: number;
  /** The whole text after the byte-order mark. */
  readonly rest: AsyncIterable<Uint8Array>;
}

/** Reads enough of a text to detect its kind, then yields what `read` makes of it. */
export async function* readText<T>(
  chunks: Chunks,
  read: (text: Text) => AsyncIterable<T>,
): AsyncGenerator<T, void, undefined> {
  const source = iterate(chunks);
  try {
    const head = await readHead(source);
    const mark = BYTE_ORDER_MARK.every((byte, i) => head[i] === byte) ? BYTE_ORDER_MARK.length : 0;
    yield* read({ head, mark, rest: prepend(head.subarray(mark), source) });
  } finally {
    await source.return(); // closes the file when the consumer stops early
  }
}

/** @param base offset of the first chunk in the file */
async function* splitArray(
  chunks: Chunks,
  base: number,
  file: string,
  maxRowBytes: number,
): AsyncGenerator<Line, void, undefined> {
  const broken = (line: number, found: string, hint: string): never => {
    throw new RowError({ file, line }, { expected: 'a JSON array of rows', found, hint });
  };
  let line = 1;
  let state = 'before' as 'before' | 'first' | 'inside' | 'next' | 'after';
  let row = new LineBytes(line, base, maxRowBytes);
  let depth = 0; // open brackets inside the element
  let inText = false;
  let escaped = false;
  for await (const chunk of chunks) {
    let start = 0; // start of the element's bytes in this chunk
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i]!;
      if (byte === NEWLINE) line++;
      if (inText) {
        if (escaped) escaped = false;
        else if (byte === BACKSLASH) escaped = true;
        else if (byte === QUOTE) inText = false;
        continue;
      }
      if (state === 'inside') {
        if (byte === QUOTE) inText = true;
        else if (byte === OPEN_LIST || byte === OPEN_OBJECT) depth++;
        else if (depth > 0 && (byte === CLOSE_LIST || byte === CLOSE_OBJECT)) depth--;
        else if (depth === 0 && byte === CLOSE_OBJECT) broken(line, 'an unmatched }', 'Remove it.');
        else if (depth === 0 && (byte === COMMA || byte === CLOSE_LIST)) {
          row.add(chunk.subarray(start, i));
          yield row.take();
          state = byte === COMMA ? 'next' : 'after';
        }
        continue;
      }
      if (isSpace(byte)) continue;
      if (state === 'before') {
        if (byte !== OPEN_LIST)
          broken(line, 'no [ at the start', 'Put [ and ] around the rows, or write one row per line.');
        state = 'first';
      } else if (state === 'after') {
        broken(line, 'more text after the closing ]', 'Remove it, or move it into the array.');
      } else if (byte === CLOSE_LIST && state === 'first') {
        state = 'after';
      } else if (byte === COMMA || byte === CLOSE_LIST || byte === CLOSE_OBJECT) {
        broken(
          line,
          `a ${String.fromCharCode(byte)} where a row should be`,
          'Remove the extra comma, or add the missing row.',
        );
      } else {
        row = new LineBytes(line, base + i, maxRowBytes);
        start = i;
        state = 'inside';
        depth = byte === OPEN_LIST || byte === OPEN_OBJECT ? 1 : 0;
        inText = byte === QUOTE;
      }
    }
    if (state === 'inside') row.add(chunk.subarray(start));
    base += chunk.length;
  }
  if (state === 'inside') {
    broken(row.line, 'the end of the file inside a row', 'The file was cut off, or a quote or bracket is not closed.');
  }
  if (state !== 'after')
    broken(line, 'the end of the file before the closing ]', 'The file was cut off: download it again.');
}

const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf]; // of UTF-8

/** Reads the first line, or enough of it to detect the file's kind. Leading white space is limited, as it may be endless. */
async function readHead(source: AsyncGenerator<Uint8Array, void, undefined>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  let blank = true;
  let ends = false; // whether the first line that is not blank has ended
  while (length < MAX_HEAD && (blank || (length < MIN_HEAD && !ends))) {
    const { value, done } = await source.next();
    if (done) break;
    const before = length;
    const first = blank ? value.findIndex((byte, i) => !isSpace(byte) && byte !== BYTE_ORDER_MARK[before + i]) : 0;
    if (first >= 0) {
      blank = false;
      ends = value.indexOf(NEWLINE, first) >= 0;
    }
    parts.push(value);
    length += value.length;
  }
  return joinBytes(parts, length);
}

const MIN_HEAD = 4096;
const MAX_HEAD = 2 ** 20;

async function* iterate(chunks: Chunks): AsyncGenerator<Uint8Array, void, undefined> {
  yield* chunks;
}

async function* prepend(
  head: Uint8Array,
  rest: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield head;
  yield* rest;
}
