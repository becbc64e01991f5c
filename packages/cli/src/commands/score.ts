import { answerKey, type Scored, type Scorer, scoreAnswers } from '@wpo/eval';
import {
  createEndpoint,
  type Endpoint,
  type FileAnswer,
  fingerprint,
  indexAnswers,
  type RewardApi,
  ratingJudge,
  readAnswers,
  rewardServer,
  rewardsFile,
} from '@wpo/eval/node';
import * as v from 'valibot';
import { UserError } from '../errors';
import type { EndpointFlags } from '../flags/endpoint';
import type { FileRow } from '../rows-file';
import { scoreByComparing } from '../scoring/by-comparing';
import { runStage, type StageControls } from '../stage';
import { type Stop, withStop } from '../stop';
import type { Terminal } from '../terminal';

export interface ScoreArguments extends EndpointFlags {
  /** Files of answers. */
  readonly answers: readonly string[];
  /** File to write, or to go on with. */
  readonly out: string;
  /** One of the three: a file of scores, a reward model's server, a judge's. */
  readonly rewards?: string;
  readonly endpoint?: string;
  readonly judge?: string;
  /** How the reward model is asked. */
  readonly api: RewardApi;
  /** Have the judge compare answers by twos. */
  readonly compare?: boolean;
  /** The model to ask. */
  readonly model?: string;
}

/** A row of the scored file. */
export type ScoredRow = Scored<FileAnswer> & { readonly scored_by: string };

/** `wpo score`: gives each answer of a file its score. Returns the exit status. */
export async function score(given: ScoreArguments, terminal: Terminal = process): Promise<number> {
  checkScoring(given);
  return withStop(terminal, (stop) =>
    given.compare
      ? scoreByComparing({ ...given, endpoint: endpointAt(given.judge!, given, stop) }, stop, terminal)
      : scoreOneByOne(given, stop, terminal),
  );
}

/** @throws {UserError} where options do not go together */
export function checkScoring({ rewards, endpoint, judge, compare }: ScoreArguments): void {
  if (compare && judge === undefined) throw new UserError('--compare: wanted --judge URL beside it.');
  if ([rewards, endpoint, judge].filter((scorer) => scorer !== undefined).length === 1) return;
  throw new UserError('wanted one of --rewards FILE, --endpoint URL and --judge URL.');
}

async function scoreOneByOne(given: ScoreArguments, stop: Stop, terminal: Terminal): Promise<number> {
  const texts = await indexAnswers(given.answers);
  const keys = [...texts.keys()];
  const { name, score } = await scorerOf(given, keys, stop);
  const stage = {
    label: 'score',
    rows: 'scores',
    out: given.out,
    wanted: new Set(keys),
    keyOf: (row: FileRow) => keyOfOwn(row, name, texts),
    async *work({ there, ...heed }: StageControls) {
      const done = (answer: FileAnswer) => there.has(answerKey(answer));
      const { concurrency } = given;
      const answers = readAnswers(given.answers);
      for await (const row of scoreAnswers({ answers, score, done, concurrency, ...heed })) {
        yield { ...row, scored_by: name } satisfies ScoredRow;
      }
    },
  };
  return runStage(stage, stop, terminal);
}

function scorerOf(given: ScoreArguments, keys: readonly string[], stop: Stop): Promise<Scorer> {
  if (given.rewards !== undefined) return rewardsFile(given.rewards, keys);
  if (given.endpoint !== undefined) return rewardServer(endpointAt(given.endpoint, given, stop), given.api);
  return ratingJudge(endpointAt(given.judge!, given, stop));
}

const endpointAt = (url: string, { model, timeout, retries }: ScoreArguments, { signal }: Stop): Endpoint =>
  createEndpoint({ url, model, timeout: timeout * 1000, retries, signal });

const scoredRow = v.object({
  prompt_id: v.string(),
  source: v.string(),
  seed: v.optional(v.number()),
  completion: v.string(),
  score: v.number(),
  scored_by: v.string(),
});

/**
 * The key of a row that the file has.
 *
 * @throws {UserError} where the row is none of this command's, was scored by another, or has another text
 */
function keyOfOwn({ row, at }: FileRow, scorer: string, texts: ReadonlyMap<string, string>): string {
  const mend = 'Give this run another --out.';
  if (!v.is(scoredRow, row)) throw new UserError(`${at}: found a row that is no score of wpo score. ${mend}`);
  if (row.scored_by !== scorer) {
    throw new UserError(`${at}: "scored_by": found "${row.scored_by}", wanted "${scorer}" as here. ${mend}`);
  }
  const key = answerKey(row);
  if (fingerprint(row.completion) === (texts.get(key) ?? fingerprint(row.completion))) return key;
  throw new UserError(`${at}: "completion": found another text than the answers file has for ${key}. ${mend}`);
}
