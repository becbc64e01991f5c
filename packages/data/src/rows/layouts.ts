import { printable } from '@wpo/internal/printable';
import {
  checkText,
  describe,
  type Fields,
  fail,
  isFields,
  optionalField,
  ownField,
  RowError,
  type RowLocation,
} from './fields';
import { type Message, type PreferenceRow, parseRow } from './preference-row';
import { fromUltraFeedback } from './ultrafeedback';

/** The column of each field, e.g. `{ prompt: 'instruction', chosen: 'a', rejected: 'b' }`. */
export type Columns = {
  readonly prompt?: string;
  readonly system?: string;
  readonly chosen?: string;
  readonly rejected?: string;
  readonly id?: string;
  readonly weight?: string;
  readonly score_chosen?: string;
  readonly score_rejected?: string;
};

const COLUMNS: Readonly<Record<keyof Columns, true>> = {
  prompt: true,
  system: true,
  chosen: true,
  rejected: true,
  id: true,
  weight: true,
  score_chosen: true,
  score_rejected: true,
};
/** Fields of a row that may be in a column of another name. */
export const columnNames = Object.keys(COLUMNS) as (keyof Columns)[];

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
  'history',
  'conversations',
  'completions',
];

/** Whether a preference row can depend on a column. The others of a Parquet file are not read. */
export const isUsedColumn = (name: string, columns: Columns = {}): boolean =>
  [...columnNames, ...moreColumns, ...Object.values(columns)].includes(name);

const NUMBERS = ['weight', 'score_chosen', 'score_rejected'] as const;

/** Whether a column holds numbers, those of scored answers (`score`, `seed`) included. CSV files do not say so themselves. */
export const isNumberColumn = (name: string, columns: Columns = {}): boolean =>
  [...NUMBERS.map((field) => columns[field] ?? field), 'score', 'seed'].includes(name);

/**
 * Converts a row to the columns that `parseRow` reads. Its column names decide how, so that a row whose values are null is
 * read as the rows beside it:
 *
 * - `instruction` and `completions`, but neither `chosen` nor `rejected`: the raw UltraFeedback; the best answer is paired
 *   with the worst;
 * - `prompt`, or else `question`, or else `instruction` followed by `input`, or else `input`, or else `conversations`: the
 *   prompt. Orca pairs have `question` or `input`, Alpaca's `instruction`, `input` and `history`, ShareGPT's `conversations`;
 * - none of these: the answers have the prompt, as conversations, as transcripts `"\n\nHuman: …\n\nAssistant: …"` as in
 *   HH-RLHF, or as texts whose shared beginning is the prompt.
 */
function toPreference(row: Fields, at: RowLocation): Fields {
  const has = (name: string) => Object.hasOwn(row, name);
  if (!has('chosen') && !has('rejected')) {
    return has('instruction') && has('completions') ? fromUltraFeedback(row, at) : unknownLayout(row, at);
  }
  if (PROMPT_COLUMNS.some(has)) return { ...row, prompt: promptOf(row, at) };
  const isTranscribed = isTranscript(ownField(row, 'chosen')) || isTranscript(ownField(row, 'rejected'));
  return isTranscribed ? fromTranscripts(row, at) : fromSharedBeginning(row, at);
}

const PROMPT_COLUMNS = ['prompt', 'question', 'instruction', 'input', 'conversations'] as const;

/** The first of the columns that has a prompt; undefined if none has. */
function promptColumn(row: Fields): (typeof PROMPT_COLUMNS)[number] | undefined {
  const has = (name: string) => optionalField(row, name) !== undefined;
  return PROMPT_COLUMNS.find((name) => has(name) && !isBlank(row[name])) ?? PROMPT_COLUMNS.find(has);
}

/** The prompt as text or messages. */
function promptOf(row: Fields, at: RowLocation): unknown {
  const name = promptColumn(row);
  if (name === undefined) return undefined;
  const value = optionalField(row, name);
  const input = optionalField(row, 'input');
  if (name === 'prompt' || typeof value !== 'string') return value;
  if (name !== 'instruction') return checkText(value, name, at);
  const text = checkText(value, name, at);
  const whole = typeof input !== 'string' || isBlank(input) ? text : `${text}\n\n${checkText(input, 'input', at)}`;
  const before = historyOf(row, at);
  return before.length === 0 ? whole : [...before, { role: 'user', content: whole }];
}

