import { type RawRow, type RowFormat, splitRows } from './json-stream';
import { type Columns, rowParser } from './layouts';
import { type PreferenceRow, parseJson } from './preference-row';
import { type Place, RowError } from './row-error';

/** What to do with a row that cannot be used: throw its `RowError`, or leave the row out and report it. */
export interface BadRows {
  /** Default `error`. */
  readonly onBadRow?: 'error' | 'skip';
  /** Called with each row that is left out. */
  readonly onSkip?: (error: RowError) => void;
}

export interface RecordOptions extends BadRows {
  /** Default `auto`: `json` where the text begins with `[`, else `jsonl`. */
  readonly format?: RowFormat | 'auto';
  /** The longest row that is read, in bytes of UTF-8. Default 64 MiB. */
  readonly maxRowBytes?: number;
}

export interface ReadOptions extends RecordOptions {
  /** Where fields lie in columns of other names; without it, the columns tell the layout. */
  readonly columns?: Columns;
}

/** One row of a file as it was read, whatever its columns. */
export interface DataRecord {
  /** A JSON value; of a file of rows, an object. */
  readonly value: unknown;
  readonly at: Place;
}

/**
 * Reads preference rows from a stream of bytes, one row in memory at a time. Lines may end in LF or CRLF, the last one
 * in neither; blank lines are passed over; a byte-order mark in front is dropped.
 *
 * @param file what errors call the source
 * @throws {RowError} on a bad row, unless `onBadRow` is `skip`; always where the source is no JSON text at all, or is a
 * JSON array that is cut off or broken between rows
 */
export function readRowsFrom(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  file: string,
  options: ReadOptions = {},
): AsyncGenerator<PreferenceRow, void, undefined> {
  return preferenceRows(readRecordsFrom(chunks, file, options), options);
}

/** As `readRowsFrom`, giving each row's JSON as it is. */
export async function* readRecordsFrom(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  file: string,
  options: RecordOptions = {},
): AsyncGenerator<DataRecord, void, undefined> {
  const { format = 'auto', maxRowBytes = MAX_ROW_BYTES } = options;
  for await (const raw of splitRows(chunks, { file, format, maxRowBytes })) {
    const at = { file, line: raw.line };
    const record = keepGood(() => ({ value: parseJson(decodeRow(raw, file, maxRowBytes), at), at }), options);
    if (record !== undefined) yield record;
  }
}

/** Reads records as preferences; each file's first row decides how its rows are laid out (see `layoutOf`). */
export async function* preferenceRows(
  records: AsyncIterable<DataRecord> | Iterable<DataRecord>,
  options: BadRows & { readonly columns?: Columns } = {},
): AsyncGenerator<PreferenceRow, void, undefined> {
  let file: string | undefined;
  let parse = rowParser(options.columns);
  for await (const { value, at } of records) {
    if (file !== undefined && at.file !== file) parse = rowParser(options.columns);
    file = at.file;
    const row = keepGood(() => parse(value, at), options);
    if (row !== undefined) yield row;
  }
}

/** Runs `make`; where it throws a `RowError` and bad rows are to be skipped, reports it and gives undefined. */
export function keepGood<T>(make: () => T, { onBadRow = 'error', onSkip }: BadRows): T | undefined {
  try {
    return make();
  } catch (error) {
    if (onBadRow !== 'skip' || !(error instanceof RowError)) throw error;
    onSkip?.(error);
    return undefined;
  }
}

export const MAX_ROW_BYTES = 64 * 2 ** 20;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * The text of a row's bytes.
 *
 * @throws {RowError} where it is longer than `maxRowBytes`, or not UTF-8
 */
export function decodeRow({ bytes, length, line }: RawRow, file: string, maxRowBytes: number): string {
  if (bytes === null) {
    throw new RowError(
      { file, line },
      {
        found: `a row of ${length} bytes`,
        wanted: `at most ${maxRowBytes}`,
        mend: 'If the row is right, raise maxRowBytes; more likely a line end or a closing quote is missing.',
      },
    );
  }
  try {
    return utf8.decode(bytes);
  } catch (error) {
    throw new RowError(
      { file, line },
      {
        found: 'bytes that are not UTF-8',
        wanted: 'UTF-8 text',
        mend: 'Save the file as UTF-8 (iconv -t UTF-8), or remove the broken characters.',
      },
      { cause: error },
    );
  }
}
