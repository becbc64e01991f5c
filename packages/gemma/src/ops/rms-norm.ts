import * as tf from '@tensorflow/tfjs-core';
import type { Result, Weight } from './kernels';

/**
 * residual + x̂ · (1 + w), x̂ = x / √(mean(x²) + ε) over each row: `[T, H]` → `[T, H]`.
 *
 * With g = dy · (1 + w): dx = (g − x̂ · mean(g · x̂)) / √(mean(x²) + ε), dw = Σ_rows dy · x̂, and dy itself for the residual.
 */
export function rmsNorm(x: tf.Tensor2D, w: Weight, epsilon: number, residual?: tf.Tensor2D): Result {
  const gain = () => tf.add(w.value() as tf.Tensor1D, 1); // [H]
  const inverse = tf.tidy(() => tf.rsqrt(tf.add(tf.mean(tf.square(x), 1, true), epsilon))); // [T, 1]
  const value = tf.tidy(() => {
    const y = tf.mul(tf.mul(x, inverse), gain());
    return residual ? tf.add(residual, y) : y;
  });
  return {
    value,
    reads: [x],
    saved: [inverse],
    backward(dy: tf.Tensor2D) {
      const [dx, dw] = tf.tidy(() => {
        const normed = tf.mul(x, inverse); // [T, H]
        const through = tf.mul(dy, normed);
        const g = gain();
        const mean = tf.mean(tf.mul(through, g), 1, true); // [T, 1]
        return [tf.mul(tf.sub(tf.mul(dy, g), tf.mul(normed, mean)), inverse), tf.sum(through, 0)];
      });
      w.accumulate(dw!);
      return residual ? [dx!, dy.clone()] : [dx!];
    },
  };
}
