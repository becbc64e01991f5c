// B pairs, T the longest answer's tokens.
import * as tf from '@tensorflow/tfjs-core';
import { checkPair, checkReference, checkResult } from './check-pair';
import { onProcessor } from './on-processor';
import { type PaddedAnswers, splitSides, stackPairs } from './pad';
import type { PairLoss } from './pair-loss';
import type { PairGradient, Policy, TokenPair } from './policy';
import type { ReferenceLogps } from './reference';

/** Pairs that are run at once. */
export interface MicroBatch {
  readonly pairs: readonly TokenPair[];
  /** The reference's log-probs of each, in the same order; may be absent where the loss looks at none. */
  readonly references?: readonly ReferenceLogps[];
}

/** The numbers of one pair. */
export interface PairResult {
  readonly id: string;
  readonly loss: number;
  readonly weight: number;
  readonly chosenReward: number;
  readonly rejectedReward: number;
  readonly chosenLogps: number;
  readonly rejectedLogps: number;
  /** Tokens of both sequences, the prompt counted with each answer as TRL counts them. */
  readonly tokens: number;
}

export interface RunMicroBatchOptions {
  readonly policy: Policy;
  readonly batch: MicroBatch;
  readonly loss: PairLoss;
  /** The step being made, for errors. */
  readonly step?: number;
  /**
   * Adds the gradient of `lossScale · Σ losses` to the parameters' gradients; absent, no gradient is computed.
   * 1/n makes a step of n pairs the mean over them, however they are cut into micro-batches.
   */
  readonly lossScale?: number;
}

/**
 * Runs pairs through the policy and the loss, and, given a scale, back.
 *
 * @throws TrainingError naming the pair, where an answer has no tokens, the reference's log-probs are missing, no log-probs
 * or summed otherwise than the loss sums, the policy's are no log-probs, or a loss is not finite: before anything of this
 * micro-batch has been added to a gradient.
 */
export async function runMicroBatch(options: RunMicroBatchOptions): Promise<PairResult[]> {
  const { policy, batch, loss, step, lossScale } = options;
  for (const [i, pair] of batch.pairs.entries()) {
    checkPair(pair, step);
    if (loss.needsReference !== false) checkReference(pair, batch.references?.[i], loss.ldAlpha, step);
  }
  const train = lossScale !== undefined;
  const forward = policy.forward(batch.pairs, { train });
  try {
    const { gradient, numbers } = onProcessor(() => {
      const answers = stackPairs(forward.pairs); // [2B, T]
      const result = differentiate(loss, answers, batch, lossScale);
      tf.dispose(Object.values(answers));
      return result;
    });
    try {
      const results = pairResults(batch.pairs, (await numbers.array()) as number[][]);
      for (const [i, pair] of batch.pairs.entries()) checkResult(pair, results[i]!, batch.references?.[i], step);
      if (gradient) backward(gradient, batch.pairs, (gradients) => forward.backward(gradients));
      return results;
    } finally {
      tf.dispose([numbers, ...(gradient ? [gradient] : [])]);
    }
  } finally {
    forward.dispose();
  }
}

/** `numbers` `[6, B]`, and the gradient with respect to the stacked answers' log-probs, `[2B, T]`. */
function differentiate(loss: PairLoss, answers: PaddedAnswers, batch: MicroBatch, lossScale: number | undefined) {
  let numbers: tf.Tensor | undefined;
  const total = (logps: tf.Tensor) => {
    const { losses, table } = lossTable(loss, { ...answers, logps: logps as tf.Tensor2D }, batch);
    numbers = tf.keep(table);
    return tf.mul(tf.sum(losses), lossScale ?? 1) as tf.Scalar;
  };
  const gradient =
    lossScale === undefined ? void tf.dispose(tf.tidy(() => total(answers.logps))) : tf.grad(total)(answers.logps);
  return { gradient, numbers: numbers! };
}

function lossTable(loss: PairLoss, answers: PaddedAnswers, batch: MicroBatch) {
  const { chosen, rejected } = splitSides(answers);
  const { losses, weights, chosenRewards, rejectedRewards } = loss({
    chosen: chosen.tokens,
    rejected: rejected.tokens,
    chosenLogps: chosen.logps,
    rejectedLogps: rejected.logps,
    // NaN shows up in the loss if one looks at a reference after all
    refChosenLogps: tf.tensor1d(batch.pairs.map((_, i) => batch.references?.[i]?.chosen ?? Number.NaN)),
    refRejectedLogps: tf.tensor1d(batch.pairs.map((_, i) => batch.references?.[i]?.rejected ?? Number.NaN)),
    pairWeights: tf.tensor1d(batch.pairs.map((pair) => pair.weight ?? 1)),
  });
  const table = tf.stack([losses, weights, chosenRewards, rejectedRewards, chosen.logps, rejected.logps]); // [6, B]
  return { losses, table };
}

function pairResults(pairs: readonly TokenPair[], numbers: number[][]): PairResult[] {
  const [losses, weights, chosenRewards, rejectedRewards, chosenLogps, rejectedLogps] = numbers as [
    number[],
    number[],
    number[],
    number[],
    number[],
    number[],
  ];
  return pairs.map((pair, i) => ({
    id: pair.id,
    loss: losses[i]!,
    weight: weights[i]!,
    chosenReward: chosenRewards[i]!,
    rejectedReward: rejectedRewards[i]!,
    chosenLogps: chosenLogps[i]!,
    rejectedLogps: rejectedLogps[i]!,
    tokens: 2 * pair.prompt.length + pair.chosen.length + pair.rejected.length,
  }));
}

/** Cuts the padded gradient `[2B, T]` into each answer's own tokens and hands it on. */
function backward(
  gradient: tf.Tensor,
  pairs: readonly TokenPair[],
  accept: (gradients: readonly PairGradient[]) => void,
): void {
  const row = (at: number, length: number) =>
    tf.tidy(() => tf.reshape(tf.slice(gradient, [at, 0], [1, length]), [length]) as tf.Tensor1D);
  const gradients = pairs.map((pair, i) => ({
    chosen: row(i, pair.chosen.length),
    rejected: row(pairs.length + i, pair.rejected.length),
  }));
  try {
    accept(gradients);
  } finally {
    tf.dispose(gradients.flatMap(({ chosen, rejected }) => [chosen, rejected]));
  }
}
