import type { PairResult } from './pair-loss';
import type { StepResult } from './step';

/** One row of metrics, under TRL's names. */
export type MetricsRow = Readonly<Record<string, number>>;

/** Receives metrics rows. */
export interface MetricsSink {
  write(row: MetricsRow): void | Promise<void>;
  /**
   * Called once before the first row, with the rows that earlier parts of this run wrote, up to the checkpoint that it continues
   * from; the run writes later rows again. Empty for a new run.
   */
  rewind?(rows: readonly MetricsRow[]): void | Promise<void>;
}

/** Sums over the steps since the last row, as plain JSON for checkpoints. */
export interface Interval {
  readonly steps: number;
  readonly pairs: number;
  /** Σ over steps of the step's mean loss. */
  readonly loss: number;
  /** Σ over pairs. */
  readonly sums: PairSums;
  readonly weightMin: number | null;
  readonly weightMax: number | null;
  /** The gradient norm of the last step, before clipping; null before the first. */
  readonly gradNorm: number | null;
  readonly tokens: number;
  /** Time of the steps, without evaluation and saving. */
  readonly seconds: number;
}

/** Sums of numbers of pairs. */
export interface PairSums {
  readonly loss: number;
  readonly weight: number;
  readonly chosenReward: number;
  readonly rejectedReward: number;
  readonly accuracy: number;
  readonly margin: number;
  readonly chosenLogps: number;
  readonly rejectedLogps: number;
}

const noSums: PairSums = {
  loss: 0,
  weight: 0,
  chosenReward: 0,
  rejectedReward: 0,
  accuracy: 0,
  margin: 0,
  chosenLogps: 0,
  rejectedLogps: 0,
};

export const emptyInterval: Interval = {
  steps: 0,
  pairs: 0,
  loss: 0,
  sums: noSums,
  weightMin: null,
  weightMax: null,
  gradNorm: null,
  tokens: 0,
  seconds: 0,
};

/** The interval with one more step added. */
export function addStep(interval: Interval, { pairs, gradNorm }: StepResult, seconds: number): Interval {
  const weights = pairs.map((pair) => pair.weight);
  return {
    steps: interval.steps + 1,
    pairs: interval.pairs + pairs.length,
    loss: interval.loss + sumPairs(noSums, pairs).loss / pairs.length,
    sums: sumPairs(interval.sums, pairs),
    weightMin: Math.min(interval.weightMin ?? Number.POSITIVE_INFINITY, ...weights),
    weightMax: Math.max(interval.weightMax ?? Number.NEGATIVE_INFINITY, ...weights),
    gradNorm,
    tokens: interval.tokens + pairs.reduce((total, pair) => total + pair.tokens, 0),
    seconds: interval.seconds + seconds,
  };
}

function sumPairs(from: PairSums, pairs: readonly PairResult[]): PairSums {
  return pairs.reduce(
    (sums, pair) => ({
      loss: sums.loss + pair.loss,
      weight: sums.weight + pair.weight,
      chosenReward: sums.chosenReward + pair.chosenReward,
      rejectedReward: sums.rejectedReward + pair.rejectedReward,
      accuracy: sums.accuracy + (pair.chosenReward > pair.rejectedReward ? 1 : 0),
      margin: sums.margin + (pair.chosenReward - pair.rejectedReward),
      chosenLogps: sums.chosenLogps + pair.chosenLogps,
      rejectedLogps: sums.rejectedLogps + pair.rejectedLogps,
    }),
    from,
  );
}

/** Means over pairs under TRL's names. */
function pairMeans(sums: PairSums, pairs: number) {
  return {
    'rewards/chosen': sums.chosenReward / pairs,
    'rewards/rejected': sums.rejectedReward / pairs,
    'rewards/accuracies': sums.accuracy / pairs,
    'rewards/margins': sums.margin / pairs,
    'logps/chosen': sums.chosenLogps / pairs,
    'logps/rejected': sums.rejectedLogps / pairs,
    'wpo/weight': sums.weight / pairs,
  };
}

/** The numbers of a training row that are not sums of the interval. */
export interface RowContext {
  readonly step: number;
  readonly epoch: number;
  /** The learning rate of the last step. */
  readonly learningRate: number;
  /** Tokens seen since the start of the run. */
  readonly tokens: number;
  /** Memory in use, in bytes; undefined if it is not measured. */
  readonly memory?: number | undefined;
}

/**
 * One row of training metrics, as Hugging Face's Trainer and TRL log them. `loss` is the mean over the interval's steps.
 * `grad_norm` and `learning_rate` are the last step's. Rewards, log-probs and weights are means over the interval's pairs;
 * `wpo/weight_min` and `wpo/weight_max` are its extremes. `num_tokens` counts from the start of the run. If all steps of the interval
 * were skipped, the row has `step`, `epoch`, `learning_rate` and `num_tokens` only.
 */
export function trainingRow(interval: Interval, context: RowContext): MetricsRow {
  const { step, epoch, learningRate: learning_rate, tokens: num_tokens, memory } = context;
  if (interval.steps === 0) return { step, epoch, learning_rate, num_tokens };
  return {
    step,
    epoch,
    loss: interval.loss / interval.steps,
    grad_norm: interval.gradNorm ?? Number.NaN,
    learning_rate,
    ...pairMeans(interval.sums, interval.pairs),
    'wpo/weight_min': interval.weightMin ?? Number.NaN,
    'wpo/weight_max': interval.weightMax ?? Number.NaN,
    num_tokens,
    tokens_per_second: interval.tokens / interval.seconds,
    step_seconds: interval.seconds / interval.steps,
    ...(memory === undefined ? {} : { memory_bytes: memory }),
  };
}

/** Means over held-out pairs: `eval_loss`, `eval_rewards/…`, `eval_logps/…`, `eval_wpo/weight`. */
export function evaluationMetrics(pairs: readonly PairResult[]): MetricsRow {
  const sums = sumPairs(noSums, pairs);
  const means = { loss: sums.loss / pairs.length, ...pairMeans(sums, pairs.length) };
  return Object.fromEntries(Object.entries(means).map(([name, value]) => [`eval_${name}`, value]));
}
