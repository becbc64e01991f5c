import * as tf from '@tensorflow/tfjs-core';
import { add, addGradient } from './add-gradient';
import { answerLogps, logits } from './answer-logps';
import { attention } from './attention';
import type { Kernels, OpResult, ProductOptions, RotaryTables, Weight } from './contract';
import { dropout } from './dropout';
import { sumRows } from './sum-rows';

// The portable kernels: every operation from tfjs-core operations, with its gradient derived by hand. Letters as in
// contract.ts.

const matrixOf = (w: Weight) => w.value() as tf.Tensor2D;

/** x · wᵀ: `[T, in]`, `[out, in]` → `[T, out]`. */
const linear = (x: tf.Tensor2D, w: Weight): OpResult => ({
  output: tf.matMul(x, matrixOf(w), false, true),
  inputsForBackward: [x],
  saved: [],
  backward(dy: tf.Tensor2D) {
    addGradient(w, () => tf.matMul(dy, x, true, false)); // [out, in]
    return [tf.matMul(dy, matrixOf(w))]; // [T, in]
  },
});

/** w · xᵀ as heads: `[T, H]`, `[heads · D, H]` → `[heads, D, T]`. */
const linearToHeads = (x: tf.Tensor2D, w: Weight, heads: number): OpResult => ({
  output: tf.tidy(() => {
    const [features, tokens] = [w.shape[0]!, x.shape[0]];
    return tf.reshape(tf.matMul(matrixOf(w), x, false, true), [heads, features / heads, tokens]);
  }),
  inputsForBackward: [x],
  saved: [],
  backward(dy: tf.Tensor3D) {
    addGradient(w, () => tf.matMul(mergeHeads(dy), x)); // [heads · D, H]
    return [tf.tidy(() => tf.matMul(mergeHeads(dy), matrixOf(w), true, false))]; // [T, H]
  },
});

/** xᵀ · wᵀ: `[N, D, T]`, `[out, N · D]` → `[T, out]`. */
const linearFromHeads = (x: tf.Tensor3D, w: Weight): OpResult => ({
  output: tf.tidy(() => tf.matMul(mergeHeads(x), matrixOf(w), true, true)),
  inputsForBackward: [x],
  saved: [],
  backward(dy: tf.Tensor2D) {
    addGradient(w, () => tf.matMul(dy, mergeHeads(x), true, true)); // [out, N · D]
    return [tf.tidy(() => tf.reshape(tf.matMul(matrixOf(w), dy, true, true), x.shape))]; // [N, D, T]
  },
});

/** `[heads, D, T]` → `[heads · D, T]`. */
const mergeHeads = (x: tf.Tensor3D) => tf.reshape(x, [x.shape[0] * x.shape[1], x.shape[2]]) as tf.Tensor2D;

/** a · b + addTo. */
function product(a: tf.Tensor, b: tf.Tensor, { transposeA, transposeB, shape, addTo }: ProductOptions): tf.Tensor {
  const result = tf.tidy(() => tf.reshape(tf.matMul(asMatrix(a), asMatrix(b), transposeA, transposeB), [...shape]));
  return addTo ? add(addTo as tf.Tensor, result) : result;
}

/** All dimensions but the last as rows. */
const asMatrix = (x: tf.Tensor) => tf.reshape(x, [-1, x.shape.at(-1)!]) as tf.Tensor2D;

const LINEAR = 2 * Math.sqrt(2 / Math.PI);
const CUBIC = LINEAR * 0.044715;

/** σ(z) with z = g · (LINEAR + CUBIC · g²). */
const gateSigmoid = (g: tf.Tensor2D) => tf.sigmoid(tf.mul(g, tf.add(tf.mul(tf.square(g), CUBIC), LINEAR)));

/**
 * GeGLU, gelu(g) · up, with gelu in its tanh approximation: gelu(g) = g · (1 + tanh(z / 2)) / 2 = g · σ(z). The form
 * with the sigmoid has fewer operations.
 */
const geglu = (gate: tf.Tensor2D, up: tf.Tensor2D): tf.Tensor2D =>
  tf.tidy(() => tf.mul(tf.mul(gate, gateSigmoid(gate)), up));

const gegluOp = (gate: tf.Tensor2D, up: tf.Tensor2D): OpResult => ({
  output: geglu(gate, up),
  inputsForBackward: [gate, up],
  saved: [],
  backward: (dy: tf.Tensor2D) => gegluGradients(dy, gate, up),
});

