import type { MetricsRow } from '@wpo/trainer';
import { count } from '../terminal/format';

/** The results of a training run, from its metrics. */
export interface Summary {
  readonly steps: number;
  /** Tokens trained on; the prompt counts with each answer. */
  readonly tokens: number;
  /** Over all steps, without evaluation and saving. */
  readonly tokensPerSecond: number;
  /** The mean weight in the first and last row of metrics. */
  readonly weight: BeforeAfter;
  /** Of the first and last evaluation; absent if there was none. */
  readonly evaluation?: { readonly accuracy: BeforeAfter; readonly margin: BeforeAfter };
}

export interface BeforeAfter {
  readonly before: number;
  readonly after: number;
}

/** Summarizes a run of at least one step. @param rows all rows of its `metrics.jsonl` */
export function summarize(rows: readonly MetricsRow[]): Summary {
  const training = rows.filter((row) => row.loss !== undefined);
  const evaluations = rows.filter((row) => row.eval_loss !== undefined);
  const last = training.at(-1)!;
  const seconds = training.reduce((sum, row, i) => {
    const steps = row.step! - (training[i - 1]?.step ?? 0);
    return sum + row.step_seconds! * steps;
  }, 0);
  return {
    steps: last.step!,
    tokens: last.num_tokens!,
    tokensPerSecond: last.num_tokens! / seconds,
    weight: ends(training, 'wpo/weight'),
    ...(evaluations.length === 0
      ? {}
      : {
          evaluation: {
            accuracy: ends(evaluations, 'eval_rewards/accuracies'),
            margin: ends(evaluations, 'eval_rewards/margins'),
          },
        }),
  };
}

const ends = (rows: readonly MetricsRow[], name: string): BeforeAfter => ({
  before: rows[0]![name]!,
  after: rows.at(-1)![name]!,
});

/** A summary as a few lines of text. */
export function formatSummary(summary: Summary, run: SummarizedRun): string {
  const { steps, tokens, tokensPerSecond, weight, evaluation } = summary;
  const fromTo = ({ before, after }: BeforeAfter) => `${before.toFixed(3)} → ${after.toFixed(3)}`;
  const rows: [string, string][] = [
    ['pairs', `${count(run.pairs)}${run.skipped > 0 ? ` (${count(run.skipped)} rows skipped)` : ''}`],
    ['steps', count(steps)],
    ['tokens', `${count(tokens)}, ${count(Math.round(tokensPerSecond))} per second`],
    ['mean weight', `${fromTo(weight)}  (start → end)`],
  ];
  if (evaluation) {
    rows.push(
      ['held-out pairs', count(run.evalPairs)],
      ['reward accuracy', `${fromTo(evaluation.accuracy)}  (before → after; a tie counts as wrong)`],
      ['reward margin', `${fromTo(evaluation.margin)}  (before → after)`],
    );
  }
  rows.push(['model', run.model], ['run directory', run.folder]);
  return rows.map(([name, value]) => `  ${name.padEnd(16)} ${value}`).join('\n');
}

export interface SummarizedRun {
  /** Pairs trained on. */
  readonly pairs: number;
  readonly skipped: number;
  readonly evalPairs: number;
  readonly folder: string;
  readonly model: string;
}
