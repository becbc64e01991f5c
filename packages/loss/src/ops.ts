import * as tf from '@tensorflow/tfjs-core';
import { constant, differentiable } from './gradient';

// Elementwise over float32 tensors of one shape, each with its own gradient: all that losses are made of.

type Operand<T> = T | number;

/** a + b. */
export const add = <T extends tf.Tensor>(a: T, b: Operand<T>): T =>
  binary(
    a,
    b,
    () => tf.add<T>(a, b),
    () => [1, 1],
  );

/** a − b, and 0 where they are equal: −∞ − −∞ would be NaN. */
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

/** a / b, b held constant. */
export const over = <T extends tf.Tensor>(a: T, b: T): T =>
  mul(
    a,
    constant(() => tf.div<T>(1, b)),
  );

export const exp = <T extends tf.Tensor>(x: T): T => unary(x, tf.exp, tf.exp);

/** e^x − 1. */
export const expm1 = <T extends tf.Tensor>(x: T): T => unary(x, tf.expm1, tf.exp);

export const log = <T extends tf.Tensor>(x: T): T => unary(x, tf.log, tf.reciprocal);

/** 1 / (1 + e^−x). */
export const sigmoid = <T extends tf.Tensor>(x: T): T =>
  unary(x, tf.sigmoid, (x) => tf.mul(tf.sigmoid(x), tf.sigmoid(tf.neg(x))));

/** log(1 + e^x) = −log σ(−x): no overflow on either side, and as exact as the backend's log1p. */
export const softplus = <T extends tf.Tensor>(x: T): T =>
  unary(x, (x) => tf.add(positive(x), tf.log1p(tf.exp(tf.neg(tf.abs(x))))), tf.sigmoid);

export const square = <T extends tf.Tensor>(x: T): T => mul(x, x);

/** max(0, x). */
export const relu = <T extends tf.Tensor>(x: T): T => unary(x, positive, tf.step);

/** Not tf.relu nor, below, tf.minimum: NaN stays NaN, and −∞ makes none, on every backend. */
const positive = <T extends tf.Tensor>(x: T): T => tf.where(tf.less(x, 0), 0, x);

/** min(x, most). */
export const atMost = <T extends tf.Tensor>(x: T, most: number): T =>
  unary(
    x,
    (x) => tf.where(tf.greater(x, most), most, x),
    (x) => tf.cast(tf.lessEqual(x, most), 'float32'),
  );

function unary<T extends tf.Tensor>(x: T, f: (x: T) => T, slope: (x: T) => T): T {
  return differentiable(
    [x],
    (save) => {
      save([x]);
      return f(x);
    },
    (dy, [x]) => [product(dy, slope(x as T))],
  );
}

function binary<T extends tf.Tensor>(
  a: T,
  b: Operand<T>,
  f: () => T,
  slopes: (a: T, b: Operand<T>) => readonly Operand<T>[],
): T {
  const inputs = typeof b === 'number' ? [a] : [a, b];
  return differentiable(
    inputs,
    (save) => {
      save(inputs);
      return f();
    },
    (dy, saved) => inputs.map((_, i) => product(dy, slopes(saved[0] as T, (saved[1] ?? b) as Operand<T>)[i]!)),
  );
}

function product<T extends tf.Tensor>(a: T, b: Operand<T>): T {
  if (b === 1) return tf.clone(a);
  if (typeof b === 'number' && b) return tf.mul(a, b);
  const zero = tf.logicalOr(tf.equal(a, 0), tf.equal(b, 0));
  const infinite = tf.equal(tf.add(tf.abs(a), tf.abs(b)), Infinity);
  return tf.where<T>(tf.logicalAnd(zero, infinite), 0, tf.mul(a, b));
}
