import { answerKey, type Scored, type Scorer, scoreAnswers } from '@wpo/eval';
import {
  type FileAnswer,
  type FileRow,
  fingerprint,
  indexAnswers,
  ratingJudge,
  readAnswers,
  rewardServer,
  rewardsFile,
} from '@wpo/eval/node';
import * as v from 'valibot';
import { scoreByComparing } from '../answers/compare';
import { runRowsTask, type TaskControls } from '../answers/resumable-rows';
import { connect } from '../answers/server';
import { UserError } from '../errors';
import { warnOfLeftOut } from '../pairs';
import { checkFlags } from '../schemas/flags';
import { type ScoreConfig, scoreSchema } from '../schemas/score';
import { type StopSignal, withSignals } from '../terminal/signals';
import { processTerminal, type Terminal } from '../terminal/terminal';

/** A row of the scored file. */
export type ScoredRow = Scored<FileAnswer> & { readonly scored_by: string };

/** `wpo score`: scores each answer of a file. Returns the exit status. */
export async function score(config: ScoreConfig, terminal: Terminal = processTerminal()): Promise<number> {
  checkFlags(scoreSchema, config);
  return withSignals(terminal, (stop) =>
    config.compare
      ? scoreByComparing(
          { ...config, endpoint: connect({ ...config, model: config.model, url: config.judge! }, stop, terminal) },
          stop,
          terminal,
        )
      : scoreOneByOne(config, stop, terminal),
  );
}

async function scoreOneByOne(config: ScoreConfig, stop: StopSignal, terminal: Terminal): Promise<number> {
  const { texts, rows } = await indexAnswers(config.answers);
  warnOfLeftOut(config.answers.join(', '), rows.length - texts.size, 'completion', terminal);
  const { name, score } = await scorerOf(config, rows, stop, terminal);
  const task = {
    label: 'score',
    rows: 'scores',
    out: config.out,
    expectedKeys: new Set(texts.keys()),
    keyOf: (row: FileRow) => keyOfOwn(row, name, texts),
    async *work({ existingKeys, ...controls }: TaskControls) {
      const isDone = (answer: FileAnswer) => existingKeys.has(answerKey(answer));
      const { concurrency } = config;
      const answers = readAnswers(config.answers);
      for await (const row of scoreAnswers({ answers, score, isDone, concurrency, ...controls })) {
        yield { ...row, scored_by: name } satisfies ScoredRow;
      }
    },
  };
  return runRowsTask(task, stop, terminal);
}

function scorerOf(
  config: ScoreConfig,
  rows: readonly (string | null)[],
  stop: StopSignal,
  terminal: Terminal,
): Promise<Scorer> {
  const { rewards, endpoint, judge, api, model, judgeMaxTokens: maxTokens } = config;
  if (rewards !== undefined) return rewardsFile(rewards, rows);
  const server = connect({ ...config, model, url: (endpoint ?? judge)! }, stop, terminal);
  return endpoint === undefined ? ratingJudge(server, { maxTokens }) : rewardServer(server, api);
}

const scoredRow = v.object({
  prompt_id: v.string(),
  source: v.string(),
  seed: v.optional(v.number()),
  completion: v.string(),
  score: v.nullable(v.number()),
  scored_by: v.string(),
});

/**
 * The key of a row in the file.
 *
 * @throws {UserError} if the row is not from this command, has another scorer, or belongs to another text
 */
function keyOfOwn({ row, at }: FileRow, scorer: string, texts: ReadonlyMap<string, string>): string {
  const hint = 'Give this run another --out.';
  if (!v.is(scoredRow, row))
    throw new UserError(`${at}: expected a score of wpo score, found another kind of row. ${hint}`);
  if (row.scored_by !== scorer) {
    throw new UserError(`${at}: scored_by: expected "${scorer}", found "${row.scored_by}". ${hint}`);
  }
  const key = answerKey(row);
  if (fingerprint(row.completion) === (texts.get(key) ?? fingerprint(row.completion))) return key;
  throw new UserError(`${at}: completion: expected the text of the answers file for ${key}, found another. ${hint}`);
}
