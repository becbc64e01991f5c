import * as tf from '@tensorflow/tfjs-core';
import type { AnswerTokens } from './answers';
import { checkFloats, checkShape } from './check-tensors';
import { differentiable, noGrad } from './ops';

// B: answers, T: tokens of the longest one, V: vocabulary.

/**
 * The terms that weights and losses need, from a model's logits: each answer token's log p, log Σ_v p_v² and log max_v p_v.
 *
 * Gradient flows through `logps` alone. Logits may be −∞ (a masked vocabulary entry) or as large as float32 allows, and
 * logits and labels at padding may have any value (such as −100): none of these makes a NaN. A label outside the vocabulary
 * on an answer's token gives NaN, which `checkLogps` finds.
 *
 * @param logits `[B, T, V]`, float32: row t predicts label t, so shift the logits by one token beforehand.
 * @param labels `[B, T]`, int32.
 * @param mask `[B, T]`, any dtype: 1 on the answer's tokens.
 * @returns each `[B, T]`, 0 at padding, with a copy of the mask; all four are the caller's to dispose.
 * @throws where shapes or dtypes do not match.
 */
export function tokenTerms(logits: tf.Tensor3D, labels: tf.Tensor2D, mask: tf.Tensor): Required<AnswerTokens> {
  checkFloats('tokenTerms', 'logits', logits, 'answers, tokens, vocabulary');
  const [, , vocabulary] = logits.shape;
  checkShape('tokenTerms', 'labels', labels, logits.shape.slice(0, 2), 'int32');
  checkShape('tokenTerms', 'mask', mask, logits.shape.slice(0, 2));
  return tf.tidy(() => {
    const answer = tf.cast(mask, 'bool'); // [B, T]
    const [top, logSum, logSumSquares] = tf.split(
      noGrad(() => logitStatistics(logits)),
      3,
      2,
    ) as [tf.Tensor3D, tf.Tensor3D, tf.Tensor3D]; // each [B, T, 1]
    const atAnswer = (x: tf.Tensor3D) => tf.where<tf.Tensor2D>(answer, tf.squeeze<tf.Tensor2D>(x, [2]), 0);
    const logps = differentiable(
      [logits],
      (save) => {
        const known = tf.logicalAnd(tf.greaterEqual(labels, 0), tf.less(labels, vocabulary));
        const label = tf.where(tf.logicalAnd(answer, known), labels, tf.zerosLike(labels)); // [B, T]
        save([logits, top, logSum, label, answer]);
        const logp = tf.sub<tf.Tensor3D>(tf.sub(pick(logits, label), top), logSum); // [B, T, 1]
        return atAnswer(tf.where(tf.expandDims(known, 2), logp, Number.NaN));
      },
      (dy, [x, top, logSum, label, answer]) => {
        // d log p_label / d logits = onehot(label) − p; [B, T, V]
        const p = tf.tidy(() => tf.exp(tf.sub(tf.sub(x!, top!), logSum!)));
        const derivative = tf.sub(tf.oneHot(label!, vocabulary), p);
        return [tf.where(tf.expandDims(answer!, 2), tf.mul(tf.expandDims(dy, 2), derivative), 0)];
      },
    );
    return { logps, logSumSquares: atAnswer(logSumSquares), logMax: atAnswer(tf.neg(logSum)), mask: tf.clone(mask) };
  });
}

/** max x, log Σ exp(x − max x) and log Σ p² over the vocabulary, concatenated: `[B, T, 3]`. */
function logitStatistics(logits: tf.Tensor3D): tf.Tensor3D {
  const top = tf.max(logits, 2, true); // [B, T, 1]
  const p = tf.tidy(() => tf.exp(tf.sub(logits, top))); // [B, T, V], unnormalized: the largest is 1
  const logSum = tf.log(tf.sum(p, 2, true));
  const logSumSquares = tf.sub(tf.log(tf.sum(tf.square(p), 2, true)), tf.mul(logSum, 2));
  return tf.concat<tf.Tensor3D>([top, logSum, logSumSquares] as tf.Tensor3D[], 2);
}

/** x[b, t, index[b, t]], `[B, T, 1]`. Not tf.gather with batchDims, which reads wrong memory in the WebAssembly backend (4.22). */
function pick(x: tf.Tensor3D, index: tf.Tensor2D): tf.Tensor3D {
  const [batch, length, width] = x.shape;
  const rows = tf.range(0, batch * length, 1, 'int32');
  const indices = tf.stack([rows, tf.reshape(index, [batch * length])], 1); // [B·T, 2]
  return tf.reshape(tf.gatherND(tf.reshape(x, [batch * length, width]), indices), [batch, length, 1]);
}
