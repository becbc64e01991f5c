import * as tf from '@tensorflow/tfjs-core';
import type { Kernels, OpResult, Value, Weight } from '../ops/contract';
import type { Pass } from './dropout';

// DoRA (arXiv 2402.09353): the rows of V = W + s · B · A are scaled to trained magnitudes m `[out]`. As in PEFT, the norms n of
// V's rows count as constants in the backward pass:
//   g = m / n, y = g · (x · Vᵀ), d(x · Vᵀ) = g · dy, dm = Σ_T dy · (x · Vᵀ) / n
//
// V is never built: n² = |W|² + Σ_r B · (2s W · Aᵀ + s² B · (A · Aᵀ)), summed over each row.

/** DoRA's part of an adapted weight. */
export interface Dora<W extends Weight = Weight> {
  /** `[out]` */
  readonly magnitude: W;
  readonly norms: RowNorms;
}

/** Norms of the rows of W + s · B · A, computed once per pass, or once for several passes between which no training runs. */
export interface RowNorms {
  /** The norms in a pass: `[out]`, owned by this object. */
  inPass(pass: Pass): tf.Tensor1D;
  dispose(): void;
}

/** Reads all of W, once. */
export function rowNorms(kernels: Kernels, w: Weight, a: Weight, b: Weight, scaling: number): RowNorms {
  const squares = rowSquares(kernels, w);
  let last: { pass: Pass; a: unknown; b: unknown; norms: tf.Tensor1D } | null = null;
  // An optimizer may change A and B in place, but only after a training pass.
  const isCurrent = (pass: Pass) =>
    last?.pass === pass ||
    (!pass.training && last?.pass.training === false && last.a === contentsOf(a) && last.b === contentsOf(b));
  return {
    inPass(pass) {
      if (!isCurrent(pass)) {
        last?.norms.dispose();
        last = { pass, a: contentsOf(a), b: contentsOf(b), norms: computeNorms(kernels, squares, w, a, b, scaling) };
      }
      return last!.norms;
    },
    dispose() {
      last?.norms.dispose();
      squares.dispose();
    },
  };
}

/** Changes when a weight's values are replaced. */
function contentsOf(w: Weight): unknown {
  const value = w.value();
  return 'version' in value ? value.version : value;
}

function computeNorms(
  kernels: Kernels,
  squares: tf.Tensor1D,
  w: Weight,
  a: Weight,
  b: Weight,
  scaling: number,
): tf.Tensor1D {
  const [out, r] = b.shape as [number, number];
  const aw = kernels.product(a.value(), w.value(), { transposeB: true, shape: [r, out] });
  const aa = kernels.product(a.value(), a.value(), { transposeB: true, shape: [r, r] });
  const norms = tf.tidy(() => {
    const [wa, gram] = [tf.transpose(tensorOf(kernels, aw)), tensorOf(kernels, aa) as tf.Tensor2D]; // [out, r], [r, r]
    const bt = tensorOf(kernels, b.value()) as tf.Tensor2D;
    const factors = tf.add(tf.mul(wa, 2 * scaling), tf.mul(tf.matMul(bt, gram), scaling * scaling));
    return tf.keep(tf.sqrt(tf.add(squares, tf.sum(tf.mul(bt, factors), 1)))) as tf.Tensor1D;
  });
  aw.dispose();
  aa.dispose();
  return norms;
}

/** Values of a weight that are read at once to compute its norms: 16 MB. */
const CHUNK_VALUES = 1 << 22;

/** Σ W² of each row: `[out]`. */
function rowSquares(kernels: Kernels, w: Weight): tf.Tensor1D {
  const [rows, columns] = [w.shape[0]!, w.shape[1]!];
  const chunkRows = Math.max(1, Math.floor(CHUNK_VALUES / columns));
  const parts: tf.Tensor1D[] = [];
  for (let start = 0; start < rows; start += chunkRows) {
    const indices = Int32Array.from({ length: Math.min(chunkRows, rows - start) }, (_, i) => start + i);
    const { output } = kernels.selectRows(w.value(), indices);
    parts.push(tf.tidy(() => tf.sum(tf.square(tensorOf(kernels, output)), 1)));
    output.dispose();
  }
  const squares = tf.concat(parts);
  tf.dispose(parts);
  return tf.keep(squares);
}

/** A value's tensor, still owned by the value. */
export const tensorOf = (kernels: Kernels, value: Value) => kernels.materialize?.(value) ?? (value as tf.Tensor);

/**
 * y = g · z, with g = m / n: `[T, out]`, or by feature `[heads, D, T]`. Keeps y, which the next operation keeps anyway in most
 * cases: dm = Σ_T dy · y / m. Where a magnitude is exactly 0, its gradient is taken as 0.
 */
export function doraScale(kernels: Kernels, pass: Pass, dora: Dora, z: Value, byFeature: boolean): OpResult {
  const norms = () => dora.norms.inPass(pass);
  if (kernels.doraScale) return kernels.doraScale(z, dora.magnitude, norms, byFeature);
  const m = tensorOf(kernels, dora.magnitude.value()) as tf.Tensor1D;
  const perFeature = byFeature ? [z.shape[0]!, z.shape[1]!, 1] : [z.shape[1]!];
  const g = tf.tidy(() => tf.reshape(tf.div(m, norms()), perFeature));
  const y = tf.mul(tensorOf(kernels, z), g);
  const kept = y.clone();
  return {
    output: y,
    inputsForBackward: [],
    saved: [g, kept],
    backward(dy) {
      const d = tensorOf(kernels, dy);
      dora.magnitude.accumulate((sum) => {
        const dm = tf.tidy(() => {
          const products = tf.sum(tf.mul(d, kept), byFeature ? 2 : 0);
          return tf.divNoNan(tf.reshape(products, [m.size]), m);
        });
        return sum ? kernels.add(sum, dm) : dm;
      });
      return [tf.mul(d, g)];
    },
  };
}

/** a − b */
export const subtraction = (kernels: Kernels, a: Value, b: Value): OpResult => ({
  output: tf.sub(tensorOf(kernels, a), tensorOf(kernels, b)),
  inputsForBackward: [],
  saved: [],
  backward: (dy) => [dy.clone(), tf.neg(tensorOf(kernels, dy))],
});

/** a + b. The gradients are two tensors, because their users may write into them. */
export const addition = (kernels: Kernels, a: Value, b: Value): OpResult => ({
  output: tf.add(tensorOf(kernels, a), tensorOf(kernels, b)),
  inputsForBackward: [],
  saved: [],
  backward: (dy) => [dy.clone(), tf.mul(tensorOf(kernels, dy), 1)],
});
