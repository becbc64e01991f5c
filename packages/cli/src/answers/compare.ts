import {
  answerKey,
  type Comparison,
  compareAnswers,
  listComparisons,
  scoresFromVerdicts,
  type Verdict,
} from '@wpo/eval';
import {
  comparingJudge,
  type Endpoint,
  type FileAnswer,
  type FileRow,
  fingerprint,
  indexAnswers,
} from '@wpo/eval/node';
import { sealRow, unsealRow } from '@wpo/internal/node/sealed';
import * as v from 'valibot';
import { UserError } from '../errors';
import { writeWholeFile } from '../files';
import { warnOfLeftOut } from '../pairs';
import { counted } from '../terminal/format';
import type { StopSignal } from '../terminal/signals';
import type { Terminal } from '../terminal/terminal';
import { runRowsTask, type TaskControls } from './resumable-rows';

export interface ComparingOptions {
  /** Files of answers. All answers are held in memory. */
  readonly answers: readonly string[];
  /** File of scores, written when all verdicts are there. */
  readonly out: string;
  readonly endpoint: Endpoint;
  /** The token limit of the judge's reply. */
  readonly judgeMaxTokens?: number | undefined;
  readonly concurrency: number;
}

const PURPOSE = 'verdict';

/** A row of `OUT.verdicts.jsonl`, which caches the judge's verdicts so that no comparison is requested twice. */
interface VerdictRow extends Verdict {
  /** Fingerprints of the two answers. */
  readonly texts: string;
  readonly judged_by: string;
}

/**
 * Has a judge compare every two answers to a prompt, in both orders. The score of an answer is its mean preference.
 *
 * @returns the exit status
 */
export async function scoreByComparing(
  options: ComparingOptions,
  stop: StopSignal,
  terminal: Terminal,
): Promise<number> {
  const { out, concurrency } = options;
  const answers: FileAnswer[] = [];
  const { texts: index, rows } = await indexAnswers(options.answers, (answer) => answers.push(answer));
  warnOfLeftOut(options.answers.join(', '), rows.length - index.size, 'completion', terminal);
  const { name, compare } = await comparingJudge(options.endpoint, { maxTokens: options.judgeMaxTokens });
  const verdicts = new Map<string, Verdict>();
  const expectedKeys = new Set(listComparisons(answers).map(keyOf));
  const task = {
    label: 'compare',
    rows: 'verdicts',
    out: `${out}.verdicts.jsonl`,
    expectedKeys,
    keyOf(row: FileRow) {
      const verdict = parseVerdictRow(row, name);
      const key = rowKey(verdict);
      verdicts.set(key, verdict);
      return key;
    },
    async *work({ existingKeys, ...controls }: TaskControls) {
      const isDone = (comparison: Comparison) => existingKeys.has(keyOf(comparison));
      for await (const verdict of compareAnswers({ answers, compare, isDone, concurrency, ...controls })) {
        const texts = `${index.get(verdict.first)} ${index.get(verdict.second)}`;
        const row: VerdictRow = { ...verdict, texts, judged_by: name };
        verdicts.set(rowKey(row), row);
        yield sealRow(PURPOSE, row);
      }
    },
  };
  const status = await runRowsTask(task, stop, terminal);
  if (status !== 0) return status;
  const ownVerdicts = [...expectedKeys].map((key) => verdicts.get(key)!);
  const scored = [...scoresFromVerdicts(answers, ownVerdicts)].map((row) => ({ ...row, scored_by: name }));
  await writeWholeFile(out, (append) => append(scored.map((row) => `${JSON.stringify(row)}\n`).join('')));
  const alone = answers.length - scored.length;
  const left =
    alone > 0 ? `; ${counted(alone, 'answer was', 'answers were')} left out: no other answer has the same prompt` : '';
  terminal.stdout.write(`${out} has ${counted(scored.length, 'score')}${left}.\n`);
  return 0;
}

const keyOf = ({ first, second }: Comparison): string =>
  JSON.stringify([
    answerKey(first),
    answerKey(second),
    `${fingerprint(first.completion)} ${fingerprint(second.completion)}`,
  ]);

const rowKey = ({ first, second, texts }: VerdictRow): string => JSON.stringify([first, second, texts]);

const verdictRow = v.object({
  prompt_id: v.string(),
  first: v.string(),
  second: v.string(),
  preference: v.number(),
  texts: v.string(),
  judged_by: v.string(),
});

function parseVerdictRow({ row, at }: FileRow, judge: string): VerdictRow {
  const hint = 'Give this run another --out.';
  const verdict = unsealRow(PURPOSE, row);
  if (!v.is(verdictRow, verdict)) {
    throw new UserError(
      `${at}: expected a verdict of wpo score with its checksum, found another or a changed row. Remove this line, and the ` +
        'judge is asked again.',
    );
  }
  if (verdict.judged_by === judge) return verdict;
  throw new UserError(`${at}: judged_by: expected "${judge}", found "${verdict.judged_by}". ${hint}`);
}
