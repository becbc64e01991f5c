// Lines of text. Only a newline ends a line: `node:readline` also ends lines at U+2028 and U+2029, which JSON strings may hold.

/** The bytes of a line, or of a row of another format. */
export interface Line {
  /** From 1. */
  readonly line: number;
  /** Offset of the first byte. */
  readonly offset: number;
  /** The bytes without the newline; null if there are more than the limit. */
  readonly bytes: Uint8Array | null;
  /** Number of bytes, also over the limit. */
  readonly length: number;
}

export type Chunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

const TAB = 0x09;
const NEWLINE = 0x0a;
const RETURN = 0x0d;
const SPACE = 0x20;

/** Whether a byte is white space in JSON. */
export const isSpace = (byte: number) => byte === SPACE || byte === NEWLINE || byte === RETURN || byte === TAB;

/**
 * The lines of a stream of UTF-8, with one line and one chunk in memory at a time. Lines of white space are left out.
 *
 * @param options.maxBytes the longest line that is kept
 * @param options.offset the offset of the first chunk
 */
export async function* splitLines(
  chunks: Chunks,
  { maxBytes = Number.POSITIVE_INFINITY, offset = 0 } = {},
): AsyncGenerator<Line, void, undefined> {
  let base = offset;
  let line = 1;
  let row = new LineBytes(line, base, maxBytes);
  for await (const chunk of chunks) {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(NEWLINE, start);
      row.add(chunk.subarray(start, end < 0 ? chunk.length : end));
      if (end < 0) break;
      if (!row.blank) yield row.take();
      start = end + 1;
      row = new LineBytes(++line, base + start, maxBytes);
    }
    base += chunk.length;
  }
  if (!row.blank) yield row.take();
}

/** As `splitLines`, as text. */
export async function* textLines(chunks: Chunks): AsyncGenerator<string, void, undefined> {
  const utf8 = new TextDecoder();
  for await (const { bytes } of splitLines(chunks)) yield utf8.decode(bytes!);
}

/** Collects the bytes of a line from several chunks; drops them once they exceed the limit. */
export class LineBytes {
  /** Whether there is only white space. */
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

  take(): Line {
    const { line, offset, length, parts } = this;
    return { line, offset, length, bytes: length > this.limit ? null : joinBytes(parts, length) };
  }
}

/** @param length the length of all parts together */
export function joinBytes(parts: readonly Uint8Array[], length: number): Uint8Array {
  if (parts.length === 1) return parts[0]!;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
