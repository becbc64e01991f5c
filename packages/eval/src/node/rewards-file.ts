import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import * as v from 'valibot';
import { answerKey } from '../answers';
import { EvaluationError } from '../errors';
import type { Scorer } from '../score-answers';
import { readJsonl } from './read-rows';

const reward = v.union([
  v.number(),
  v.looseObject({
    score: v.number(),
    prompt_id: v.optional(v.union([v.string(), v.number()])),
    source: v.optional(v.string()),
    seed: v.optional(v.number()),
  }),
]);

type Name = 'prompt_id' | 'source' | 'seed';
const NAMES: readonly Name[] = ['prompt_id', 'source', 'seed'];

/** A file's scores by what names their answers. */
interface Rewards {
  /** None where the scores are in the answers' order: then a line's number, from 0, is its name. */
  readonly names: readonly Name[];
  readonly scores: ReadonlyMap<string, number>;
  readonly hash: string;
}

/**
 * Scores from a JSONL file of `{"score"}` with what names the answer: `prompt_id`, and `source` and `seed` where a prompt
 * has several answers. All rows have the same of these; with no `prompt_id`, row i is of answer i.
 *
 * @param answers keys of the answers in their file's order: see `answerKey`
 * @throws {EvaluationError} naming file and line, or the answer that has no score of its own
 */
export async function rewardsFile(path: string, answers: readonly string[]): Promise<Scorer> {
  const { names, scores, hash } = await readRewards(path);
  if (names.length === 0 && scores.size !== answers.length) {
    throw new EvaluationError(
      `${path}: found ${scores.size} scores for ${answers.length} answers, wanted one each in their order, or a ` +
        '"prompt_id" on each row.',
    );
  }
  const owners = new Map<string, string>();
  const byAnswer = new Map<string, number>();
  for (const [i, answer] of answers.entries()) {
    const key = names.length === 0 ? String(i) : keyOf(names, partsOf(answer));
    const score = scores.get(key);
    if (score === undefined) throw new EvaluationError(`${path}: found no score for the answer ${answer}, wanted one.`);
    if (owners.has(key)) {
      const shared = `${owners.get(key)} and ${answer} share`;
      throw new EvaluationError(
        `${path}: names answers by ${names.join(' and ')}, which ${shared}. Add source or seed.`,
      );
    }
    owners.set(key, answer);
    byAnswer.set(answer, score);
  }
  return {
    name: `${basename(path)} ${hash}`, // other scores are another scorer
    score: (answer) => byAnswer.get(answerKey(answer))!,
  };
}

async function readRewards(path: string): Promise<Rewards> {
  const scores = new Map<string, number>();
  const hash = createHash('sha256');
  let names: readonly Name[] | undefined;
  for await (const { value: row, at: place } of readJsonl(path, 'rewards')) {
    const at = `${place.file}:${place.line}`;
    if (!v.is(reward, row)) {
      throw new EvaluationError(`${at}: found no score, wanted {"prompt_id", "source"?, "seed"?, "score": number}.`);
    }
    const found = typeof row === 'number' ? { score: row } : row;
    names ??= 'prompt_id' in found ? NAMES.filter((name) => name in found) : [];
    const key = names.length === 0 ? String(scores.size) : keyOf(names, found);
    if (scores.has(key)) throw new EvaluationError(`${at}: found a second score for ${key}, wanted one.`);
    scores.set(key, found.score);
    hash.update(`${key} ${found.score}\n`);
  }
  return { names: names ?? [], scores, hash: hash.digest('hex').slice(0, 8) };
}

/** Numbers and text name the same prompt alike. */
const keyOf = (names: readonly Name[], parts: { readonly [name in Name]?: string | number }) =>
  JSON.stringify(names.map((name) => (name === 'prompt_id' ? String(parts[name]) : parts[name])));

function partsOf(key: string): { readonly [name in Name]?: string | number } {
  const [prompt_id, source, seed] = JSON.parse(key) as [string, string, number | null];
  return { prompt_id, source, ...(seed === null ? {} : { seed }) };
}
