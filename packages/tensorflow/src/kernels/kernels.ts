import * as tf from '@tensorflow/tfjs-core';
import {
  type AttentionScale,
  type AttentionSpan,
  attentionWith,
  composed,
  type Geglu,
  gatedLinearWith,
  type Kernels,
  linearsWith,
  logitsWith,
  matrixProducts,
  type Products,
  type Result,
  type Rotation,
  type Weight,
} from '@wpo/gemma';
import { answerLogpsWith, type LogitLimits, type TermsOfLogits } from './answer-logps';
import { change, nativeOperations, run, withNumbers } from './native';
import { raw } from './raw/kernels';
import { rawOperations } from './raw/operation';

// T tokens, H hidden width, K key heads, G query heads a key head, D head width, S keys, V vocabulary, A answer tokens.

/** 512 MB and 64 MB. */
const LIMITS: LogitLimits = { train: 1 << 27, forward: 1 << 24, kept: 1 << 27 };

/**
 * Gemma's operations for TensorFlow in this process: fused ones in C++ where `wpo-tensorflow install` built them;
 * TensorFlow's own, called by name, elsewhere (on a GPU, or with WPO_NATIVE=0); those composed from tfjs on any other
 * backend. Same values and gradients each way.
 */
export function tensorflowKernels(): Kernels {
  if (nativeOperations()) return fused();
  return rawOperations() ? raw() : composed;
}

const pair = (results: tf.Tensor[]) => results as [tf.Tensor2D, tf.Tensor2D];
const nothing = () => tf.zeros([0]);

/** Up to so many rows a product costs what reading its weight costs: an operation that reads it once, as it lies. */
const FEW_ROWS = 16;

const products: Products = {
  rows: (x, w) =>
    x.shape[0] > FEW_ROWS ? matrixProducts.rows(x, w) : (run('WpoLinearRows', [x, w], 1)[0] as tf.Tensor2D),
  toHeads: (x, w, heads) =>
    x.shape[0] > FEW_ROWS
      ? matrixProducts.toHeads(x, w, heads)
      : withNumbers([heads], (n) => run('WpoLinearRowsToHeads', [x, w, n], 1)[0] as tf.Tensor3D),
  fromHeads: (x, w) =>
    x.shape[2] > FEW_ROWS
      ? matrixProducts.fromHeads(x, w)
      : (run('WpoLinearRowsFromHeads', [x, w], 1)[0] as tf.Tensor2D),
};

function rmsNorm(x: tf.Tensor2D, w: Weight, epsilon: number, residual?: tf.Tensor2D): Result {
  const gain = () => w.value() as tf.Tensor1D; // [H]
  const [value, inverse] = withNumbers([epsilon], (e) => {
    const added = residual ?? nothing();
    const results = pair(run('WpoRmsNorm', [x, gain(), e, added], 2)); // [T, H], [T, 1]
    if (!residual) added.dispose();
    return results;
  });
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

/** What the softmax of a span is told: queries, lead, window (2³⁰ where there is none), cap (0 where there is none). */
const spanNumbers = ({ rows, lead, window }: AttentionSpan, cap: number | null) => [
  rows,
  lead,
  Math.min(window, 2 ** 30),
  cap ?? 0,
];

const spannedAttention = attentionWith({
  forward: (scores, span, cap) =>
    withNumbers(spanNumbers(span, cap), (n) => run('WpoCapSoftmax', [scores, n], 1)[0] as tf.Tensor3D),
  backward: (dp, p, scores, span, cap) =>
    withNumbers(spanNumbers(span, cap), (n) => run('WpoCapSoftmaxGrad', [dp, p, scores, n], 1)[0] as tf.Tensor3D),
});

/** A query a sequence, as generation has them, in one operation; anything else span by span. */
function attention(
  q: tf.Tensor3D,
  k: tf.Tensor3D,
  v: tf.Tensor3D,
  spans: readonly AttentionSpan[],
  scale: AttentionScale,
): Result {
  const one = spans.every(({ row, rows, keys }, i) => row === i && rows === 1 && keys.length === 1);
  if (!one || spans.length !== q.shape[2]) return spannedAttention(q, k, v, spans, scale);
  const runs = tf.tensor1d(
    spans.flatMap(({ keys, lead }) => [keys[0]!.start, lead + 1]),
    'int32',
  );
  const how = [scale.scale / (scale.cap ?? 1), scale.cap ?? 0];
  const [value] = withNumbers(how, (numbers) => run('WpoAttendOne', [q, k, v, runs, numbers], 1));
  runs.dispose();
  const backward = (dy: tf.Tensor3D) => {
    const spanned = spannedAttention(q, k, v, spans, scale);
    spanned.value.dispose();
    return spanned.backward(dy);
  };
  return { value: value!, reads: [q, k, v], saved: [], backward };
}

const geglu: Geglu = {
  forward: (gate, up) => run('WpoGeglu', [gate, up], 1)[0] as tf.Tensor2D,
  backward: (dy, gate, up) => run('WpoGegluGrad', [dy, gate, up], 2) as [tf.Tensor, tf.Tensor],
};

function sum(a: tf.Tensor, b: tf.Tensor): tf.Tensor {
  change('WpoAdd', [a, b]);
  b.dispose();
  return a;
}

function addRows(total: tf.Tensor | null, indices: Int32Array, rows: tf.Tensor2D, count: number): tf.Tensor {
  const into = total ?? tf.zeros([count, rows.shape[1]]);
  const at = tf.tensor1d(indices, 'int32');
  change('WpoAddRows', [into, at, rows]);
  at.dispose();
  return into;
}

function setColumns(total: tf.Tensor3D | null, columns: Int32Array, values: tf.Tensor3D, count: number): tf.Tensor3D {
  const into = total ?? tf.zeros<tf.Rank.R3>([values.shape[0], values.shape[1], count]);
  const at = tf.tensor1d(columns, 'int32');
  change('WpoSetColumns', [into, at, values]);
  at.dispose();
  return into;
}

/** One pass over each row of logits: its terms, and D where the logits lay. */
const termsOfLogits: TermsOfLogits = (hidden, table, targets, cap) => {
  const raw = tf.matMul(hidden, table, false, true) as tf.Tensor2D; // [a, V]
  const at = tf.tensor1d(targets, 'int32');
  const [terms] = withNumbers([cap ?? 0], (c) => run('WpoAnswerTerms', [raw, at, c], 1)); // raw becomes D
  at.dispose();
  return { terms: terms as tf.Tensor2D, dense: raw };
};

/** The fused operations; only tests give limits of their own. */
export const fused = (limits = LIMITS): Kernels => ({
  ...composed,
  ...linearsWith(products),
  gatedLinear: gatedLinearWith(geglu, products),
  logits: logitsWith(products),
  rmsNorm,
  rope,
  attention,
  sum,
  addRows,
  setColumns,
  answerLogps: answerLogpsWith(termsOfLogits, limits),
});
