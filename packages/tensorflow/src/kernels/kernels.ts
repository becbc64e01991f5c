import * as tf from '@tensorflow/tfjs-core';
import {
  type AttentionScale,
  type AttentionSpan,
  attentionBy,
  attentionWith,
  composed,
  type Geglu,
  gatedLinearBy,
  gatedLinearWith,
  type Kernels,
  linearsWith,
  matrixProducts,
  type PickRows,
  type Products,
  picksWith,
  productsBy,
  type Result,
  type Rotation,
  type Weight,
} from '@wpo/gemma';
import { answerLogpsWith, type LogitLimits, type TermsOfLogits } from './answer-logps';
import { change, nativeDevice, nativeOperations, nativeProducts, run, withInts, withNumbers } from './native';
import { onePass } from './one-pass';
import { raw } from './raw/kernels';
import { rawOperations } from './raw/operation';
import { isSingle, scaleNumbers, singleLayout, spansLayout, windowOf } from './spans';

// T tokens, H hidden width, K key heads, G query heads a key head, D head width, S keys, V vocabulary, A answer tokens.

/** 512 MB and 64 MB. */
const LIMITS: LogitLimits = { train: 1 << 27, forward: 1 << 24, kept: 1 << 27 };

/**
 * Gemma's operations for TensorFlow in this process: fused ones in C++ or CUDA where `wpo-tensorflow install` built them;
 * TensorFlow's own, called by name, elsewhere (or with WPO_NATIVE=0); those composed from tfjs on any other backend. Same
 * values and gradients each way.
 */
export function tensorflowKernels(): Kernels {
  if (nativeOperations()) return fused();
  return rawOperations() ? raw() : composed;
}

const pair = (results: tf.Tensor[]) => results as [tf.Tensor2D, tf.Tensor2D];

/** Queries a span on a GPU, where a few more of their scores cost less than one more kernel to start. */
const GPU_SPAN_ROWS = 1024;

/** Up to so many rows a product costs what reading its weight costs: an operation that reads it once, as it lies. */
const FEW_ROWS = 16;

/** The product of two matrices by the faster of C++ and TensorFlow: what {@link tensorflowKernels} make large ones by. */
export function tensorflowProduct(a: tf.Tensor2D, b: tf.Tensor2D, turnA = false, turnB = false): tf.Tensor2D {
  if (!nativeProducts()) return tf.matMul(a, b, turnA, turnB);
  const turns = turnA || turnB ? (turnA ? 'T' : 'N') + (turnB ? 'T' : 'N') : '';
  return run(`WpoProduct${turns}`, [a, b], 1)[0] as tf.Tensor2D;
}

/** Products in C++ take all dimensions but the last as rows. */
const large = productsBy(tensorflowProduct, (x) =>
  nativeProducts() ? (x as tf.Tensor as tf.Tensor2D) : matrixProducts.flat(x),
);

const products: Products = {
  ...large,
  rows: (x, w) => (x.shape[0] > FEW_ROWS ? large.rows(x, w) : (run('WpoLinearRows', [x, w], 1)[0] as tf.Tensor2D)),
  toHeads: (x, w, heads) =>
    x.shape[0] > FEW_ROWS && nativeDevice() === 'processor'
      ? large.toHeads(x, w, heads)
      : withNumbers([heads], (n) => run('WpoLinearRowsToHeads', [x, w, n], 1)[0] as tf.Tensor3D),
  fromHeads: (x, w) =>
    x.shape[2] > FEW_ROWS ? large.fromHeads(x, w) : (run('WpoLinearRowsFromHeads', [x, w], 1)[0] as tf.Tensor2D),
};

function rmsNorm(x: tf.Tensor2D, w: Weight, epsilon: number, residual?: tf.Tensor2D): Result {
  const gain = () => w.value() as tf.Tensor1D; // [H]
  const [value, inverse] = withNumbers([epsilon, Number(residual !== undefined)], (how) =>
    pair(run('WpoRmsNorm', [x, gain(), how, residual ?? x], 2)),
  ); // [T, H], [T, 1]
  return {
    value,
    reads: [x],
    saved: [inverse],
    backward(dy: tf.Tensor2D) {
      const [dx, dw] = run('WpoRmsNormGrad', [dy, x, inverse, gain()], 2);
      w.accumulate(dw!);
      return residual ? [dx!, dy.clone()] : [dx!];
    },
  };
}

function rope(x: tf.Tensor3D, rotation: Rotation): Result {
  const turn = (value: tf.Tensor, direction: 1 | -1) =>
    withNumbers(
      [direction],
      (d) => run('WpoRope', [value, rotation.cos as tf.Tensor, rotation.sin as tf.Tensor, d], 1)[0]!,
    );
  return { value: turn(x, 1), reads: [], saved: [], backward: (dy: tf.Tensor3D) => [turn(dy, -1)] };
}

/** What the softmax of a span is told: queries, lead, window, cap (0 where there is none). */
const spanNumbers = (span: AttentionSpan, cap: number | null) => [span.rows, span.lead, windowOf(span), cap ?? 0];

