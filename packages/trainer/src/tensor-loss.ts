// B pairs, T tokens of the longest answer.
import * as tf from '@tensorflow/tfjs-core';
import type { PairLoss, PairLossResult, ScoredPair } from './pair-loss';
import type { TokenTerms } from './policy';

/** Answers of different lengths as one batch, in the form that @wpo/loss takes; each `[B, T]`, zeros after an answer's end. */
export interface PaddedAnswers {
  readonly logps: tf.Tensor2D;
  readonly logSumSquares: tf.Tensor2D;
  readonly logMax: tf.Tensor2D;
  /** 1 at an answer's tokens, 0 after its end. */
  readonly mask: tf.Tensor2D;
}

/** The input of a loss over tensors. */
export interface TensorLossInput {
  readonly chosen: PaddedAnswers;
  readonly rejected: PaddedAnswers;
  /** log π(y): the sum over an answer's tokens, `[B]`. */
  readonly chosenLogps: tf.Tensor1D;
  readonly rejectedLogps: tf.Tensor1D;
  /** log π_ref(y), `[B]`; NaN where the loss needs no reference. */
  readonly refChosenLogps: tf.Tensor1D;
  readonly refRejectedLogps: tf.Tensor1D;
  /** The pairs' weights from the data, `[B]`; 1 where a pair has none. */
  readonly pairWeights: tf.Tensor1D;
}

/** The output of a loss over tensors; each `[B]`, not reduced. */
export interface TensorLossOutput {
  /** The gradient is taken of their sum, so a weight must be multiplied in. */
  readonly losses: tf.Tensor1D;
  /** The factor of each pair in `losses`. */
  readonly weights: tf.Tensor1D;
  /** Implicit rewards β (log π − log π_ref). */
  readonly chosenRewards: tf.Tensor1D;
  readonly rejectedRewards: tf.Tensor1D;
}

/**
 * Makes a `PairLoss` from a function over tfjs tensors. `loss` runs inside `tf.grads` with respect to the policy's per-token
 * log-probs, so it must consist of differentiable tfjs operations and dispose nothing.
 *
 * @param needs the properties that tell the trainer how to run the loss; see `PairLoss`.
 */
export function tensorLoss(
  loss: (input: TensorLossInput) => TensorLossOutput,
  needs: Pick<PairLoss, 'needsReference' | 'needsBatch' | 'ldAlpha'> = {},
): PairLoss {
  const onPairs = async (pairs: readonly ScoredPair[]): Promise<PairLossResult[]> => {
    const { columns, gradients } = differentiate(loss, pairs);
    try {
      const rows = (await columns.array()) as number[][]; // [4, B]
      const [chosen, rejected] = (await Promise.all(gradients.map((x) => x.array()))) as [number[][], number[][]]; // [B, T]
      return pairs.map((pair, i) => ({
        loss: rows[0]![i]!,
        weight: rows[1]![i]!,
        chosenReward: rows[2]![i]!,
        rejectedReward: rows[3]![i]!,
        gradient: {
          chosen: chosen[i]!.slice(0, pair.chosen.logps.length),
          rejected: rejected[i]!.slice(0, pair.rejected.logps.length),
        },
      }));
    } finally {
      tf.dispose([columns, ...gradients]);
    }
  };
  return Object.assign(onPairs, needs);
}

function differentiate(loss: (input: TensorLossInput) => TensorLossOutput, pairs: readonly ScoredPair[]) {
  let columns: tf.Tensor | undefined; // [4, B]
  const gradients = tf.tidy(() => {
    const [chosen, rejected] = [
      padAnswers(pairs.map((pair) => pair.chosen)),
      padAnswers(pairs.map((pair) => pair.rejected)),
    ];
    const ofPairs = (value: (pair: ScoredPair) => number) => tf.tensor1d(pairs.map(value), 'float32');
    const input = {
      refChosenLogps: ofPairs(({ reference }) => reference?.chosen ?? Number.NaN),
      refRejectedLogps: ofPairs(({ reference }) => reference?.rejected ?? Number.NaN),
      pairWeights: ofPairs(({ weight }) => weight),
    };
    const total = (chosenLogps: tf.Tensor, rejectedLogps: tf.Tensor) => {
      const output = loss({
        ...input,
        chosen: { ...chosen, logps: chosenLogps as tf.Tensor2D },
        rejected: { ...rejected, logps: rejectedLogps as tf.Tensor2D },
        chosenLogps: tf.sum(chosenLogps, 1), // padding is zeros
        rejectedLogps: tf.sum(rejectedLogps, 1),
      });
      columns = tf.keep(tf.stack([output.losses, output.weights, output.chosenRewards, output.rejectedRewards]));
      return tf.sum(output.losses) as tf.Scalar;
    };
    return tf.grads(total)([chosen.logps, rejected.logps]); // [B, T] each
  });
  return { columns: columns!, gradients };
}

/** Stacks answers of different lengths. The caller disposes the four tensors. */
export function padAnswers(answers: readonly TokenTerms[]): PaddedAnswers {
  const longest = Math.max(...answers.map(({ logps }) => logps.length));
  const stack = (rows: readonly Float32Array[]) => {
    const padded = new Float32Array(rows.length * longest);
    for (const [i, row] of rows.entries()) padded.set(row, i * longest);
    return tf.tensor2d(padded, [rows.length, longest]);
  };
  return {
    logps: stack(answers.map(({ logps }) => logps)),
    logSumSquares: stack(answers.map(({ logSumSquares }) => logSumSquares)),
    logMax: stack(answers.map(({ logMax }) => logMax)),
    mask: stack(answers.map(({ logps }) => new Float32Array(logps.length).fill(1))),
  };
}
