import * as tf from '@tensorflow/tfjs-core';

/**
 * Every differentiable function here brings its own gradient, since tfjs-core alone registers none: a program that loads
 * a backend and nothing else can still train. It also keeps what is computed inside `forward` off the tape.
 */
export function differentiable<T extends tf.Tensor>(
  inputs: readonly tf.Tensor[],
  forward: (save: tf.GradSaveFunc) => T,
  backward: (dy: T, saved: tf.Tensor[]) => tf.Tensor[],
): T {
  const run = tf.customGrad<T>((...args) => ({
    value: forward(args.at(-1) as tf.GradSaveFunc),
    gradFunc: (dy, saved) => tf.tidy(() => backward(dy, saved)),
  }));
  return run(...inputs);
}

/** The value of `compute`, a constant to its `inputs`: a gradient of zeros flows back to each of them. */
export function detached<T extends tf.Tensor>(inputs: readonly tf.Tensor[], compute: () => T): T {
  const shapes = inputs.map((input) => input.shape);
  return differentiable(inputs, compute, () => shapes.map((shape) => tf.zeros(shape)));
}

/**
 * `x` as a constant: the same values, and a gradient of zeros. tfjs-core has no such function.
 *
 * @param x any float32 tensor; not disposed.
 */
export function stopGradient<T extends tf.Tensor>(x: T): T {
  return detached([x], () => tf.clone(x));
}

/** What `compute` gives, off the tape. */
export const constant = <T extends tf.Tensor>(compute: () => T): T => detached([], compute);
