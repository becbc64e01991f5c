// B answers, T the longest answer's tokens.
import * as tf from '@tensorflow/tfjs-core';
import type { AnswerTerms } from './policy';

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
