import * as tf from '@tensorflow/tfjs-core';
import {
  type AttentionScale,
  type AttentionSpan,
  composed,
  type Kernels,
  type PickRows,
  type Result,
  type Rotation,
  type Value,
  type Weight,
} from '@wpo/gemma';
import { answerLogpsWith, type LogitLimits, type TermsOfLogits } from './answer-logps';
import { nativeDevice, nativeOperations, run, withInts, withNumbers } from './native';
import { type Operand, Program } from './program';
import { raw } from './raw/kernels';
import { rawOperations } from './raw/operation';
import { isSingle, scaleNumbers, singleLayout, spansLayout } from './spans';

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

/** Queries a span on a GPU, where a few more of their scores cost less than one more kernel to start. */
const GPU_SPAN_ROWS = 1024;

/** Up to so many rows a product costs what reading its weight costs: an operation that reads it once, as it lies. */
const FEW_ROWS = 16;

/** The fused operations, noted down in one program until a tensor is asked for. */
const program = new Program();
const note = (name: string, inputs: readonly Operand[], shape: readonly number[]): Value =>
  program.run(name, inputs, shape)[0]!;
const settle = <T extends tf.Tensor>(value: Value) => program.settle(value) as T;

/** Which of a product's sides are read turned. */
type Turns = '' | 'NT' | 'TN' | 'TT';

/** The product of two matrices, in C++ where that is there: what {@link tensorflowKernels} make large ones by. */
export function tensorflowProduct(a: tf.Tensor2D, b: tf.Tensor2D, turnA = false, turnB = false): tf.Tensor2D {
  if (!nativeOperations()) return tf.matMul(a, b, turnA, turnB);
  const turns = turnA || turnB ? (turnA ? 'T' : 'N') + (turnB ? 'T' : 'N') : '';
  return run(`WpoProduct${turns}`, [a, b], 1)[0] as tf.Tensor2D;
}

/** The same, noted down: all dimensions but the last are rows, and the result is of `shape`. */
const product = (a: Value, b: Value, turns: Turns, shape: readonly number[]): Value =>
  note(`WpoProduct${turns}`, [a, b], shape);

/** x · wᵀ: `[T, in]`, `[out, in]` → `[T, out]`. */
function rowsOf(x: Value, w: Value): Value {
  const shape = [x.shape[0]!, w.shape[0]!];
  return x.shape[0]! > FEW_ROWS ? product(x, w, 'NT', shape) : note('WpoLinearRows', [x, w], shape);
}

const linear: Kernels['linear'] = (x, w) => ({
  value: rowsOf(x, w.value()),
  reads: [x],
  saved: [],
  backward(dy) {
    w.accumulate(product(dy, x, 'TN', w.shape)); // [out, in]
    return [product(dy, w.value(), '', x.shape)]; // [T, in]
  },
});

const linearToHeads: Kernels['linearToHeads'] = (x, w, heads) => {
  const [tokens, features] = [x.shape[0]!, w.shape[0]!];
  const shape = [heads, features / heads, tokens]; // [heads, D, T]
  const whole = tokens > FEW_ROWS && nativeDevice() === 'processor';
  return {
    value: whole
      ? product(w.value(), x, 'NT', shape)
      : note('WpoLinearRowsToHeads', [x, w.value(), { numbers: [heads] }], shape),
    reads: [x],
    saved: [],
    backward(dy) {
      w.accumulate(product(dy, x, '', w.shape)); // [heads · D, H]
      return [product(dy, w.value(), 'TN', x.shape)]; // [T, H]
    },
  };
};

const linearFromHeads: Kernels['linearFromHeads'] = (x, w) => {
  const shape = [x.shape[2]!, w.shape[0]!]; // [T, out]
  return {
    value:
      x.shape[2]! > FEW_ROWS
        ? product(x, w.value(), 'TT', shape)
        : note('WpoLinearRowsFromHeads', [x, w.value()], shape),
    reads: [x],
    saved: [],
    backward(dy) {
      w.accumulate(product(dy, x, 'TT', w.shape)); // [out, N · D]
      return [product(w.value(), dy, 'TT', x.shape)]; // [N, D, T]
    },
  };
};

function rmsNorm(x: Value, w: Weight, epsilon: number, residual?: Value): Result {
  const how = { numbers: [epsilon, Number(residual !== undefined)] };
  const inputs = [x, w.value(), how, residual ?? x];
  const [value, inverse] = program.run('WpoRmsNorm', inputs, x.shape, [x.shape[0]!, 1]); // [T, H], [T, 1]
  return {
    value: value!,
    reads: [x],
    saved: [inverse!],
    backward(dy) {
      const [dx, dw] = program.run('WpoRmsNormGrad', [dy, x, inverse!, w.value()], x.shape, w.shape);
      w.accumulate(dw!);
      return residual ? [dx!, dy.clone()] : [dx!];
    },
  };
}

function rope(x: Value, { cos, sin }: Rotation): Result {
  const turn = (value: Value, direction: 1 | -1) =>
    note('WpoRope', [value, cos, sin, { numbers: [direction] }], value.shape);
  return { value: turn(x, 1), reads: [], saved: [], backward: (dy) => [turn(dy, -1)] };
}

