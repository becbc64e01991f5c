import { RowError } from './fields';

/** The bytes of one row of a file. */
export interface RawRow {
  /** The line on which the row starts, counted from 1. */
  readonly line: number;
  /** Offset of the row's first byte in the (decompressed) file. */
  readonly offset: number;
  /** The row's JSON text; null if the row is longer than the limit. */
  readonly bytes: Uint8Array | null;
  /** Length in bytes, also of a row over the limit. */
  readonly length: number;
}

/** `jsonl`: one row per line. `json`: the rows are the elements of one JSON array. */
export type RowFormat = 'jsonl' | 'json';

type Chunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

const TAB = 0x09;
const NEWLINE = 0x0a;
const RETURN = 0x0d;
const SPACE = 0x20;
const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_LIST = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

const isSpace = (byte: number) => byte === SPACE || byte === NEWLINE || byte === RETURN || byte === TAB;

/**
 * Splits a stream of bytes into rows, with one row and one chunk in memory at a time. It works on bytes, since no
 * multi-byte character of UTF-8 contains an ASCII byte. A byte-order mark at the start is dropped.
 *
 * `format` `auto` is `json` if the first character is `[`, else `jsonl`.
 *
 * @throws {RowError} if the file is of another kind (gzip, Parquet, UTF-16, …), or its JSON array is broken, so that it is
 * unknown where the next row begins
 */
export async function* splitRows(
  chunks: Chunks,
  options: { readonly file: string; readonly format: RowFormat | 'auto'; readonly maxRowBytes: number },
): AsyncGenerator<RawRow, void, undefined> {
  const source = iterate(chunks);
  try {
    const head = await readHead(source);
    refuseOtherKinds(head, options.file);
    const mark = BYTE_ORDER_MARK.every((byte, i) => head[i] === byte) ? BYTE_ORDER_MARK.length : 0;
    const text = head.subarray(mark);
    const first = text.find((byte) => !isSpace(byte));
    const format = options.format === 'auto' ? (first === OPEN_LIST ? 'json' : 'jsonl') : options.format;
    const all = prepend(text, source);
    if (format === 'json') yield* splitArray(all, mark, options.file, options.maxRowBytes);
    else yield* splitLines(all, mark, options.maxRowBytes);
  } finally {
    await source.return(); // closes the file when the consumer stops early
  }
}

/** @param base offset of the first chunk in the file */
async function* splitLines(chunks: Chunks, base: number, maxRowBytes: number): AsyncGenerator<RawRow, void, undefined> {
  let line = 1;
  let row = new RowBytes(line, base, maxRowBytes);
  for await (const chunk of chunks) {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(NEWLINE, start);
      row.add(chunk.subarray(start, end < 0 ? chunk.length : end));
      if (end < 0) break;
      if (!row.blank) yield row.take();
      start = end + 1;
      row = new RowBytes(++line, base + start, maxRowBytes);
    }
    base += chunk.length;
  }
  if (!row.blank) yield row.take();
}

/** @param base offset of the first chunk in the file */
async function* splitArray(
  chunks: Chunks,
  base: number,
  file: string,
  maxRowBytes: number,
): AsyncGenerator<RawRow, void, undefined> {
  const broken = (line: number, found: string, hint: string): never => {
    throw new RowError({ file, line }, { expected: 'a JSON array of rows', found, hint });
  };
  let line = 1;
  let state = 'before' as 'before' | 'first' | 'inside' | 'next' | 'after';
  let row = new RowBytes(line, base, maxRowBytes);
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
        row = new RowBytes(line, base + i, maxRowBytes);
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

/** Collects one row's bytes from several chunks; drops them once they exceed the limit. */
class RowBytes {
  blank = true;
  private parts: Uint8Array[] = [];
  private length = 0;

  constructor(
    readonly line: number,
    private readonly offset: number,
    private readonly limit: number,
  ) {}

  add(part: Uint8Array): void {
    if (part.length === 0) return;
    if (this.blank) this.blank = part.every(isSpace);
    this.length += part.length;
    if (this.length > this.limit) this.parts = [];
    else this.parts.push(part);
  }

  take(): RawRow {
    const { line, offset, length } = this;
    return { line, offset, length, bytes: length > this.limit ? null : join(this.parts, length) };
  }
}

function join(parts: readonly Uint8Array[], length: number): Uint8Array {
  if (parts.length === 1) return parts[0]!;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf]; // of UTF-8

/** Reads enough to detect the file's kind: four bytes, and a byte that is neither whitespace nor a byte-order mark's. */
async function readHead(source: AsyncGenerator<Uint8Array, void, undefined>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  let blank = true;
  while (length < 4 || blank) {
    const { value, done } = await source.next();
    if (done) break;
    const before = length;
    blank &&= value.every((byte, i) => isSpace(byte) || byte === BYTE_ORDER_MARK[before + i]);
    parts.push(value);
    length += value.length;
  }
  return join(parts, length);
}

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

const OTHER_KINDS: readonly { readonly kind: string; readonly bytes: readonly number[]; readonly hint: string }[] = [
  { kind: 'a gzip file', bytes: [0x1f, 0x8b], hint: 'Decompress it with gunzip.' },
  { kind: 'a zstd file', bytes: [0x28, 0xb5, 0x2f, 0xfd], hint: 'Decompress it with zstd -d.' },
  { kind: 'a zip file', bytes: [0x50, 0x4b, 0x03, 0x04], hint: 'Decompress it with unzip.' },
  { kind: 'a Parquet file', bytes: [0x50, 0x41, 0x52, 0x31], hint: 'Convert it to JSONL.' },
  { kind: 'UTF-16 text', bytes: [0xff, 0xfe], hint: 'Save it as UTF-8.' },
  { kind: 'UTF-16 text', bytes: [0xfe, 0xff], hint: 'Save it as UTF-8.' },
];

function refuseOtherKinds(head: Uint8Array, file: string): void {
  const other = OTHER_KINDS.find(({ bytes }) => bytes.every((byte, i) => head[i] === byte));
  if (other === undefined) return;
  throw new RowError(
    { file, line: 1 },
    { expected: 'JSONL or JSON as UTF-8 text', found: other.kind, hint: other.hint },
  );
}
