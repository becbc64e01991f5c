import * as tf from '@tensorflow/tfjs-core';
import {
  type AnswerLogps,
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
import { change, nativeOperations, run, withNumbers } from './native';

// T tokens, H hidden width, K key heads, G query heads a key head, D head width, S keys, V vocabulary, A answer tokens.

/** How many logits are made at once, in values. */
export interface LogitLimits {
  /** In training, where their gradient stays for the way back. */
  readonly train: number;
  readonly forward: number;
}

/** 512 MB and 64 MB. */
const LIMITS: LogitLimits = { train: 1 << 27, forward: 1 << 24 };

/**
 * Gemma's operations for TensorFlow in this process: fused ones in C++ where `wpo-tensorflow install` built them, those
 * composed from tfjs elsewhere (on a GPU, or with WPO_NATIVE=0). Same values and gradients either way.
 */
export const tensorflowKernels = (): Kernels => (nativeOperations() ? fused() : composed);

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

/** A chunk of answer rows: where it starts, and −d log p / d raw without the target's part, `[a, V]`, where kept. */
interface Chunk {
  readonly start: number;
  readonly rows: number;
  readonly dense: tf.Tensor2D | null;
}

/**
 * One pass over each row of logits gives log p, both alignment terms and the logits' gradient, which lies where the logits
 * did. The first chunk of it is kept for the way back, those beyond are computed again.
 *
 * With D = p (1 − (l / cap)²) and c = 1 − (l_target / cap)²: d log p / d raw = c · onehot − D, so
 * dh = d · (c · E[target] − D · E) and dE = −Dᵀ · (d · h), plus d · c · h at the targets' rows.
 */
function answerLogps(
  limits: LogitLimits,
  hidden: tf.Tensor2D,
  table: Weight,
  targets: Int32Array,
  cap: number | null,
  train: boolean,
): AnswerLogps {
  const answers = hidden.shape[0];
  const vocabulary = table.shape[0]!;
  const embedding = () => table.value() as tf.Tensor2D;
  const perChunk = Math.max(1, Math.floor(limits[train ? 'train' : 'forward'] / vocabulary));
  const slice = (x: tf.Tensor2D, { start, rows }: { start: number; rows: number }) =>
    rows === answers ? x.clone() : tf.slice(x, [start, 0], [rows, x.shape[1]]);

  /** Terms `[a, 4]` and D `[a, V]` of a chunk. */
  const compute = (start: number, rows: number) =>
    tf.tidy(() => {
      const raw = tf.matMul(slice(hidden, { start, rows }), embedding(), false, true) as tf.Tensor2D; // [a, V]
      const at = tf.tensor1d(targets.subarray(start, start + rows), 'int32');
      const [terms] = withNumbers([cap ?? 0], (c) => run('WpoAnswerTerms', [raw, at, c], 1)); // raw becomes D
      return { terms: terms as tf.Tensor2D, dense: raw };
    });

  const chunks: Chunk[] = [];
  const parts: tf.Tensor2D[] = [];
  for (let start = 0; start < answers; start += perChunk) {
    const rows = Math.min(perChunk, answers - start);
    const { terms, dense } = compute(start, rows);
    const keep = train && start === 0; // what is beyond one chunk is computed again
    if (!keep) dense.dispose();
    chunks.push({ start, rows, dense: keep ? dense : null });
    parts.push(terms);
  }
  const terms = tf.concat(parts); // [A, 4]
  tf.dispose(parts);
  const column = (i: number) =>
    tf.tidy(() => tf.reshape(tf.slice(terms, [0, i], [answers, 1]), [answers]) as tf.Tensor1D);
  const [logps, logSumSquares, logMax] = [column(0), column(1), column(2)];
  const targetSlope = tf.slice(terms, [0, 3], [answers, 1]); // c [A, 1]
  terms.dispose();

  return {
    logps,
    logSumSquares,
    logMax,
    backward(dLogps: tf.Tensor1D) {
      const d = tf.reshape(dLogps, [answers, 1]); // [A, 1]
      const scaled = tf.mul(hidden, d) as tf.Tensor2D; // d · h [A, H]
      const dHidden = chunks.map(({ start, rows, dense }) => {
        const D = dense ?? denseAgain(start, rows);
        const dE = tf.tidy(() => tf.matMul(D, tf.neg(slice(scaled, { start, rows })), true, false)); // [V, H]
        table.accumulate(dE);
        const through = tf.matMul(D, embedding()); // [a, H]
        if (!dense) D.dispose();
        return through;
      });
      const at = tf.tensor1d(targets, 'int32');
      const atTargets = tf.mul(scaled, targetSlope); // [A, H]
      table.accumulateRows(targets, atTargets);
      const result = tf.tidy(() => {
        const own = tf.mul(tf.gather(embedding(), at), targetSlope);
        return tf.mul(tf.sub(own, tf.concat(dHidden)), d) as tf.Tensor2D;
      });
      tf.dispose([d, scaled, at, atTargets, ...dHidden]);
      return result;
    },
    dispose() {
      tf.dispose(chunks.splice(0).flatMap(({ dense }) => (dense ? [dense] : [])));
      targetSlope.dispose();
    },
  };

  function denseAgain(start: number, rows: number): tf.Tensor2D {
    const { terms: again, dense } = compute(start, rows);
    again.dispose();
    return dense;
  }
}

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
  answerLogps: (hidden: tf.Tensor2D, table, targets, cap, train) =>
    answerLogps(limits, hidden, table, targets, cap, train),
});
