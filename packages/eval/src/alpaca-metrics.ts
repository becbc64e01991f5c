import type { Annotation } from './alpaca-rows';
import { lengthControlledWinRate, textLength } from './length-control';
import { mean, type WinRate, winRate } from './win-rate';

/** What the project alpaca_eval prints of a model, in its names. */
export interface AlpacaMetrics extends WinRate {
  /** See `lengthControlledWinRate`. */
  readonly length_controlled_winrate: number;
  /** Mean characters of the model's answers, rounded down. NaN where there are none. */
  readonly avg_length: number;
}

/** All rates of a model against its baseline. */
export const alpacaMetrics = (annotations: readonly Annotation[]): AlpacaMetrics => ({
  ...winRate(annotations.map(({ preference }) => preference)),
  length_controlled_winrate: lengthControlledWinRate(annotations),
  avg_length: averageLength(annotations),
});

/** How the rates of one data set of an evaluation are. */
export interface DatasetMetrics extends WinRate {
  readonly dataset: string;
  readonly avg_length: number;
}

/** The rates of each data set, in the order in which the sets first appear; rows that name none are of the set `""`. */
export function metricsByDataset(annotations: readonly Annotation[]): DatasetMetrics[] {
  const sets = new Map<string, Annotation[]>();
  for (const annotation of annotations) {
    const { dataset = '' } = annotation;
    const rows = sets.get(dataset);
    if (rows === undefined) sets.set(dataset, [annotation]);
    else rows.push(annotation);
  }
  return [...sets].map(([dataset, rows]) => ({
    dataset,
    ...winRate(rows.map(({ preference }) => preference)),
    avg_length: averageLength(rows),
  }));
}

const averageLength = (annotations: readonly Annotation[]): number =>
  Math.floor(mean(annotations.map(({ output_2 }) => textLength(output_2))));
