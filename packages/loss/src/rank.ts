import * as tf from '@tensorflow/tfjs-core';
import { constant, differentiable } from './gradient';

/**
 * For each place in `a`, where in `b` its partner is: the k-th largest meets the k-th largest. That is what optimal
 * transport on the line pairs up, and what sorting both would put side by side, but left in `a`'s order.
 *
 * @param a `[B]`. @param b `[B]`. @returns `[B]`, int32.
 */
export const partners = (a: tf.Tensor1D, b: tf.Tensor1D): tf.Tensor1D =>
  constant(() => tf.gather(order(b), inverse(order(a))));

/** `x[permutation]`, differentiable in `x`. */
export const permuted = (x: tf.Tensor1D, permutation: tf.Tensor1D): tf.Tensor1D =>
  differentiable(
    [x],
    (save) => {
      save([permutation]);
      return tf.gather(x, permutation);
    },
    (dy, [saved]) => [tf.gather(dy, inverse(saved as tf.Tensor1D))],
  );

/** The places of `x`'s values from the largest to the smallest, `[B]` int32. */
const order = (x: tf.Tensor1D) => tf.topk(x, x.size, true).indices as tf.Tensor1D;

/** The inverse of a permutation: where in it 0, 1, 2, … stand. Exact in float32 up to 2^24 pairs. */
const inverse = (permutation: tf.Tensor1D) => order(tf.neg(tf.cast(permutation, 'float32')));
