// B answers, T the longest answer's tokens.
import * as tf from '@tensorflow/tfjs-core';
import type { AnswerTerms, PairTerms } from './policy';

/** Answers of different lengths stacked, as @wpo/loss takes them; each `[B, T]`. */
export interface PaddedAnswers {
  readonly logps: tf.Tensor2D;
  readonly logSumSquares: tf.Tensor2D;
  readonly logMax: tf.Tensor2D;
  readonly mask: tf.Tensor2D;
}

/**
 * Stacks answers of different lengths into `[B, T]`: zeros after an answer's end, `mask`
 * 1 at its tokens and 0 after. The four tensors are the caller's to dispose.
 */
export function padAnswers(answers: readonly AnswerTerms[]): PaddedAnswers {
  const longest = Math.max(...answers.map((answer) => answer.logps.size));
  const stack = (rows: readonly tf.Tensor1D[]) =>
    tf.tidy(() => tf.stack(rows.map((row) => tf.pad1d(row, [0, longest - row.size]))) as tf.Tensor2D);
  return {
    logps: stack(answers.map((answer) => answer.logps)), // [B, T]
    logSumSquares: stack(answers.map((answer) => answer.logSumSquares)), // [B, T]
    logMax: stack(answers.map((answer) => answer.logMax)), // [B, T]
    mask: tf.tidy(() => stack(answers.map((answer) => tf.onesLike(answer.logps)))), // [B, T]
  };
}

/** The answers of pairs, all chosen before all rejected: `[2B, T]`. */
export const stackPairs = (pairs: readonly PairTerms[]): PaddedAnswers =>
  padAnswers([...pairs.map((pair) => pair.chosen), ...pairs.map((pair) => pair.rejected)]);

/** Answers stacked as `[2B, T]`, all chosen before all rejected, cut into the two; and each answer's log π(y), `[B]`. */
export function splitSides(answers: PaddedAnswers) {
  const count = answers.logps.shape[0] / 2;
  const side = (at: number) => {
    const half = (x: tf.Tensor2D) => tf.slice(x, [at, 0], [count, x.shape[1]]); // [B, T]
    const logps = half(answers.logps);
    return {
      tokens: {
        logps,
        logSumSquares: half(answers.logSumSquares),
        logMax: half(answers.logMax),
        mask: half(answers.mask),
      } satisfies PaddedAnswers,
      logps: tf.sum(logps, 1) as tf.Tensor1D, // [B]; padding is zeros
    };
  };
  return { chosen: side(0), rejected: side(count) };
}
