import * as tf from '@tensorflow/tfjs-core';

/** The values of an adapted weight's adapter. */
export interface AdapterValues {
  /** `[r, in]` */
  readonly a: tf.Tensor2D;
  /** `[out, r]` */
  readonly b: tf.Tensor2D;
  readonly scaling: number;
  /** DoRA's `[out]`. */
  readonly magnitude?: tf.Tensor1D | undefined;
}

/**
 * The weight that computes alone what W `[out, in]` and its adapter compute: V = W + scaling · B · A, and with DoRA
 * magnitude · V / ‖V‖ over each row. In float32. Source: peft tuners/lora/layer.py and variants.py, merge.
 */
export const mergedWeight = (w: tf.Tensor2D, { a, b, scaling, magnitude }: AdapterValues): tf.Tensor2D =>
  tf.tidy(() => {
    const v = tf.add(w, tf.mul(tf.matMul(b, a), scaling)) as tf.Tensor2D;
    if (!magnitude) return v;
    const norms = tf.sqrt(tf.sum(tf.square(v), 1)); // [out]
    return tf.mul(v, tf.expandDims(tf.div(magnitude, norms), 1)) as tf.Tensor2D;
  });
