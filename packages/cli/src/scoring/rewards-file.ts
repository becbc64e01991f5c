import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { type AnswerRow, answerKey } from '@wpo/data';
import * as v from 'valibot';
import { UserError } from '../errors';
import { type FileRow, readRowsFile } from '../rows-file';
import type { Scorer } from './scorer';

const reward = v.union([
  v.number(),
  v.looseObject({
    score: v.number(),
    prompt_id: v.optional(v.union([v.string(), v.number()])),
    source: v.optional(v.string()),
    seed: v.optional(v.number()),
  }),
]);

const NAMES = ['prompt_id', 'source', 'seed'] as const;

/**
 * Scores from a JSONL file of `{"score"}` with what names the answer: `prompt_id`, and `source` and `seed` where a prompt
 * has several answers. All rows have the same of these; with no `prompt_id`, row i is of answer i.
 *
 * @param answers keys of the answers in their file's order: see `answerKey`
 * @throws {UserError} naming file and line
 */
export async function rewardsFile(path: string, answers: readonly string[]): Promise<Scorer> {
  const rewards = new Map<string, number>();
  const hash = createHash('sha256');
  let names: readonly (typeof NAMES)[number][] | undefined;
  let count = 0;
  for await (const row of readRowsFile(path, 'rewards')) {
    const found = parseReward(row);
    names ??= 'prompt_id' in found ? NAMES.filter((name) => found[name] !== undefined) : [];
    const key = names.length === 0 ? answers[count] : keyBy(names, found);
    count += 1;
    if (key === undefined) continue; // told below, with how many there are
    if (rewards.has(key)) throw new UserError(`${row.at}: found a second score for ${key}, wanted one.`);
    rewards.set(key, found.score);
    hash.update(`${key}${found.score}\n`);
  }
  const byLine = names?.length === 0;
  if (byLine && count !== answers.length) {
    throw new UserError(
      `${path}: found ${count} scores for ${answers.length} answers, wanted one each in their order, or a "prompt_id" on ` +
        'each row.',
    );
  }
  const keyOf = byLine ? answerKey : (answer: AnswerRow) => keyBy(names ?? [], answer);
  return {
    name: `${basename(path)} ${hash.digest('hex').slice(0, 8)}`, // other scores are another scorer
    score: lookUp(path, rewards, keyOf, byLine ? 'line' : (names ?? []).join(', ')),
  };
}

function lookUp(path: string, rewards: Map<string, number>, keyOf: (answer: AnswerRow) => string, by: string) {
  const taken = new Map<string, string>();
  return (answer: AnswerRow): number => {
    const [key, own] = [keyOf(answer), answerKey(answer)];
    const score = rewards.get(key);
    if (score === undefined) throw new UserError(`${path}: found no score for the answer ${own}, wanted one.`);
    if ((taken.get(key) ?? own) !== own) {
      throw new UserError(
        `${path}: names answers by ${by}, which ${own} and ${taken.get(key)} share. Add source or seed.`,
      );
    }
    taken.set(key, own);
    return score;
  };
}

function parseReward({ row, at }: FileRow) {
  if (!v.is(reward, row)) {
    throw new UserError(`${at}: found no score, wanted {"prompt_id", "source"?, "seed"?, "score": number}.`);
  }
  return typeof row === 'number' ? { score: row } : row;
}

const keyBy = (names: readonly (typeof NAMES)[number][], row: Readonly<Record<string, unknown>> | AnswerRow) =>
  JSON.stringify(names.map((name) => (name === 'seed' ? row[name] : String(row[name]))));
