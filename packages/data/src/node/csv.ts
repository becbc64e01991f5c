import { type Chunks, type Line, LineBytes } from '@wpo/internal/lines';
import { type CsvError, parse } from 'csv-parse/sync';
import { type Fields, RowError, type RowLocation } from '../rows/fields';
import { readText, type Text } from '../rows/json-stream';
import { messagesAsText } from '../rows/messages-as-text';
import { looksLikeJson, refuseOtherTables } from '../rows/other-kinds';
import {
  type DataRecord,
  decodeRow,
  keepGood,
  MAX_ROW_BYTES,
  type RecordOptions,
  readRecordsFrom,
} from '../rows/read-rows';

/**
 * Reads CSV or TSV as RFC 4180 describes it, one row in memory at a time. The first row has the names of the columns. The
 * delimiter is a tab in files named `.tsv` or `.tab`, else a comma; or a semicolon or tab if the first row has one of them
 * and no comma.
 *
 * Values are text. An empty cell is null; in a column of numbers, a number is one and NaN is null; and a list of messages written as
 * JSON is a list. Rows without any text are left out. A file that has JSON under this name is read as JSON.
 *
 * @param name names the file in errors, and decides the delimiter
 * @param isNumber whether a column holds numbers
 * @throws {RowError} on a bad row, unless `onBadRow` is `skip`; always if a quote is wrong, so that it is unknown where the
 * next row begins
 */
export const tableRecords = (
  chunks: Chunks,
  name: string,
  options: RecordOptions,
  isNumber: (column: string) => boolean,
): AsyncGenerator<DataRecord, void, undefined> =>
  readText(chunks, (text) => {
    const start = new TextDecoder('latin1').decode(text.head);
    if (looksLikeJson(start)) return readRecordsFrom(text.rest, name, options);
    refuseOtherTables(text.head, name);
    return rowsOf(text, name, options, isNumber);
  });

async function* rowsOf(
  { head, mark, rest }: Text,
  file: string,
  options: RecordOptions,
  isNumber: (column: string) => boolean,
): AsyncGenerator<DataRecord, void, undefined> {
  const { maxRowBytes = MAX_ROW_BYTES } = options;
  const delimiter = delimiterOf(head, file);
  let columns: readonly string[] | undefined;
  for await (const raw of splitTable(rest, mark, maxRowBytes)) {
    const at = { file, line: raw.line };
    if (columns === undefined) {
      columns = columnsOf(cellsOf(decodeRow(raw, at, maxRowBytes), delimiter, at), at);
      continue;
    }
    const text = keepGood(() => decodeRow(raw, at, maxRowBytes), options);
    if (text === undefined) continue;
    const cells = cellsOf(text, delimiter, at);
    if (cells.every((cell) => cell === '')) continue; // spreadsheets end in such rows
    const names = columns;
    const value = keepGood(() => toFields(cells, names, isNumber, at), options);
    if (value !== undefined) yield { value, at };
  }
}

function delimiterOf(head: Uint8Array, file: string): string {
  if (!/\.csv(\.|$)/i.test(file)) return '\t';
  const first = /^\s*(.*)/.exec(new TextDecoder('latin1').decode(head))![1]!;
  return [',', ';', '\t'].find((delimiter) => first.includes(delimiter)) ?? ',';
}

const NEWLINE = 0x0a;
const QUOTE = 0x22;

/** Splits a table at the newlines outside quotes. Rows of white space are left out. @param base offset of the first chunk */
async function* splitTable(chunks: AsyncIterable<Uint8Array>, base: number, maxRowBytes: number): AsyncGenerator<Line> {
  let offset = base;
  let line = 1;
  let row = new LineBytes(line, offset, maxRowBytes);
  let inQuotes = false;
  for await (const chunk of chunks) {
    let start = 0;
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i]!;
      if (byte === QUOTE) inQuotes = !inQuotes; // a doubled quote changes it twice
      if (byte !== NEWLINE) continue;
      line++;
      if (inQuotes) continue;
      row.add(chunk.subarray(start, i));
      if (!row.blank) yield row.take();
      start = i + 1;
      row = new LineBytes(line, offset + start, maxRowBytes);
    }
    row.add(chunk.subarray(start));
    offset += chunk.length;
  }
  if (!row.blank) yield row.take();
}

/** What is wrong with the quotes of a row, and how to fix it. */
const FAULTS: Readonly<Record<string, readonly [found: string, hint: string]>> = {
  CSV_QUOTE_NOT_CLOSED: ['a quote that is not closed', 'Close it, and double the quotes inside the cell.'],
  CSV_INVALID_CLOSING_QUOTE: ['text after the quote that ends a cell', 'Double the quotes inside the cell.'],
  INVALID_OPENING_QUOTE: [
    'a quote in the middle of a cell without quotes',
    'Put the cell in quotes, and double the quotes inside it.',
  ],
};

/** @throws {RowError} if the quotes are wrong */
function cellsOf(text: string, delimiter: string, at: RowLocation): readonly string[] {
  try {
    return parse(text.replace(/\r$/, ''), { delimiter, record_delimiter: ['\n'], relax_column_count: true })[0] ?? [];
  } catch (error) {
    const [found, hint] = FAULTS[(error as CsvError).code] ?? [(error as Error).message, 'Write it again as CSV.'];
    const python = `${hint} Python's csv.writer and pandas' to_csv write it so.`;
    throw new RowError(at, { expected: 'a row of CSV', found, hint: python }, { cause: error });
  }
}

function columnsOf(cells: readonly string[], at: RowLocation): readonly string[] {
  const expected = 'the names of the columns in the first row';
  if (cells.some((cell) => cell.includes('\r'))) {
    const hint = 'Save the file with line ends of Unix or Windows.';
    throw new RowError(at, { expected: 'lines that end in LF or CRLF', found: 'only CR, as on old Macs', hint });
  }
  const repeated = cells.find((cell, i) => cell !== '' && cells.indexOf(cell) < i);
  if (repeated === undefined) return cells;
  throw new RowError(at, { field: repeated, expected, found: 'this name twice', hint: 'Rename one of the columns.' });
}

function toFields(
  cells: readonly string[],
  columns: readonly string[],
  isNumber: (column: string) => boolean,
  at: RowLocation,
): Fields {
  if (cells.length !== columns.length) {
    throw new RowError(at, {
      expected: `${columns.length} cells, as in the first row`,
      found: `${cells.length}`,
      hint: 'Put cells that contain the delimiter in quotes, and write a delimiter for each cell that is empty.',
    });
  }
  return Object.fromEntries(cells.map((cell, i) => [columns[i]!, cellValue(cell, isNumber(columns[i]!))]));
}

const NUMBER = /^\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*$/i;

function cellValue(cell: string, isNumber: boolean): unknown {
  if (cell === '') return null;
  if (isNumber && NUMBER.test(cell)) return Number(cell);
  if (isNumber && /^\s*nan\s*$/i.test(cell)) return null;
  return messagesAsText(cell) === undefined ? cell : (messagesIn(cell) ?? cell);
}

/** The list of messages that a cell has as JSON; undefined if it is not JSON, such as the text of a list of Python's. */
function messagesIn(cell: string): unknown {
  try {
    const value: unknown = JSON.parse(cell);
    return Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
