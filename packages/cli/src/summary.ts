import type { MetricsRow } from '@wpo/trainer';

/** What a run came to, from its metrics. */
export interface Summary {
  readonly steps: number;
  /** Tokens seen, the prompt counted with each answer. */
  readonly tokens: number;
  /** Over all steps, evaluation and saving left out. */
  readonly tokensPerSecond: number;
  /** Of the first row of metrics and of the last. */
  readonly weight: BeforeAfter;
  /** Of the first evaluation and of the last; absent where there was none. */
  readonly evaluation?: { readonly accuracy: BeforeAfter; readonly margin: BeforeAfter };
}

export interface BeforeAfter {
  readonly before: number;
  readonly after: number;
}

/** Sums up a run that has made a step. @param rows all rows of its `metrics.jsonl` */
export function summarise(rows: readonly MetricsRow[]): Summary {
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
export function formatSummary(summary: Summary, run: SummarisedRun): string {
  const { steps, tokens, tokensPerSecond, weight, evaluation } = summary;
  const fromTo = ({ before, after }: BeforeAfter) => `${before.toFixed(3)} → ${after.toFixed(3)}`;
  const rows: [string, string][] = [
    ['pairs', `${count(run.pairs)}${run.skipped > 0 ? ` (${count(run.skipped)} rows skipped)` : ''}`],
    ['steps', count(steps)],
    ['tokens', `${count(tokens)}, ${count(Math.round(tokensPerSecond))} a second`],
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

export interface SummarisedRun {
  /** Pairs trained on. */
  readonly pairs: number;
  readonly skipped: number;
  readonly evalPairs: number;
  readonly folder: string;
  readonly model: string;
}

const count = (n: number) => n.toLocaleString('en-US');