/** du = dy · g σ(z); dg = dy · u · (σ(z) + g σ(z) (1 − σ(z)) · dz/dg), dz/dg = LINEAR + 3 CUBIC g². */
const gegluGradients = (dy: tf.Tensor2D, gate: tf.Tensor2D, up: tf.Tensor2D): [tf.Tensor, tf.Tensor] =>
  tf.tidy(() => {
    const sigmoid = gateSigmoid(gate);
    const gelu = tf.mul(gate, sigmoid);
    const slope = tf.add(tf.mul(tf.square(gate), 3 * CUBIC), LINEAR); // dz/dg
    const dGelu = tf.add(sigmoid, tf.mul(tf.mul(gelu, tf.sub(1, sigmoid)), slope));
    return [tf.mul(tf.mul(dy, up), dGelu), tf.mul(dy, gelu)];
  });

/**
 * geglu(gate, up) · wᵀ: `[T, F]`, `[T, F]`, `[H, F]` → `[T, H]`. One operation, because geglu(gate, up) is a block's largest
 * value and cheap: the backward pass recomputes it instead of keeping it.
 */
const gegluLinear = (gate: tf.Tensor2D, up: tf.Tensor2D, w: Weight): OpResult => ({
  output: tf.tidy(() => tf.matMul(geglu(gate, up), matrixOf(w), false, true)),
  inputsForBackward: [gate, up],
  saved: [],
  backward(dy: tf.Tensor2D) {
    addGradient(w, () => tf.matMul(dy, geglu(gate, up), true, false)); // [H, F]
    const dActivated: tf.Tensor2D = tf.matMul(dy, matrixOf(w)); // [T, F]
    const gradients = gegluGradients(dActivated, gate, up);
    dActivated.dispose();
    return gradients;
  },
});

/**
 * x̂ · (1 + w) + residual, x̂ = x / √(mean(x²) + ε) over each row: `[T, H]` → `[T, H]`.
 *
 * With g = dy · (1 + w): dx = (g − x̂ · mean(g · x̂)) / √(mean(x²) + ε), dw = Σ_rows dy · x̂, dresidual = dy.
 */
function rmsNorm(x: tf.Tensor2D, w: Weight, epsilon: number, residual?: tf.Tensor2D): OpResult {
  const gain = () => tf.add(w.value() as tf.Tensor1D, 1); // [H]
  const inverseRms = tf.tidy(() => tf.rsqrt(tf.add(tf.mean(tf.square(x), 1, true), epsilon))); // [T, 1]
  const output = tf.tidy(() => {
    const y = tf.mul(tf.mul(x, inverseRms), gain());
    return residual ? tf.add(residual, y) : y;
  });
  return {
    output,
    inputsForBackward: [x],
    saved: [inverseRms],
    backward(dy: tf.Tensor2D) {
      const [dx, dw] = tf.tidy(() => {
        const normalized = tf.mul(x, inverseRms); // [T, H]
        const dwRows = tf.mul(dy, normalized);
        const g = gain();
        const mean = tf.mean(tf.mul(dwRows, g), 1, true); // [T, 1]
        return [tf.mul(tf.sub(tf.mul(dy, g), tf.mul(normalized, mean)), inverseRms), tf.sum(dwRows, 0)];
      });
      addGradient(w, () => dw!.clone());
      dw!.dispose();
      return residual ? [dx!, dy.clone()] : [dx!];
    },
  };
}

/**
 * cos and sin of position · theta^(−2i/D), rounded to float32 where transformers rounds (modeling_gemma2.py,
 * Gemma2RotaryEmbedding), so that the angles of large positions agree.
 */
function rotaryTables(positions: Int32Array, headDim: number, theta: number): RotaryTables {
  const tokens = positions.length;
  const half = headDim / 2;
  const cos = new Float32Array(headDim * tokens);
  const sin = new Float32Array(headDim * tokens);
  for (let i = 0; i < half; i++) {
    const frequency = Math.fround(1 / Math.fround(theta ** Math.fround((2 * i) / headDim)));
    for (let t = 0; t < tokens; t++) {
      const angle = Math.fround(positions[t]! * frequency);
      const first = i * tokens + t;
      const second = (i + half) * tokens + t;
      cos[first] = cos[second] = Math.cos(angle);
      sin[second] = Math.sin(angle);
      sin[first] = -sin[second]!;
    }
  }
  const shape: [number, number] = [headDim, tokens];
  return { cos: tf.tensor2d(cos, shape), sin: tf.tensor2d(sin, shape) };
}