const spanned = attentionWith({
  forward: (scores, span, cap) =>
    withNumbers(spanNumbers(span, cap), (n) => run('WpoCapSoftmax', [scores, n], 1)[0] as tf.Tensor3D),
  backward: (dp, p, scores, span, cap) =>
    withNumbers(spanNumbers(span, cap), (n) => run('WpoCapSoftmaxGrad', [dp, p, scores, n], 1)[0] as tf.Tensor3D),
});

/** Runs an operation that is told `layout` and the scale. */
function attend(operation: string, inputs: tf.Tensor[], layout: number[], scale: AttentionScale, count: number) {
  return withInts(layout, (at) =>
    withNumbers(scaleNumbers(scale), (how) => run(operation, [...inputs, at, how], count)),
  ) as tf.Tensor3D[];
}

/** In one operation each way, but where products are TensorFlow's: product by product there, if there are queries enough. */
const attention = attentionBy({
  forward(q, k, v, spans, scale) {
    if (isSingle(spans, q.shape[2])) return attend('WpoAttendOne', [q, k, v], singleLayout(spans), scale, 1)[0]!;
    if (!nativeProducts()) return spanned.forward(q, k, v, spans, scale);
    return attend('WpoAttendSpans', [q, k, v], spansLayout(spans), scale, 1)[0]!;
  },
  backward: (dy, q, k, v, spans, scale) =>
    nativeProducts()
      ? attend('WpoAttendSpansGrad', [dy, q, k, v], spansLayout(spans), scale, 3)
      : spanned.backward(dy, q, k, v, spans, scale),
});

const geglu: Geglu = {
  forward: (gate, up) => run('WpoGeglu', [gate, up], 1)[0] as tf.Tensor2D,
  backward: (dy, gate, up) => run('WpoGegluGrad', [dy, gate, up], 2) as [tf.Tensor, tf.Tensor],
};

/** GeGLU computed as a product's operand is laid out, where products are in C++: it is never a tensor. */
const gatedLinear = (): Kernels['gatedLinear'] => {
  const apart = gatedLinearWith(geglu, products);
  if (!nativeProducts()) return apart;
  const within = gatedLinearBy({
    rows: (gate, up, w) => run('WpoGatedProduct', [gate, up, w], 1)[0] as tf.Tensor2D,
    weightGradient: (dy, gate, up) => run('WpoGatedProductGrad', [dy, gate, up], 1)[0] as tf.Tensor2D,
    inputGradient: (dy, w) => products.product(dy, w),
    backward: geglu.backward,
  });
  return (gate, up, w) => (gate.shape[0]! > FEW_ROWS ? within : apart)(gate as tf.Tensor2D, up as tf.Tensor2D, w);
};

function sum(a: tf.Tensor, b: tf.Tensor): tf.Tensor {
  change('WpoAdd', [a, b]);
  b.dispose();
  return a;
}

const pick: PickRows = (x, indices, factor) =>
  withInts(indices, (at) => withNumbers([factor], (n) => run('WpoScaledRows', [x, at, n], 1)[0] as tf.Tensor2D));

const addRows: Kernels['addRows'] = (total: tf.Tensor | null, indices, rows: tf.Tensor2D, count) =>
  withInts(indices, (at) => {
    if (!total) return withInts([count], (n) => run('WpoSpreadRows', [at, rows, n], 1)[0]!);
    change('WpoAddRows', [total, at, rows]);
    return total;
  });

function setColumns(total: tf.Tensor3D | null, columns: Int32Array, values: tf.Tensor3D, count: number): tf.Tensor3D {
  const into = total ?? tf.zeros<tf.Rank.R3>([values.shape[0], values.shape[1], count]);
  withInts(columns, (at) => change('WpoSetColumns', [into, at, values]));
  return into;
}

/** One pass over each row of logits: its terms, and D where the logits lay, if it is asked for. */
const termsOfLogits: TermsOfLogits = (hidden, table, targets, cap, train) => {
  const raw = products.product(hidden, table, false, true); // [a, V]
  const [terms] = withInts(targets, (at) =>
    withNumbers([cap ?? 0, Number(train)], (how) => run('WpoAnswerTerms', [raw, at, how], 1)),
  );
  if (!train) raw.dispose();
  return { terms: terms as tf.Tensor2D, dense: train ? raw : undefined };
};

function logits(hidden: tf.Tensor2D, table: Weight, cap: number | null): tf.Tensor2D {
  const raw = products.rows(hidden, table.value() as tf.Tensor2D); // [A, V]
  if (cap === null) return raw;
  const capped = withNumbers([cap], (n) => run('WpoCapLogits', [raw, n], 1)[0] as tf.Tensor2D);
  raw.dispose();
  return capped;
}

/** The fused operations; only tests give limits of their own. */
export function fused(limits = LIMITS): Kernels {
  const kernels: Kernels = {
    ...composed,
    ...linearsWith(products),
    ...picksWith(pick, addRows),
    gatedLinear: gatedLinear(),
    logits,
    rmsNorm,
    rope,
    attention,
    sum,
    addRows,
    setColumns,
    answerLogps: answerLogpsWith({ termsOf: termsOfLogits, product: products.product, pick }, limits),
    ...(nativeDevice() === 'gpu' ? { spanRows: GPU_SPAN_ROWS } : {}),
    onePass: (rows) => (rows <= FEW_ROWS && nativeProducts() ? { ...kernels, ...onePass() } : null),
  };
  return kernels;
}
