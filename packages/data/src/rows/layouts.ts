import { type Fields, fail, isFields, optionalField, ownField, RowError, type RowLocation } from './fields';
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

/** The layouts of preference data sets that are recognized. */
export type LayoutName = 'plain' | 'orca' | 'hh-rlhf' | 'ultrafeedback';

/** Each converts a row to the columns that `parseRow` reads. */
const layouts: Readonly<Record<LayoutName, (row: Fields, at: RowLocation) => Fields>> = {
  plain: (row) => row,
  orca: fromOrca,
  'hh-rlhf': fromTranscripts,
  ultrafeedback: fromUltraFeedback,
};

/**
 * Recognizes a row's layout by its columns:
 *
 * - `ultrafeedback`: the raw data set, `instruction` and `completions` with their scores; the best answer is paired with
 *   the worst;
 * - `hh-rlhf`: `chosen` and `rejected` as transcripts, `"\n\nHuman: …\n\nAssistant: …"`, and no `prompt`;
 * - `orca`: `chosen` and `rejected` with `question` or `input` for the prompt, or a `system` text;
 * - `plain`: `prompt`, `chosen`, `rejected`, as `parseRow` reads them.
 *
 * Undefined if none of them fits.
 */
export function layoutOf(row: Fields): LayoutName | undefined {
  const has = (name: string) => optionalField(row, name) !== undefined;
  if (!has('chosen') && !has('rejected')) {
    return has('instruction') && Array.isArray(optionalField(row, 'completions')) ? 'ultrafeedback' : undefined;
  }
  if (!has('prompt') && isTranscript(optionalField(row, 'chosen'))) return 'hh-rlhf';
  if (has('system') || (!has('prompt') && (has('question') || has('input')))) return 'orca';
  return 'plain';
}

/**
 * Makes a parser for the rows of one file. The first layout that is recognized applies to all rows after it.
 *
 * @param columns the columns of fields with other names
 */
export function rowParser(columns: Columns = {}): (value: unknown, at: RowLocation) => PreferenceRow {
  let layout: LayoutName | undefined;
  return (value, at) => {
    if (!isFields(value)) return parseRow(value, at);
    if (layout === undefined) checkColumns(value, columns, at);
    const row = withColumns(value, columns);
    layout ??= layoutOf(row) ?? unknownLayout(value, at);
    return namingColumns(columns, () => parseRow(layouts[layout!](row, at), at));
  };
}

function unknownLayout(row: Fields, at: RowLocation): never {
  return fail(at, {
    expected: '"prompt", "chosen" and "rejected", or the columns of UltraFeedback, HH-RLHF or Orca pairs',
    found: listColumns(row),
    hint: 'Name the columns that hold them: columns: {prompt: …, chosen: …, rejected: …}.',
  });
}

const listColumns = (row: Fields) => {
  const names = Object.keys(row);
  return names.length === 0 ? 'no columns' : `the columns ${names.map((name) => JSON.stringify(name)).join(', ')}`;
};

function checkColumns(row: Fields, columns: Columns, at: RowLocation): void {
  const absent = Object.entries(columns).find(([, column]) => !Object.hasOwn(row, column));
  if (absent === undefined) return;
  fail(at, {
    field: absent[1],
    expected: `the column that was named for "${absent[0]}"`,
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

/**
 * Puts Orca's `system` text before the question: Gemma-2 has no system role, and Gemma-3's own chat template joins the two
 * in the same way.
 */
function fromOrca(row: Fields): Fields {
  const prompt = optionalField(row, 'prompt') ?? optionalField(row, 'question') ?? optionalField(row, 'input');
  const system = optionalField(row, 'system');
  const joined = typeof prompt === 'string' && typeof system === 'string' && system.trim() !== '';
  return { ...row, prompt: joined ? `${system}\n\n${prompt}` : prompt };
}

const isTranscript = (value: unknown) => typeof value === 'string' && /^\s*(Human|Assistant):/.test(value);

function fromTranscripts(row: Fields, at: RowLocation): Fields {
  return { ...row, chosen: transcriptMessages(row, 'chosen', at), rejected: transcriptMessages(row, 'rejected', at) };
}

/** The messages of "\n\nHuman: …\n\nAssistant: …", each without whitespace around it. */
function transcriptMessages(row: Fields, name: string, at: RowLocation): { role: string; content: string }[] {
  const text = optionalField(row, name);
  if (!isTranscript(text)) {
    return fail(at, {
      field: name,
      expected: 'a transcript as in the rows before: "\\n\\nHuman: …\\n\\nAssistant: …"',
      found: typeof text === 'string' ? 'text without speakers' : 'no text',
      hint: 'Write the row like the others, or drop it.',
    });
  }
  const [, ...parts] = `\n\n${(text as string).trimStart()}`.split(/\n\n(Human|Assistant):/);
  return Array.from({ length: parts.length / 2 }, (_, i) => ({
    role: parts[2 * i] === 'Human' ? 'user' : 'assistant',
    content: parts[2 * i + 1]!.trim(),
  }));
}
