import { type PreferenceRow, RowError, readRecordsFrom, readRowsFrom } from '@wpo/data';
import { evaluationText } from '@wpo/data/pairing';
import fc from 'fast-check';
import { expectPlainError, type Family, mutatedBytes, mutatedJson, mutatedText } from '../family';

const turns = (answer: string) => [
  { role: 'user', content: 'Name a\u2028river.' },
  { role: 'assistant', content: answer },
];
// biome-ignore format: one row a line
const ROWS: readonly object[] = [
  { prompt: 'p', chosen: 'c', rejected: 'r', id: 7, weight: 0.5, score_chosen: 2, score_rejected: 1, source: 's' },
  { prompt: [turns('')[0]], chosen: 'c 💥', rejected: 'r', system: 'Be brief.' },
  { chosen: turns('The Rhine.'), rejected: turns('No.'), prompt_id: '9007199254740993', system: null },
  { instruction: 'Translate.', input: 'Fluss', chosen: 'River', rejected: 'Lake', system_prompt: 's' },
  { chosen: '\n\nHuman: p\n\nAssistant: c', rejected: '\n\nHuman: p\n\nAssistant: r' },
  { instruction: 'p', completions: [{ model: 'a', response: 'c', overall_score: 5 }, { model: 'b', response: 'r', overall_score: 1 }] },
  { prompt: "[{'role': 'user', 'content': 'p'}]", chosen: 'c', rejected: 'r' },
];

const jsonl = (rows: readonly unknown[]) => rows.map((row) => JSON.stringify(row)).join('\n');
const TEXTS = [
  jsonl(ROWS),
  JSON.stringify(ROWS, null, 1),
  `\ufeff${jsonl(ROWS)}\r\n\n{"id": 18446744073709551615, "prompt": NaN}`,
];
const utf8 = new TextEncoder();

const files = fc.oneof(
  mutatedText(TEXTS).map((text) => utf8.encode(text)),
  mutatedBytes(TEXTS.map((text) => utf8.encode(text))),
  mutatedJson(ROWS.map((row) => [ROWS[0], row, ROWS[0]])).map((rows) => utf8.encode(JSON.stringify(rows) ?? '')),
  mutatedJson(ROWS).map((row) => utf8.encode(jsonl([ROWS[0], row, ROWS[0]]))),
);

async function* chunked(bytes: Uint8Array, size: number) {
  for (let i = 0; i < bytes.length; i += size) yield bytes.subarray(i, i + size);
}

/** Reads the rows, or the error that ended reading. */
async function outcome(bytes: Uint8Array, size: number) {
  const rows: PreferenceRow[] = [];
  const skipped: RowError[] = [];
  try {
    const options = { onBadRow: 'skip', onSkip: (error: RowError) => skipped.push(error) } as const;
    for await (const row of readRowsFrom(chunked(bytes, size), 'rows.jsonl', options)) rows.push(row);
  } catch (error) {
    if (!(error instanceof RowError)) throw error;
    return { rows, skipped, failure: error };
  }
  return { rows, skipped, failure: undefined };
}

/** Each row is read, or refused with its line; no row is lost, and the size of the chunks makes no difference. */
export const family: Family<Uint8Array> = {
  name: 'json-rows',
  input: files,
  async check(bytes, { count }) {
    const whole = await outcome(bytes, bytes.length + 1);
    for (const error of [...whole.skipped, ...(whole.failure ? [whole.failure] : [])]) expectPlainError(error);
    const pieces = await outcome(bytes, 13);
    if (JSON.stringify(whole) !== JSON.stringify(pieces)) throw new Error('other chunks give other rows');
    for (const { context, chosen, rejected, at } of whole.rows) {
      const texts = [chosen, rejected, ...context.map(({ content }) => content)];
      if (context.length === 0 || texts.some((text) => typeof text !== 'string' || /\p{Cs}/u.test(text))) {
        throw new Error(`line ${at.line}: expected texts, found ${JSON.stringify(texts)}`);
      }
    }
    if (whole.failure === undefined) {
      let records = 0;
      const onSkip = () => {
        records += 1;
      };
      for await (const { value, at } of readRecordsFrom([bytes], 'rows.jsonl', { onBadRow: 'skip', onSkip })) {
        records += 1;
        try {
          evaluationText(value, at);
        } catch (error) {
          expectPlainError(error);
          if (!(error instanceof RowError)) throw error;
        }
      }
      if (records !== whole.rows.length + whole.skipped.length) throw new Error('a row is neither read nor refused');
    }
    count(whole.failure ? 'refused: the file' : whole.skipped.length > 0 ? 'refused: some rows' : 'read');
  },
};