function attention(q: Value, k: Value, v: Value, spans: readonly AttentionSpan[], scale: AttentionScale): Result {
  const how = { numbers: scaleNumbers(scale) };
  const single = isSingle(spans, q.shape[2]!);
  const layout = { ints: single ? singleLayout(spans) : spansLayout(spans) };
  return {
    value: note(single ? 'WpoAttendOne' : 'WpoAttendSpans', [q, k, v, layout, how], q.shape),
    reads: [q, k, v],
    saved: [],
    backward: (dy) =>
      program.run('WpoAttendSpansGrad', [dy, q, k, v, { ints: spansLayout(spans) }, how], q.shape, k.shape, v.shape),
  };
}

/** GeGLU computed as the operand of a large product is laid out: it is never a tensor. */
function gatedLinear(gate: Value, up: Value, w: Weight): Result {
  const shape = [gate.shape[0]!, w.shape[0]!]; // [T, H]
  const within = gate.shape[0]! > FEW_ROWS;
  const activated = (use: (activated: Value) => Value) => freeing(note('WpoGeglu', [gate, up], gate.shape), use);
  return {
    value: within
      ? note('WpoGatedProduct', [gate, up, w.value()], shape)
      : activated((value) => rowsOf(value, w.value())),
    reads: [gate, up],
    saved: [],
    backward(dy) {
      w.accumulate(
        within
          ? note('WpoGatedProductGrad', [dy, gate, up], w.shape)
          : activated((value) => product(dy, value, 'TN', w.shape)),
      ); // [H, F]
      return freeing(product(dy, w.value(), '', gate.shape), (dActivated) =>
        program.run('WpoGegluGrad', [dActivated, gate, up], gate.shape, up.shape),
      );
    },
  };
}

function freeing<T>(value: Value, use: (value: Value) => T): T {
  const used = use(value);
  value.dispose();
  return used;
}

const pickRows = (x: Value, indices: Int32Array, factor: number) =>
  note('WpoScaledRows', [x, { ints: indices }, { numbers: [factor] }], [indices.length, x.shape[1]!]);

const rows: Kernels['rows'] = (x, indices) => ({
  value: pickRows(x, indices, 1),
  reads: [],
  saved: [],
  backward: (dy) => [addRows(null, indices, dy, x.shape[0]!)],
});

const embed: Kernels['embed'] = (table, ids, scale) => ({
  value: pickRows(table.value(), ids, scale),
  reads: [],
  saved: [],
  backward(dy) {
    const every = Int32Array.from(ids, (_, i) => i);
    freeing(pickRows(dy, every, scale), (rows) => table.accumulateRows(ids, rows));
    return [];
  },
});

function sum(a: Value, b: Value): Value {
  program.change('WpoAdd', [a, b]);
  b.dispose();
  return a;
}

function addRows(total: Value | null, indices: Int32Array, rows: Value, count: number): Value {
  if (!total) return note('WpoSpreadRows', [{ ints: indices }, rows, { ints: [count] }], [count, rows.shape[1]!]);
  program.change('WpoAddRows', [total, { ints: indices }, rows]);
  return total;
}

function setColumns(total: Value | null, columns: Int32Array, values: Value, count: number): Value {
  const into = total ?? tf.zeros([values.shape[0]!, values.shape[1]!, count]);
  program.change('WpoSetColumns', [into, { ints: columns }, values]);
  return into;
}

function logits(hidden: Value, table: Weight, cap: number | null): tf.Tensor2D {
  const raw = rowsOf(hidden, table.value()); // [A, V]
  if (cap === null) return program.take(raw) as tf.Tensor2D;
  return program.take(freeing(raw, () => note('WpoCapLogits', [raw, { numbers: [cap] }], raw.shape))) as tf.Tensor2D;
}

const pick: PickRows = (x, indices, factor) =>
  withInts(indices, (at) => withNumbers([factor], (n) => run('WpoScaledRows', [x, at, n], 1)[0] as tf.Tensor2D));

/** One pass over each row of logits: its terms, and D where the logits lay, if it is asked for. */
const termsOfLogits: TermsOfLogits = (hidden, table, targets, cap, train) => {
  const raw = tensorflowProduct(hidden, table, false, true); // [a, V]
  const [terms] = withInts(targets, (at) =>
    withNumbers([cap ?? 0, Number(train)], (how) => run('WpoAnswerTerms', [raw, at, how], 1)),
  );
  if (!train) raw.dispose();
  return { terms: terms as tf.Tensor2D, dense: train ? raw : undefined };
};

/** The fused operations; only tests give limits of their own. */
export function fused(limits = LIMITS): Kernels {
  const answerLogps = answerLogpsWith({ termsOf: termsOfLogits, product: tensorflowProduct, pick }, limits);
  return {
    embed,
    linear,
    linearToHeads,
    linearFromHeads,
    rmsNorm,
    rope,
    attention,
    gatedLinear,
    rows,
    answerLogps: (hidden, ...others) => answerLogps(settle(hidden), ...others),
    logits,
    sum,
    addRows,
    setColumns,
    rotation: composed.rotation,
    settle: (value) => program.settle(value),
    ...(nativeDevice() === 'gpu' ? { spanRows: GPU_SPAN_ROWS } : {}),
  };
}
