import { printable } from '@wpo/internal/printable';
import { checkText, type Fields, fail, isFields, optionalField, ownField, RowError, type RowLocation } from './fields';
import { type PreferenceRow, parseRow } from './preference-row';
import { fromUltraFeedback } from './ultrafeedback';

/** Fields of a row that may be in a column of another name. */
export const columnNames = [
  'prompt',
  'system',
  'chosen',
  'rejected',
  'id',
  'weight',
  'score_chosen',
  'score_rejected',
] as const;

/** The column of each field, e.g. `{ prompt: 'instruction', chosen: 'a', rejected: 'b' }`. */
export type Columns = { readonly [name in (typeof columnNames)[number]]?: string };

/** The other columns that a preference row can depend on. */
const moreColumns = [
  'prompt_id',
  'source',
  'source_chosen',
  'source_rejected',
  'system_prompt',
  'question',
  'input',
  'instruction',
  'completions',
];

/** Whether a preference row can depend on a column. The others of a Parquet file are not read. */
export const isUsedColumn = (name: string, columns: Columns = {}): boolean =>
  [...columnNames, ...moreColumns, ...Object.values(columns)].includes(name);

/**
 * Converts a row to the columns that `parseRow` reads. Its column names decide how, so that a row whose values are null is
 * read as the rows beside it:
 *
 * - `instruction` and `completions`, but neither `chosen` nor `rejected`: the raw UltraFeedback; the best answer is paired
 *   with the worst;
 * - `prompt`, or else `question`, or else `instruction` followed by `input`, or else `input`: the prompt. Orca pairs have
 *   `question` or `input`, Alpaca's `instruction` and `input`;
 * - none of these: the answers have the prompt, as conversations, or as transcripts `"\n\nHuman: …\n\nAssistant: …"` as in
 *   HH-RLHF.
 */
function toPreference(row: Fields, at: RowLocation): Fields {
  const has = (name: string) => Object.hasOwn(row, name);
  if (!has('chosen') && !has('rejected')) {
    return has('instruction') && has('completions') ? fromUltraFeedback(row, at) : unknownLayout(row, at);
  }
  if (PROMPT_COLUMNS.some(has)) return { ...row, prompt: promptOf(row, at) };
  const isTranscribed = isTranscript(ownField(row, 'chosen')) || isTranscript(ownField(row, 'rejected'));
  return isTranscribed ? fromTranscripts(row, at) : row;
}

const PROMPT_COLUMNS = ['prompt', 'question', 'instruction', 'input'] as const;

/** The prompt from the first of the columns that has one. */
function promptOf(row: Fields, at: RowLocation): unknown {
  const has = (name: string) => optionalField(row, name) !== undefined;
  const name = PROMPT_COLUMNS.find((name) => has(name) && !isBlank(row[name])) ?? PROMPT_COLUMNS.find(has);
  if (name === undefined) return undefined;
  const value = optionalField(row, name);
  const input = optionalField(row, 'input');
  if (name === 'prompt' || typeof value !== 'string') return value;
  if (name !== 'instruction' || typeof input !== 'string' || isBlank(input)) return checkText(value, name, at);
  return `${checkText(value, name, at)}\n\n${checkText(input, 'input', at)}`;
}

const isBlank = (value: unknown) => typeof value === 'string' && value.trim() === '';

/** Reads the rows of one source. */
export interface RowParser {
  /** @throws {RowError} */
  readonly parse: (value: unknown, at: RowLocation) => PreferenceRow;
  /** Call it after the last row. @throws {RowError} if a column was named that no row has */
  readonly checkColumns: () => void;
}

/** @param columns the columns of fields with other names */
export function rowParser(columns: Columns = {}): RowParser {
  const absent = new Map(Object.entries(columns));
  let last: { readonly row: Fields; readonly at: RowLocation } | undefined;
  return {
    parse(value, at) {
      if (!isFields(value)) return parseRow(value, at);
      if (absent.size > 0) {
        last = { row: value, at };
        for (const [name, column] of absent) if (Object.hasOwn(value, column)) absent.delete(name);
      }
      for (const name of ['prompt', 'chosen', 'rejected'] as const) checkColumn(value, name, columns[name], at);
      const row = withColumns(value, columns);
      return namingColumns(columns, () => parseRow(toPreference(row, at), at));
    },
    checkColumns() {
      const [name] = absent.keys();
      if (last !== undefined && name !== undefined) checkColumn(last.row, name, absent.get(name), last.at);
    },
  };
}

function unknownLayout(row: Fields, at: RowLocation): never {
  return fail(at, {
    expected: '"prompt", "chosen" and "rejected", or the columns of UltraFeedback, HH-RLHF or Orca pairs',
    found: listColumns(row),
    hint: 'Name the columns that hold them: columns: {prompt: …, chosen: …, rejected: …}.',
  });
}

const MAX_LISTED = 20;

function listColumns(row: Fields): string {
  const names = Object.keys(row);
  if (names.length === 0) return 'no columns';
  const shown = names.slice(0, MAX_LISTED).map((name) => JSON.stringify(printable(name, 40)));
  return `the columns ${shown.join(', ')}${names.length > MAX_LISTED ? ` and ${names.length - MAX_LISTED} more` : ''}`;
}

function checkColumn(row: Fields, name: string, column: string | undefined, at: RowLocation): void {
  if (column === undefined || Object.hasOwn(row, column)) return;
  fail(at, {
    field: column,
    expected: `the column that was named for "${name}"`,
    found: listColumns(row),
    hint: 'Name a column that the rows have.',
  });
}

const withColumns = (row: Fields, columns: Columns): Fields => ({
  ...row,
  ...Object.fromEntries(Object.entries(columns).map(([name, column]) => [name, ownField(row, column)])),
});

/** Makes an error name the column as the file does. */
function namingColumns<T>(columns: Columns, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof RowError) || error.field === undefined) throw error;
    const name = /^\w+/.exec(error.field)?.[0] ?? '';
    const column = ownField(columns, name);
    if (typeof column !== 'string') throw error;
    const { expected, found, hint } = error;
    const field = column + error.field.slice(name.length);
    throw new RowError(error, { field, expected, found, hint }, { cause: error });
  }
}

const isTranscript = (value: unknown) => typeof value === 'string' && /^\s*(Human|Assistant):/.test(value);

function fromTranscripts(row: Fields, at: RowLocation): Fields {
  return { ...row, chosen: transcriptMessages(row, 'chosen', at), rejected: transcriptMessages(row, 'rejected', at) };
}

/** The messages of "\n\nHuman: …\n\nAssistant: …", each without whitespace around it. */
function transcriptMessages(row: Fields, name: string, at: RowLocation): { role: string; content: string }[] {
  const text = optionalField(row, name);
  if (typeof text === 'string') checkText(text, name, at);
  if (!isTranscript(text)) {
    return fail(at, {
      field: name,
      expected: 'a transcript as the other answer: "\\n\\nHuman: …\\n\\nAssistant: …"',
      found: typeof text === 'string' ? 'text without speakers' : 'no text',
      hint: 'Write both answers alike, or drop the row.',
    });
  }
  const [, ...parts] = `\n\n${(text as string).trimStart()}`.split(/\n\n(Human|Assistant):/);
  return Array.from({ length: parts.length / 2 }, (_, i) => ({
    role: parts[2 * i] === 'Human' ? 'user' : 'assistant',
    content: parts[2 * i + 1]!.trim(),
  }));
}
