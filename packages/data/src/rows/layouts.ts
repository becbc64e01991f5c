import { type Fields, fail, field, isFields, own, type PreferenceRow, parseRow } from './preference-row';
import { type Place, RowError } from './row-error';
import { bestAgainstWorst } from './ultrafeedback';

/** Fields of a row that may lie in a column of another name. */
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

/** Which column holds a field, e.g. `{ prompt: 'instruction', chosen: 'a', rejected: 'b' }`. */
export type Columns = { readonly [name in (typeof columnNames)[number]]?: string };

/** How data sets lay out preferences. */
export type LayoutName = 'plain' | 'orca' | 'hh-rlhf' | 'ultrafeedback';

/** Each gives a row as `parseRow` takes it. */
const layouts: Readonly<Record<LayoutName, (row: Fields, at: Place) => Fields>> = {
  plain: (row) => row,
  orca: orcaRow,
  'hh-rlhf': transcriptRow,
  ultrafeedback: bestAgainstWorst,
};

/**
 * Tells from a row's columns how it is laid out:
 *
 * - `ultrafeedback`: raw, `instruction` and `completions` with their scores; the best answer is set against the worst;
 * - `hh-rlhf`: `chosen` and `rejected` as transcripts, `"\n\nHuman: …\n\nAssistant: …"`, and no `prompt`;
 * - `orca`: `chosen` and `rejected` with `question` or `input` for the prompt, or a `system` text;
 * - `plain`: `prompt`, `chosen`, `rejected`, as `parseRow` has them.
 *
 * Undefined where none of them fits.
 */
export function layoutOf(row: Fields): LayoutName | undefined {
  const has = (name: string) => field(row, name) !== undefined;
  if (!has('chosen') && !has('rejected')) {
    return has('instruction') && Array.isArray(field(row, 'completions')) ? 'ultrafeedback' : undefined;
  }
  if (!has('prompt') && isTranscript(field(row, 'chosen'))) return 'hh-rlhf';
  if (has('system') || (!has('prompt') && (has('question') || has('input')))) return 'orca';
  return 'plain';
}

/**
 * Makes a reader of one file's rows. The first row whose layout can be told decides it for the rows after.
 *
 * @param columns where fields lie in columns of other names
 */
export function rowParser(columns: Columns = {}): (value: unknown, at: Place) => PreferenceRow {
  let layout: LayoutName | undefined;
  return (value, at) => {
    if (!isFields(value)) return parseRow(value, at);
    if (layout === undefined) checkColumns(value, columns, at);
    const row = withColumns(value, columns);
    layout ??= layoutOf(row) ?? unknownLayout(value, at);
    return namingColumns(columns, () => parseRow(layouts[layout!](row, at), at));
  };
}

function unknownLayout(row: Fields, at: Place): never {
  return fail(at, {
    found: listed(row),
    wanted: '"prompt", "chosen" and "rejected", or the columns of UltraFeedback, HH-RLHF or Orca pairs',
    mend: 'Say which column holds what: columns: {prompt: …, chosen: …, rejected: …}.',
  });
}

const listed = (row: Fields) => {
  const names = Object.keys(row);
  return names.length === 0 ? 'no columns' : `the columns ${names.map((name) => JSON.stringify(name)).join(', ')}`;
};

function checkColumns(row: Fields, columns: Columns, at: Place): void {
  const absent = Object.entries(columns).find(([, column]) => !Object.hasOwn(row, column));
  if (absent === undefined) return;
  fail(at, {
    field: absent[1],
    found: listed(row),
    wanted: `the column named for "${absent[0]}"`,
    mend: 'Name a column that the rows have.',
  });
}

const withColumns = (row: Fields, columns: Columns): Fields => ({
  ...row,
  ...Object.fromEntries(Object.entries(columns).map(([name, column]) => [name, own(row, column)])),
});

/** Lets an error name the column as the file has it. */
function namingColumns<T>(columns: Columns, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof RowError) || error.field === undefined) throw error;
    const name = /^\w+/.exec(error.field)?.[0] ?? '';
    const column = own(columns, name);
    if (typeof column !== 'string') throw error;
    throw new RowError(error, { ...faultOf(error), field: column + error.field.slice(name.length) }, { cause: error });
  }
}

const faultOf = ({ found, wanted, mend }: RowError) => ({ found, wanted, mend });

/**
 * Orca's `system` text goes in front of the question: Gemma-2 has no system turn, and Gemma-3's own chat template joins
 * the two so.
 */
function orcaRow(row: Fields): Fields {
  const prompt = field(row, 'prompt') ?? field(row, 'question') ?? field(row, 'input');
  const system = field(row, 'system');
  const joined = typeof prompt === 'string' && typeof system === 'string' && system.trim() !== '';
  return { ...row, prompt: joined ? `${system}\n\n${prompt}` : prompt };
}

const isTranscript = (value: unknown) => typeof value === 'string' && /^\s*(Human|Assistant):/.test(value);

function transcriptRow(row: Fields, at: Place): Fields {
  return { ...row, chosen: turnsOf(row, 'chosen', at), rejected: turnsOf(row, 'rejected', at) };
}

/** The turns of "\n\nHuman: …\n\nAssistant: …"; what a turn says is stripped of whitespace around it. */
function turnsOf(row: Fields, name: string, at: Place): { role: string; content: string }[] {
  const text = field(row, name);
  if (!isTranscript(text)) {
    return fail(at, {
      field: name,
      found: typeof text === 'string' ? 'text without speakers' : 'no text',
      wanted: 'a transcript like the rows before: "\\n\\nHuman: …\\n\\nAssistant: …"',
      mend: 'Lay the row out like the others, or drop it.',
    });
  }
  const [, ...parts] = `\n\n${(text as string).trimStart()}`.split(/\n\n(Human|Assistant):/);
  return Array.from({ length: parts.length / 2 }, (_, i) => ({
    role: parts[2 * i] === 'Human' ? 'user' : 'assistant',
    content: parts[2 * i + 1]!.trim(),
  }));
}