/** x · cos + swapHalves(x) · sin. The backward pass rotates by the opposite angle. */
function rope(x: tf.Tensor3D, tables: RotaryTables): OpResult {
  const cos = tables.cos as tf.Tensor2D;
  const sin = tables.sin as tf.Tensor2D;
  return {
    output: tf.tidy(() => tf.add(tf.mul(x, cos), tf.mul(swapHalves(x), sin))),
    inputsForBackward: [],
    saved: [],
    backward: (dy: tf.Tensor3D) => [tf.tidy(() => tf.add(tf.mul(dy, cos), swapHalves(tf.mul(dy, sin))))],
  };
}

const swapHalves = (x: tf.Tensor3D) => {
  const [first, second] = tf.split(x, 2, 1);
  return tf.concat([second!, first!], 1) as tf.Tensor3D;
};

/** Rows of x `[V, H]` at `indices` `[n]`, times `factor`: `[n, H]`. */
const gatherRows = (x: tf.Tensor2D, indices: Int32Array, factor: number): tf.Tensor2D =>
  tf.tidy(() => {
    const rows: tf.Tensor2D = tf.gather(x, tf.tensor1d(indices, 'int32'));
    return factor === 1 ? rows : tf.mul(rows, factor);
  });

/** The gradient of a row that was selected several times is the sum over its selections. */
const selectRows = (x: tf.Tensor2D, indices: Int32Array): OpResult => ({
  output: gatherRows(x, indices, 1),
  inputsForBackward: [],
  saved: [],
  backward: (dy: tf.Tensor2D) => [addRows(null, indices, dy, x.shape[0])],
});

function embedding(ids: Int32Array, weight: Weight, scale: number): OpResult {
  const factor = Math.fround(scale);
  return {
    output: gatherRows(matrixOf(weight), ids, factor),
    inputsForBackward: [],
    saved: [],
    backward(dy: tf.Tensor2D) {
      weight.accumulate((sum) => {
        const rows = tf.mul(dy, factor);
        const total = addRows(sum as tf.Tensor | null, ids, rows, weight.shape[0]!);
        rows.dispose();
        return total;
      });
      return [];
    },
  };
}

function addRows(total: tf.Tensor | null, indices: Int32Array, rows: tf.Tensor, count: number): tf.Tensor {
  const scattered = tf.tidy(() => sumRows(rows as tf.Tensor2D, tf.tensor1d(indices, 'int32'), count));
  return total ? add(total, scattered) : scattered;
}

/** tfjs has no scatter along the last axis: joins the old columns and the new ones, run by run. */
function setColumns(total: tf.Tensor3D | null, columns: Int32Array, values: tf.Tensor3D, count: number): tf.Tensor3D {
  const [heads, width] = values.shape;
  const next = tf.tidy(() => {
    const old = total ?? tf.zeros<tf.Rank.R3>([heads, width, count]);
    const slice = (x: tf.Tensor3D, start: number, end: number) =>
      tf.slice(x, [0, 0, start], [heads, width, end - start]);
    const parts: tf.Tensor3D[] = [];
    let done = 0; // columns that `parts` covers
    for (let i = 0; i < columns.length; ) {
      let end = i + 1;
      while (end < columns.length && columns[end] === columns[end - 1]! + 1) end++;
      const start = columns[i]!;
      if (start > done) parts.push(slice(old, done, start));
      parts.push(slice(values, i, end));
      done = start + end - i;
      i = end;
    }
    if (done < count) parts.push(slice(old, done, count));
    return tf.concat(parts, 2);
  });
  total?.dispose();
  return next;
}

function scale(x: tf.Tensor, factor: number): tf.Tensor {
  const scaled = tf.mul(x, factor);
  x.dispose();
  return scaled;
}

/** Kernels that run on any tfjs backend. */
export const portableKernels: Kernels = {
  embedding,
  linear,
  linearToHeads,
  linearFromHeads,
  gegluLinear,
  geglu: gegluOp,
  product,
  dropout,
  rmsNorm,
  rotaryTables,
  rope,
  attention,
  selectRows,
  logits,
  answerLogps,
  scale,
  add,
  addRows,
  setColumns,
};
