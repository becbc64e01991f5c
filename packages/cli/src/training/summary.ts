import type { MetricsRow } from '@wpo/trainer';
import { alignedRows, count, counted, table } from '../terminal/format';

/** The results of a training run, from its metrics. */
export interface Summary {
  readonly steps: number;
  /** Tokens trained on; the prompt counts with each answer. */
  readonly tokens: number;
  /** Over all steps, without evaluation and saving. */
  readonly tokensPerSecond: number;
  /** Steps left out because a loss or gradient was not finite. */
  readonly skippedSteps: number;
  /** Whether `before` and `after` are means over the held-out pairs, or over training pairs, which differ between the two. */
  readonly isHeldOut: boolean;
  readonly before: Measurement;
  readonly after: Measurement;
}

/** Means over pairs, by their names in a training row. */
export interface Measurement {
  readonly means: MetricsRow;
  /** The step of the evaluation; or the first and the last step whose pairs were used. */
  readonly steps: readonly [number] | readonly [number, number];
}

/** The rows of a summary: a metric and its number of decimals. */
const SHOWN: readonly [label: string, metric: string, digits: number][] = [
  ['loss', 'loss', 4],
  ['reward accuracy', 'rewards/accuracies', 3],
  ['reward margin', 'rewards/margins', 3],
  ['chosen reward', 'rewards/chosen', 3],
  ['rejected reward', 'rewards/rejected', 3],
  ['chosen log-prob', 'logps/chosen', 2],
  ['rejected log-prob', 'logps/rejected', 2],
  ['weight', 'wpo/weight', 4],
];

/**
 * Summarizes a run of at least one step.
 *
 * @param rows all rows of its `metrics.jsonl`
 * @param modelStep the step of the saved model, if it is not the last
 */
export function summarize(rows: readonly MetricsRow[], modelStep = Number.POSITIVE_INFINITY): Summary {
  const logged = rows.filter((row) => row.num_tokens !== undefined);
  const evaluations = rows.filter((row) => row.eval_loss !== undefined && row.step! <= modelStep);
  const windows = logged.flatMap((row, i): Window[] => {
    const before = logged[i - 1];
    const tokens = row.num_tokens! - (before?.num_tokens ?? 0);
    return row.loss === undefined ? [] : [{ row, steps: [(before?.step ?? 0) + 1, row.step!], tokens }];
  });
  const seconds = windows.reduce((sum, { row, tokens }) => sum + tokens / row.tokens_per_second!, 0);
  const last = logged.at(-1)!;
  return {
    steps: last.step!,
    tokens: last.num_tokens!,
    tokensPerSecond: last.num_tokens! / seconds,
    skippedSteps: last.skipped_steps ?? 0,
    ...(evaluations.length > 0
      ? { isHeldOut: true, before: evaluated(evaluations[0]!), after: evaluated(evaluations.at(-1)!) }
      : { isHeldOut: false, ...firstAndLast(windows.filter(({ row }) => row.step! <= modelStep)) }),
  };
}

/** A training row and the steps that it covers. */
interface Window {
  readonly row: MetricsRow;
  readonly steps: readonly [number, number];
  readonly tokens: number;
}

const evaluated = (row: MetricsRow): Measurement => ({
  means: Object.fromEntries(SHOWN.map(([, metric]) => [metric, row[`eval_${metric}`]!])),
  steps: [row.step!],
});

/** The first row, and as many of the last rows as cover no fewer steps. */
function firstAndLast(windows: readonly Window[]): Pick<Summary, 'before' | 'after'> {
  const stepsOf = (some: readonly Window[]) => some.reduce((sum, { steps: [from, to] }) => sum + to - from + 1, 0);
  let start = windows.length - 1;
  while (start > 0 && stepsOf(windows.slice(start)) < stepsOf(windows.slice(0, 1))) start -= 1;
  const measure = (some: readonly Window[]): Measurement => {
    const meanOf = (metric: string) =>
      some.reduce((sum, window) => sum + window.row[metric]! * stepsOf([window]), 0) / stepsOf(some);
    return {
      means: Object.fromEntries(SHOWN.map(([, metric]) => [metric, meanOf(metric)])),
      steps: [some[0]?.steps[0] ?? 0, some.at(-1)?.steps[1] ?? 0],
    };
  };
  return { before: measure(windows.slice(0, 1)), after: measure(windows.slice(Math.max(0, start))) };
}

/** A summary as text: the run, then a table of what it changed. */
export function formatSummary(summary: Summary, run: SummarizedRun): string {
  const { steps, tokens, tokensPerSecond, skippedSteps, isHeldOut } = summary;
  const rows: [string, string][] = [
    ['pairs', `${count(run.pairs)}${run.skipped > 0 ? ` (${counted(run.skipped, 'row')} skipped)` : ''}`],
    ['steps', `${count(steps)}${skippedSteps > 0 ? ` (${count(skippedSteps)} skipped: not finite)` : ''}`],
    ['tokens', `${count(tokens)}, ${count(Math.round(tokensPerSecond))} per second`],
    [run.isAdapter ? 'adapter' : 'model', run.model],
    ['run directory', run.folder],
    ...(run.report === undefined ? [] : [['report', run.report] as [string, string]]),
  ];
  const note = isHeldOut
    ? ''
    : '\n  Other pairs in both columns. Set eval_split or eval_file to compare the same ones.';
  return `${alignedRows(rows)}\n\n${table(changedMetrics(summary, run.evalPairs))}${note}`;
}

/** What the run changed, as the rows of a table: a head, then a row for each metric. @param evalPairs the number of held-out pairs */
export function changedMetrics({ isHeldOut, before, after }: Summary, evalPairs?: number): string[][] {
  const heldOut = evalPairs === undefined ? 'held-out pairs' : `${count(evalPairs)} held-out pairs`;
  const wasEvaluatedOnce = isHeldOut && after.steps[0] === before.steps[0];
  const shown = wasEvaluatedOnce ? [before] : [before, after];
  const columns = shown.map(({ steps: [from, to] }) => {
    if (to === undefined) return from === 0 ? 'before' : `after step ${count(from)}`;
    return from === to ? `step ${count(from)}` : `steps ${count(from)}–${count(to)}`;
  });
  const changes = SHOWN.map(([label, metric, digits]) => [
    label,
    ...shown.map(({ means }) => means[metric]!.toFixed(digits)),
  ]);
  return [[isHeldOut ? heldOut : 'training pairs', ...columns], ...changes];
}

export interface SummarizedRun {
  /** Pairs trained on. */
  readonly pairs: number;
  readonly skipped: number;
  readonly evalPairs: number;
  readonly folder: string;
  readonly model: string;
  /** The page about the run. */
  readonly report?: string | undefined;
  /** Whether `model` is an adapter. */
  readonly isAdapter?: boolean;
}