/** Alpaca's `history`: earlier turns as pairs of an instruction and its answer. */
function historyOf(row: Fields, at: RowLocation): Message[] {
  const turns = optionalField(row, 'history') ?? [];
  const expected = 'a list of pairs of text: [[instruction, answer], …]';
  const hint = 'Write each earlier turn as such a pair, or leave the column out.';
  if (!Array.isArray(turns)) return fail(at, { field: 'history', expected, found: describe(turns), hint });
  return turns.flatMap((turn: unknown, i) => {
    const texts = Array.isArray(turn) && turn.length === 2 && turn.every((text) => typeof text === 'string');
    if (!texts) return fail(at, { field: `history[${i}]`, expected, found: describe(turn), hint });
    return (turn as string[]).map((content, side) => ({ role: side === 0 ? 'user' : 'assistant', content }));
  });
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
      const prompt = promptColumn(row);
      const names = columns.prompt !== undefined || prompt === undefined ? columns : { ...columns, prompt };
      return namingColumns(names, () => parsePreference(row, at));
    },
    checkColumns() {
      const [name] = absent.keys();
      if (last !== undefined && name !== undefined) checkColumn(last.row, name, absent.get(name), last.at);
    },
  };
}

function parsePreference(row: Fields, at: RowLocation): PreferenceRow {
  const preference = toPreference(row, at);
  const parsed = parseRow(preference, at);
  const isShared = Object.hasOwn(preference, 'prompt') && !PROMPT_COLUMNS.some((name) => Object.hasOwn(row, name));
  return isShared ? { ...parsed, sharedPrompt: true } : parsed;
}

/** Columns that may well hold the prompt that a row seems to lack. */
const PROMPT_LIKE =
  /prompt|question|query|instruction|input|problem|context|dialog|message|history|conversation|^post$|^text$/i;

/**
 * Texts without a column for their prompt, which begin with it: as TRL's `extract_prompt`, the prompt is the longest shared
 * beginning, without a space at its end. It stays at least one character shorter than each text.
 */
function fromSharedBeginning(row: Fields, at: RowLocation): Fields {
  const [chosen, rejected] = [optionalField(row, 'chosen'), optionalField(row, 'rejected')];
  if (typeof chosen !== 'string' || typeof rejected !== 'string') return row;
  const other = Object.keys(row).find((name) => PROMPT_LIKE.test(name) && !isUsedColumn(name));
  const end =
    other === undefined ? sharedLength(checkText(chosen, 'chosen', at), checkText(rejected, 'rejected', at)) : 0;
  const prompt = chosen.slice(0, end);
  if (isBlank(prompt)) {
    return fail(at, {
      expected: '"prompt", or answers that begin with their prompt',
      found: other === undefined ? 'answers that begin differently' : listColumns(row),
      hint: 'Name the column of the prompt: columns: {prompt: …}.',
    });
  }
  return { ...row, prompt, chosen: chosen.slice(end), rejected: rejected.slice(end) };
}

/** Length of the prompt that two texts share, in code units; never in the middle of a character. */
function sharedLength(a: string, b: string): number {
  const [first, second] = [Array.from(a), Array.from(b)];
  const limit = Math.min(first.length, second.length) - 1;
  let count = 0;
  while (count < limit && first[count] === second[count]) count++;
  if (first[count] !== second[count] && first[count - 1] === ' ') count--;
  return first.slice(0, count).join('').length;
}

function unknownLayout(row: Fields, at: RowLocation): never {
  return fail(at, {
    expected:
      '"prompt", "chosen" and "rejected", or the columns of UltraFeedback, HH-RLHF, Orca, Alpaca or ShareGPT pairs',
    found: listColumns(row),
    hint: hintFor(row),
  });
}

const NAME_COLUMNS = 'columns: {prompt: …, chosen: …, rejected: …}.';

/** What rows of other kinds of training data lack, and what makes pairs of them. */
function hintFor(row: Fields): string {
  const isColumn = (name: string) => Object.hasOwn(row, name);
  if (isColumn('completion') && isColumn('label')) {
    return 'Rows with a label rate one answer each; a pair has two answers to one prompt, a better and a worse one.';
  }
  if (['responses', 'completions', 'answers'].some(isColumn)) {
    return 'Of several answers to a prompt, `wpo pair` makes pairs: write one row per answer, {prompt_id, prompt, completion, source, score}.';
  }
  if (['response', 'output', 'completion', 'answer', 'messages', 'conversations'].some(isColumn)) {
    return `Rows with one answer are for supervised fine-tuning. If a column has another answer to the same prompt: ${NAME_COLUMNS} If not, \`wpo sample\` writes answers, and \`wpo score\` and \`wpo pair\` make pairs of them.`;
  }
  return `Name the columns that hold them: ${NAME_COLUMNS}`;
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
