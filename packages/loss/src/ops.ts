import * as tf from '@tensorflow/tfjs-core';

// The elementwise operations of the losses, over float32 tensors of one shape. Each has its own gradient, because
// tfjs-core alone registers none: with these, a program needs only tfjs-core and a backend.

/** An operation with its own gradient. The operations inside `forward` are not recorded for differentiation. */
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

/** The value of `compute`, constant with respect to `inputs`: each of them gets a gradient of zeros. */
export function detached<T extends tf.Tensor>(inputs: readonly tf.Tensor[], compute: () => T): T {
  const shapes = inputs.map((input) => input.shape);
  return differentiable(inputs, compute, () => shapes.map((shape) => tf.zeros(shape)));
}

/**
 * `x` as a constant: the same values, with a gradient of zeros, as PyTorch's `detach`. tfjs-core has no such function.
 *
 * @param x any float32 tensor; not disposed.
 */
export function stopGradient<T extends tf.Tensor>(x: T): T {
  return detached([x], () => tf.clone(x));
}

/** The value of `compute`, not recorded for differentiation. */
export const noGrad = <T extends tf.Tensor>(compute: () => T): T => detached([], compute);

type Operand<T> = T | number;

/** a + b. */
export const add = <T extends tf.Tensor>(a: T, b: Operand<T>): T =>
  binary(
    a,
    b,
    () => tf.add<T>(a, b),
    () => [1, 1],
  );

/** a − b, and 0 where both are equal: −∞ − (−∞) would be NaN. */
export const sub = <T extends tf.Tensor>(a: T, b: Operand<T>): T =>
  binary(
    a,
    b,
    () => tf.where<T>(tf.equal(a, b), 0, tf.sub(a, b)),
    () => [1, -1],
  );

/** a · b, and 0 where either is 0: 0 · ∞ would be NaN. */
export const mul = <T extends tf.Tensor>(a: T, b: Operand<T>): T =>
  binary(
    a,
    b,
    () => product(a, b),
    (a, b) => [b, a],
  );

/** −x. */
export const neg = <T extends tf.Tensor>(x: T): T => mul(x, -1);

/** a / b, with b constant. */
export const divideByConstant = <T extends tf.Tensor>(a: T, b: T): T =>
  mul(
    a,
    noGrad(() => tf.div<T>(1, b)),
  );

/** e^x. */
export const exp = <T extends tf.Tensor>(x: T): T => unary(x, tf.exp, tf.exp);

/** e^x − 1. */
export const expm1 = <T extends tf.Tensor>(x: T): T => unary(x, tf.expm1, tf.exp);

/** log x. */
export const log = <T extends tf.Tensor>(x: T): T => unary(x, tf.log, tf.reciprocal);

/** σ(x) = 1 / (1 + e^−x). Its derivative is σ(x) σ(−x). */
export const sigmoid = <T extends tf.Tensor>(x: T): T =>
  unary(x, tf.sigmoid, (x) => tf.mul(tf.sigmoid(x), tf.sigmoid(tf.neg(x))));

/** log(1 + e^x) = −log σ(−x), without overflow on either side. Its derivative is σ(x). */
export const softplus = <T extends tf.Tensor>(x: T): T =>
  unary(x, (x) => tf.add(positivePart(x), tf.log1p(tf.exp(tf.neg(tf.abs(x))))), tf.sigmoid);

/** x². */
export const square = <T extends tf.Tensor>(x: T): T => mul(x, x);

/** max(0, x). Its derivative at 0 is 0. */
export const relu = <T extends tf.Tensor>(x: T): T => unary(x, positivePart, tf.step);

// tf.where, here and in clampMax: on some backends, tf.relu and tf.minimum lose NaN or turn −∞ into NaN
const positivePart = <T extends tf.Tensor>(x: T): T => tf.where(tf.less(x, 0), 0, x);

/** min(x, max). Its derivative at x = max is 1. */
export const clampMax = <T extends tf.Tensor>(x: T, max: number): T =>
  unary(
    x,
    (x) => tf.where(tf.greater(x, max), max, x),
    (x) => tf.cast(tf.lessEqual(x, max), 'float32'),
  );

function unary<T extends tf.Tensor>(x: T, f: (x: T) => T, derivative: (x: T) => T): T {
  return differentiable(
    [x],
    (save) => {
      save([x]);
      return f(x);
    },
    (dy, [x]) => [product(dy, derivative(x as T))],
  );
}

function binary<T extends tf.Tensor>(
  a: T,
  b: Operand<T>,
  f: () => T,
  derivatives: (a: T, b: Operand<T>) => readonly Operand<T>[],
): T {
  const inputs = typeof b === 'number' ? [a] : [a, b];
  return differentiable(
    inputs,
    (save) => {
      save(inputs);
      return f();
    },
    (dy, saved) => inputs.map((_, i) => product(dy, derivatives(saved[0] as T, (saved[1] ?? b) as Operand<T>)[i]!)),
  );
}

function product<T extends tf.Tensor>(a: T, b: Operand<T>): T {
  if (b === 1) return tf.clone(a);
  if (typeof b === 'number' && b) return tf.mul(a, b);
  const zero = tf.logicalOr(tf.equal(a, 0), tf.equal(b, 0));
  const infinite = tf.equal(tf.add(tf.abs(a), tf.abs(b)), Infinity);
  return tf.where<T>(tf.logicalAnd(zero, infinite), 0, tf.mul(a, b));
}
