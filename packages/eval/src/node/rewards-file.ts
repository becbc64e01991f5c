import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import * as v from 'valibot';
import { answerKey } from '../answers';
import { EvaluationError } from '../errors';
import type { Scorer } from '../score-answers';
import { readRowsFile } from './rows-file';

const reward = v.union([
  v.number(),
  v.looseObject({
    score: v.number(),
    prompt_id: v.optional(v.union([v.string(), v.number()])),
    source: v.optional(v.string()),
    seed: v.optional(v.number()),
  }),
]);

type KeyField = 'prompt_id' | 'source' | 'seed';
const KEY_FIELDS: readonly KeyField[] = ['prompt_id', 'source', 'seed'];
type KeyValues = { readonly [field in KeyField]?: string | number };

interface Rewards {
  /** The fields that identify an answer. Empty if scores are in the order of the answers: the key is then the index. */
  readonly fields: readonly KeyField[];
  readonly scores: ReadonlyMap<string, number>;
  readonly hash: string;
}

/**
 * Takes scores from a JSONL file of `{"score"}` and the fields that identify the answer: `prompt_id`, and `source` and
 * `seed` if a prompt has several answers. All rows have the same fields. Without `prompt_id`, row i belongs to answer i.
 *
 * @param answers keys of the answers in the order of their file: see `answerKey`
 * @throws {EvaluationError} naming file and line, or the answer without a score of its own
 */
export async function rewardsFile(path: string, answers: readonly string[]): Promise<Scorer> {
  const { fields, scores, hash } = await readRewards(path);
  if (fields.length === 0 && scores.size !== answers.length) {
    throw new EvaluationError(
      `${path}: expected one score for each of ${answers.length} answers, found ${scores.size}. Write one row per answer ` +
        'in their order, or add "prompt_id" to each row.',
    );
  }
  const owners = new Map<string, string>();
  const byAnswer = new Map<string, number>();
  for (const [i, answer] of answers.entries()) {
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
    score: (answer) => byAnswer.get(answerKey(answer))!,
  };
}

async function readRewards(path: string): Promise<Rewards> {
  const scores = new Map<string, number>();
  const hash = createHash('sha256');
  let fields: readonly KeyField[] | undefined;
  for await (const { row, at } of readRowsFile(path, 'rewards')) {
    if (!v.is(reward, row)) {
      throw new EvaluationError(
        `${at}: expected a score, found another kind of row. Write {"prompt_id", "source"?, "seed"?, "score": number}.`,
      );
    }
    const values = typeof row === 'number' ? { score: row } : row;
    fields ??= 'prompt_id' in values ? KEY_FIELDS.filter((field) => field in values) : [];
    const key = fields.length === 0 ? String(scores.size) : keyOf(fields, values);
    if (scores.has(key)) {
      throw new EvaluationError(`${at}: expected one score for ${key}, found a second one. Remove one of them.`);
    }
    scores.set(key, values.score);
    hash.update(`${key} ${values.score}\n`);
  }
  return { fields: fields ?? [], scores, hash: hash.digest('hex').slice(0, 8) };
}

/** A prompt_id that is a number and one that is its text are the same. */
const keyOf = (fields: readonly KeyField[], values: KeyValues) =>
  JSON.stringify(fields.map((field) => (field === 'prompt_id' ? String(values[field]) : values[field])));

function valuesOf(key: string): KeyValues {
  const [prompt_id, source, seed] = JSON.parse(key) as [string, string, number | null];
  return { prompt_id, source, ...(seed === null ? {} : { seed }) };
}
