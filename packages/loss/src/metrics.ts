import type * as tf from '@tensorflow/tfjs-core';

/** Means over a batch's pairs, by TRL's names, and statistics of the weights. */
export type LossMetrics = {
  'rewards/chosen': number;
  'rewards/rejected': number;
  /** The share of pairs whose chosen answer has the higher reward, 0 to 1. */
  'rewards/accuracies': number;
  'rewards/margins': number;
  'wpo/weight': number;
  'wpo/weight_min': number;
  'wpo/weight_max': number;
};

/** The part of a loss's result that `lossMetrics` reads. */
export interface Rewarded {
  chosenRewards: tf.Tensor1D;
  rejectedRewards: tf.Tensor1D;
  margins: tf.Tensor1D;
  weights: tf.Tensor1D;
}

/** Plain numbers to log. Reads the tensors, so it waits for the device; on WebGPU use `readLossMetrics`. */
export const lossMetrics = (result: Rewarded): LossMetrics => metricsOf(tensorsOf(result).map((x) => x.dataSync()));

/** The same without blocking, which WebGPU requires of reads. */
export const readLossMetrics = async (result: Rewarded): Promise<LossMetrics> =>
  metricsOf(await Promise.all(tensorsOf(result).map((x) => x.data())));

const tensorsOf = ({ chosenRewards, rejectedRewards, margins, weights }: Rewarded) => [
  chosenRewards,
  rejectedRewards,
  margins,
  weights,
];

function metricsOf(columns: readonly ArrayLike<number>[]): LossMetrics {
  const [chosen, rejected, margin, weight] = columns.map((column) => Array.from(column)) as [
    number[],
    number[],
    number[],
    number[],
  ];
  return {
    'rewards/chosen': mean(chosen),
    'rewards/rejected': mean(rejected),
    'rewards/accuracies': chosen.filter((reward, i) => reward > rejected[i]!).length / chosen.length,
    'rewards/margins': mean(margin),
    'wpo/weight': mean(weight),
    'wpo/weight_min': Math.min(...weight),
    'wpo/weight_max': Math.max(...weight),
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
