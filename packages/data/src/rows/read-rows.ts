import { parseDataJson } from '@wpo/internal/data-json';
import { JsonError } from '@wpo/internal/json';
import type { Chunks, Line } from '@wpo/internal/lines';
import { RowError, type RowLocation } from './fields';
import { type RowFormat, splitRows } from './json-stream';
import { type Columns, rowParser } from './layouts';
import type { PreferenceRow } from './preference-row';

/** What to do with a row that cannot be used: throw its `RowError`, or skip and report it. */
export interface BadRows {
  /** Default `error`. */
  readonly onBadRow?: 'error' | 'skip';
  /** Called with each row that is skipped. */
  readonly onSkip?: (error: RowError) => void;
}

export interface RecordOptions extends BadRows {
  /** Default `auto`: `json` if the text begins with `[`, else `jsonl`. */
  readonly format?: RowFormat | 'auto';
  /** The longest row that is read, in bytes of UTF-8. Default 6 MiB. */
  readonly maxRowBytes?: number;
}

export interface ReadOptions extends RecordOptions {
  /** The columns of fields with other names. By default the layout is recognized by the column names. */
  readonly columns?: Columns;
}

/** One row of a file, with any columns. */
export interface DataRecord {
  /** The row's JSON value, usually an object. */
  readonly value: unknown;
  readonly at: RowLocation;
}

/**
 * Reads preference rows from a stream of bytes, one row in memory at a time. Lines may end in LF or CRLF, the last one
 * in neither; blank lines and a byte-order mark at the start are ignored.
 *
 * @param file names the source in errors
 * @throws {RowError} on a bad row, unless `onBadRow` is `skip`; always if the source is not JSON text, or is a JSON array
 * that is cut off or broken between rows
 */
export function readRowsFrom(
  chunks: Chunks,
  file: string,
  options: ReadOptions = {},
): AsyncGenerator<PreferenceRow, void, undefined> {
  return preferenceRows(readRecordsFrom(chunks, file, options), options);
}

/** As `readRowsFrom`; yields each row's JSON value unchanged. */
export async function* readRecordsFrom(
  chunks: Chunks,
  file: string,
  options: RecordOptions = {},
): AsyncGenerator<DataRecord, void, undefined> {
  const { format = 'auto', maxRowBytes = MAX_ROW_BYTES } = options;
  for await (const raw of splitRows(chunks, { file, format, maxRowBytes })) {
    const at = { file, line: raw.line };
    const record = keepGood(() => ({ value: parseRawRow(raw, at, maxRowBytes), at }), options);
    if (record !== undefined) yield record;
  }
}

/** Reads records as preferences (see `rowParser`). */
export async function* preferenceRows(
  records: AsyncIterable<DataRecord> | Iterable<DataRecord>,
  options: BadRows & { readonly columns?: Columns } = {},
): AsyncGenerator<PreferenceRow, void, undefined> {
  const { parse, checkColumns } = rowParser(options.columns);
  for await (const { value, at } of records) {
    const row = keepGood(() => parse(value, at), options);
    if (row !== undefined) yield row;
  }
  checkColumns();
}

/** Runs `make`. If it throws a `RowError` and `onBadRow` is `skip`, reports the error and returns undefined. */
export function keepGood<T>(make: () => T, { onBadRow = 'error', onSkip }: BadRows): T | undefined {
  try {
    return make();
  } catch (error) {
    if (onBadRow !== 'skip' || !(error instanceof RowError)) throw error;
    onSkip?.(error);
    return undefined;
  }
}

/** A row of this size takes less than 1 GB of memory, its tokenization included. */
export const MAX_ROW_BYTES = 6 * 2 ** 20;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * The JSON value of a row's bytes.
 *
 * @throws {RowError} if the row is longer than `maxRowBytes`, not UTF-8, or not JSON
 */
export const parseRawRow = (raw: Line, at: RowLocation, maxRowBytes: number): unknown =>
  parseJsonRow(decodeRow(raw, at, maxRowBytes), at);

/** The text of a row's bytes. @throws {RowError} if the row is longer than `maxRowBytes`, or not UTF-8 */
export function decodeRow({ bytes, length }: Line, at: RowLocation, maxRowBytes: number): string {
  if (bytes === null) {
    throw new RowError(at, {
      expected: `at most ${maxRowBytes} bytes`,
      found: `a row of ${length} bytes`,
      hint: 'A newline or a closing quote is probably missing. If the row is right, raise maxRowBytes.',
    });
  }
  try {
    return utf8.decode(bytes);
  } catch (error) {
    const fault = {
      expected: 'UTF-8 text',
      found: 'bytes that are not UTF-8',
      hint: 'Save the file as UTF-8 (iconv -t UTF-8), or remove the broken characters.',
    };
    throw new RowError(at, fault, { cause: error });
  }
}

/** @throws {RowError} if the text is not JSON */
export function parseJsonRow(text: string, at: RowLocation): unknown {
  try {
    return parseDataJson(text);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    const hint = /^\s*\{\s*'/.test(text)
      ? 'JSON has double quotes: in Python, write rows with json.dumps, not str.'
      : 'Write each row as one complete JSON object: a whole line of JSONL, or one element of a JSON array.';
    throw new RowError(at, { expected: 'one JSON object', found: error.message, hint }, { cause: error });
  }
}
