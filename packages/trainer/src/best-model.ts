import { TrainingError } from './errors';
import type { MetricsRow } from './metrics';

/** The checkpoint with the best evaluation so far. */
export interface BestModel {
  readonly step: number;
  readonly value: number;
}

export interface BestModelOptions {
  /** `metric_for_best_model`: a name of an evaluation row, with or without `eval_`. Default `loss`. */
  readonly metricForBestModel?: string;
  /** `greater_is_better`. Default: whether the metric's name does not end in `loss`. */
  readonly greaterIsBetter?: boolean;
}

/**
 * The better of the best model so far and the one that was just evaluated, compared as in Hugging Face's Trainer: strictly, so that
 * the earlier one stays where they are equal.
 *
 * @throws TrainingError where the row has no such metric.
 */
export function betterModel(
  best: BestModel | null,
  row: MetricsRow,
  { metricForBestModel = 'loss', greaterIsBetter = !metricForBestModel.endsWith('loss') }: BestModelOptions,
): BestModel {
  const name = metricForBestModel.startsWith('eval_') ? metricForBestModel : `eval_${metricForBestModel}`;
  const value = row[name];
  if (value === undefined) {
    const known = Object.keys(row).filter((key) => key.startsWith('eval_'));
    throw new TrainingError(`metric_for_best_model: expected one of ${known.join(', ')}, found ${metricForBestModel}.`);
  }
  const isBetter = best === null || (greaterIsBetter ? value > best.value : value < best.value);
  return isBetter ? { step: row.step!, value } : best;
}
