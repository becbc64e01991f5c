import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { optionalId, optionalInteger, optionalNumber, RowError, type RowLocation } from '@wpo/data';
import { answerKey } from '../answers';
import { EvaluationError } from '../errors';
import type { Scorer } from '../score-answers';
import { type FileRow, readRowsFile } from './rows-file';

type KeyField = 'prompt_id' | 'source' | 'seed';
const KEY_FIELDS: readonly KeyField[] = ['prompt_id', 'source', 'seed'];
type KeyValues = { readonly [field in KeyField]?: string | number | undefined };

interface Rewards {
  /** The fields that identify an answer. Empty if scores are in the order of the answers: the key is then the index. */
  readonly fields: readonly KeyField[];
  /** Null for an answer that has no score. */
  readonly scores: ReadonlyMap<string, number | null>;
  readonly hash: string;
}

/**
 * Takes scores from a file of `{"score"}` and the fields that identify the answer: `prompt_id`, and `source` and `seed` if a
 * prompt has several answers. A field that is null in all rows is absent. Without `prompt_id`, row i belongs to row i of the
 * answers. A score of null means that the answer has none.
 *
 * @param answers keys of the answers in the order of their rows: see `answerKey`; null for a row without an answer
 * @throws {RowError} naming file and line
 * @throws {EvaluationError} naming the answer that has no row of its own
 */
export async function rewardsFile(path: string, answers: readonly (string | null)[]): Promise<Scorer> {
  const { fields, scores, hash } = await readRewards(path);
  if (fields.length === 0 && scores.size !== answers.length) {
    throw new EvaluationError(
      `${path}: expected one score for each of ${answers.length} rows of answers, found ${scores.size}. Write one row per ` +
        'row of answers in their order, or add "prompt_id" to each row.',
    );
  }
  const owners = new Map<string, string>();
  const byAnswer = new Map<string, number | null>();
  for (const [i, answer] of answers.entries()) {
    if (answer === null) continue;
    const key = fields.length === 0 ? String(i) : keyOf(fields, valuesOf(answer));
    const score = scores.get(key);
    if (score === undefined) {
      throw new EvaluationError(`${path}: expected a score for the answer ${answer}, found none. Add a row for it.`);
    }
    if (owners.has(key)) {
      throw new EvaluationError(
        `${path}: expected a score for each answer, found one for both ${owners.get(key)} and ${answer}, which have the ` +
          `same ${fields.join(' and ')}. Add source or seed to the rows.`,
      );
    }
    owners.set(key, answer);
    byAnswer.set(answer, score);
  }
  return {
    name: `${basename(path)} ${hash}`, // a file with other scores is another scorer
    score: (answer) => byAnswer.get(answerKey(answer)) ?? null,
  };
}

async function readRewards(path: string): Promise<Rewards> {
  const rows: { readonly values: KeyValues; readonly score: number | null; readonly at: RowLocation }[] = [];
  for await (const row of readRowsFile(path)) rows.push(parseReward(row));
  const fields = KEY_FIELDS.filter((field) => rows.some(({ values }) => values[field] !== undefined));
  const used = fields.includes('prompt_id') ? fields : [];
  const scores = new Map<string, number | null>();
  const hash = createHash('sha256');
  for (const { values, score, at } of rows) {
    const key = used.length === 0 ? String(scores.size) : keyOf(used, values);
    if (scores.has(key)) {
      const hint = 'Remove one of them.';
      throw new RowError(at, { expected: `one score for ${key}`, found: 'a second one', hint });
    }
    scores.set(key, score);
    hash.update(`${key} ${score}\n`);
  }
  return { fields: used, scores, hash: hash.digest('hex').slice(0, 8) };
}

/** A row is a score, or an object with one. */
function parseReward({ row, location: at }: FileRow) {
  if (row === null || typeof row === 'number') {
    return { values: {}, score: optionalNumber({ score: row }, 'score', at) ?? null, at };
  }
  if (typeof row !== 'object' || Array.isArray(row) || !Object.hasOwn(row, 'score')) {
    const hint = 'Write {"prompt_id", "source"?, "seed"?, "score": number}; null for an answer without a score.';
    throw new RowError(at, { expected: 'a score', found: 'another kind of row', hint });
  }
  const fields = row as Readonly<Record<string, unknown>>;
  const values = {
    prompt_id: optionalId(fields, 'prompt_id', at),
    source: optionalId(fields, 'source', at),
    seed: optionalInteger(fields, 'seed', at),
  };
  return { values, score: optionalNumber(fields, 'score', at) ?? null, at };
}

const keyOf = (fields: readonly KeyField[], values: KeyValues) => JSON.stringify(fields.map((field) => values[field]));

function valuesOf(key: string): KeyValues {
  const [prompt_id, source, seed] = JSON.parse(key) as [string, string, number | null];
  return { prompt_id, source, ...(seed === null ? {} : { seed }) };
}
