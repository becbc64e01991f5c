import * as tf from '@tensorflow/tfjs-core';
import { klEstimate, lossTypes, preferenceLoss } from '../../src/index';
import type { MixtureOptions } from '../../src/loss-table';

/** Every loss, every f-divergence, and a mixture. */
export const EVERY_LOSS: readonly MixtureOptions[] = [
  ...lossTypes().map((lossType) => ({ lossType, labelSmoothing: lossType === 'exo_pair' ? 0.1 : 0 })),
  ...(['forward_kl', 'js_divergence', 'alpha_divergence'] as const).map((fDivergenceType) => ({ fDivergenceType })),
  { lossType: ['sigmoid', 'bco_pair', 'sft'], lossWeights: [0.8, 0.2, 1] },
];

const out = Number.NEGATIVE_INFINITY;

/** A loss of three pairs and its gradients. The last chosen answer has log-probability −∞. */
export async function differentiate(options: MixtureOptions): Promise<number[][]> {
  const column = (...xs: number[]) => tf.tensor1d(xs);
  const run = (chosenLogps: tf.Tensor, rejectedLogps: tf.Tensor) =>
    preferenceLoss(
      {
        chosenLogps: chosenLogps as tf.Tensor1D,
        rejectedLogps: rejectedLogps as tf.Tensor1D,
        refChosenLogps: column(-2, -3, -1),
        refRejectedLogps: column(-2.5, -0.5, -1),
        chosenLengths: tf.tensor1d([2, 3, 1], 'int32'),
        rejectedLengths: column(4, 1, 2),
        kl: klEstimate(column(-1, -2), column(-2, -1.5)),
      },
      options as MixtureOptions<'kto'>,
    ).losses;
  const at = [column(-1, -4, out), column(-3, -1, -1.5)];
  const losses = run(at[0]!, at[1]!);
  // sft does not depend on rejected answers, and tfjs throws on a gradient by an input that a function does not read
  const byRejected = options.lossType !== 'sft';
  const gradients = byRejected
    ? tf.grads((c, r) => run(c!, r!))(at, column(1, 2, 3))
    : tf.grads((c) => run(c!, at[1]!))([at[0]!], column(1, 2, 3));
  return Promise.all([losses, ...gradients].map(async (x) => Array.from(await x.data())));
}
