import * as tf from '@tensorflow/tfjs-core';
import {
  type AttentionOptions,
  type Kernels,
  type OpResult,
  portableKernels,
  type QueryBlock,
  type RotaryTables,
  type Value,
  type Weight,
} from '@wpo/gemma';
import { answerLogpsWith, type HeadParts, type LogitLimits, type TermsOfLogits } from './answer-logps';
import { nativeDevice, nativeOperations, run, withInts, withNumbers } from './native';
import { type Operand, Program } from './program';
import { encodeAttentionOptions, encodeDecodingBlocks, encodeQueryBlocks, isDecoding } from './query-blocks';

// T tokens, H hidden width, K key heads, G query heads a key head, D head width, S keys, V vocabulary, A answer tokens.

/** 512 MB and 64 MB. */
const LIMITS: LogitLimits = { train: 1 << 27, forward: 1 << 24, kept: 1 << 27 };

/**
 * Gemma's kernels for TensorFlow in this process: native ones in C++ or CUDA where `wpo-tensorflow install` built them, the
 * portable ones elsewhere and with WPO_NATIVE=0. Both give the same values and gradients.
 */
export function tensorflowKernels(): Kernels {
  return nativeOperations() ? fused() : portableKernels;
}

/** On a GPU, computing some masked scores costs less than launching another kernel. */
const GPU_QUERY_BLOCK_SIZE = 1024;

/** Up to so many rows a product costs what reading its weight costs: an operation that reads it once, as it lies. */
const FEW_ROWS = 16;

/** The fused operations, recorded in one program until a tensor is asked for. */
const program = new Program();
const record = (name: string, inputs: readonly Operand[], shape: readonly number[]): Value =>
  program.record(name, inputs, shape)[0]!;
const materialize = <T extends tf.Tensor>(value: Value) => program.materialize(value) as T;

/** Which of a product's sides are read turned. */
type Turns = '' | 'NT' | 'TN' | 'TT';

/** The product of two matrices, in C++ where that is there: what {@link tensorflowKernels} make large ones by. */
export function tensorflowProduct(a: tf.Tensor2D, b: tf.Tensor2D, turnA = false, turnB = false): tf.Tensor2D {
  if (!nativeOperations()) return tf.matMul(a, b, turnA, turnB);
  const turns = turnA || turnB ? (turnA ? 'T' : 'N') + (turnB ? 'T' : 'N') : '';
  return run(`WpoProduct${turns}`, [a, b], 1)[0] as tf.Tensor2D;
}

/** The same, recorded: all dimensions but the last are rows, and the result is of `shape`. */
const product = (a: Value, b: Value, turns: Turns, shape: readonly number[]): Value =>
  record(`WpoProduct${turns}`, [a, b], shape);

/** x · wᵀ: `[T, in]`, `[out, in]` → `[T, out]`. */
function rowsOf(x: Value, w: Value): Value {
  const shape = [x.shape[0]!, w.shape[0]!];
  return x.shape[0]! > FEW_ROWS ? product(x, w, 'NT', shape) : record('WpoLinearRows', [x, w], shape);
}

const linear: Kernels['linear'] = (x, w) => ({
  output: rowsOf(x, w.value()),
  inputsForBackward: [x],
  saved: [],
  backward(dy) {
    w.accumulate(product(dy, x, 'TN', w.shape)); // [out, in]
    return [product(dy, w.value(), '', x.shape)]; // [T, in]
  },
});

const linearToHeads: Kernels['linearToHeads'] = (x, w, heads) => {
  const [tokens, features] = [x.shape[0]!, w.shape[0]!];
  const shape = [heads, features / heads, tokens]; // [heads, D, T]
  const whole = tokens > FEW_ROWS && nativeDevice() === 'cpu';
  return {
    output: whole
      ? product(w.value(), x, 'NT', shape)
      : record('WpoLinearRowsToHeads', [x, w.value(), { numbers: [heads] }], shape),
    inputsForBackward: [x],
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
    output:
      x.shape[2]! > FEW_ROWS
        ? product(x, w.value(), 'TT', shape)
        : record('WpoLinearRowsFromHeads', [x, w.value()], shape),
    inputsForBackward: [x],
    saved: [],
    backward(dy) {
      w.accumulate(product(dy, x, 'TT', w.shape)); // [out, N · D]
      return [product(w.value(), dy, 'TT', x.shape)]; // [N, D, T]
    },
  };
};

function rmsNorm(x: Value, w: Weight, epsilon: number, residual?: Value): OpResult {
  const how = { numbers: [epsilon, Number(residual !== undefined)] };
  const inputs = [x, w.value(), how, residual ?? x];
  const [output, inverseRms] = program.record('WpoRmsNorm', inputs, x.shape, [x.shape[0]!, 1]); // [T, H], [T, 1]
  return {
    output: output!,
    inputsForBackward: [x],
    saved: [inverseRms!],
    backward(dy) {
      const [dx, dw] = program.record('WpoRmsNormGrad', [dy, x, inverseRms!, w.value()], x.shape, w.shape);
      w.accumulate(dw!);
      return residual ? [dx!, dy.clone()] : [dx!];
    },
  };
}

function rope(x: Value, { cos, sin }: RotaryTables): OpResult {
  const rotate = (value: Value, direction: 1 | -1) =>
    record('WpoRope', [value, cos, sin, { numbers: [direction] }], value.shape);
  return { output: rotate(x, 1), inputsForBackward: [], saved: [], backward: (dy) => [rotate(dy, -1)] };
}

function attention(
  q: Value,
  k: Value,
  v: Value,
  blocks: readonly QueryBlock[],
  attentionOptions: AttentionOptions,
): OpResult {
  const options = { numbers: encodeAttentionOptions(attentionOptions) };
  const decoding = isDecoding(blocks, q.shape[2]!);
  const layout = { ints: decoding ? encodeDecodingBlocks(blocks) : encodeQueryBlocks(blocks) };
  return {
    output: record(decoding ? 'WpoDecodeAttention' : 'WpoAttention', [q, k, v, layout, options], q.shape),
    inputsForBackward: [q, k, v],
    saved: [],
    backward: (dy) =>
      program.record(
        'WpoAttentionGrad',
        [dy, q, k, v, { ints: encodeQueryBlocks(blocks) }, options],
        q.shape,
        k.shape,
        v.shape,
      ),
  };
}

/** GeGLU computed as the operand of a large product is laid out: it is never a tensor. */
function gegluLinear(gate: Value, up: Value, w: Weight): OpResult {
  const shape = [gate.shape[0]!, w.shape[0]!]; // [T, H]
  const within = gate.shape[0]! > FEW_ROWS;
  const activated = (use: (activated: Value) => Value) => freeing(record('WpoGeglu', [gate, up], gate.shape), use);
  return {
    output: within
      ? record('WpoGatedProduct', [gate, up, w.value()], shape)
      : activated((value) => rowsOf(value, w.value())),
    inputsForBackward: [gate, up],
    saved: [],
    backward(dy) {
      w.accumulate(
        within
          ? record('WpoGatedProductGrad', [dy, gate, up], w.shape)
          : activated((value) => product(dy, value, 'TN', w.shape)),
      ); // [H, F]
      return freeing(product(dy, w.value(), '', gate.shape), (dActivated) =>
        program.record('WpoGegluGrad', [dActivated, gate, up], gate.shape, up.shape),
      );
    },
  };
}

function freeing<T>(value: Value, use: (value: Value) => T): T {
  const used = use(value);
  value.dispose();
  return used;
}

const gatherRows = (x: Value, indices: Int32Array, factor: number) =>
  record('WpoScaledRows', [x, { ints: indices }, { numbers: [factor] }], [indices.length, x.shape[1]!]);

const selectRows: Kernels['selectRows'] = (x, indices) => ({
  output: gatherRows(x, indices, 1),
  inputsForBackward: [],
  saved: [],
  backward: (dy) => [addRows(null, indices, dy, x.shape[0]!)],
});

const embedding: Kernels['embedding'] = (ids, weight, scale) => ({
  output: gatherRows(weight.value(), ids, scale),
  inputsForBackward: [],
  saved: [],
  backward(dy) {
    const every = Int32Array.from(ids, (_, i) => i);
    freeing(gatherRows(dy, every, scale), (rows) => weight.accumulateRows(ids, rows));
    return [];
  },
});

function add(a: Value, b: Value): Value {
  program.recordInPlace('WpoAdd', [a, b]);
  b.dispose();
  return a;
}

function addRows(total: Value | null, indices: Int32Array, rows: Value, count: number): Value {
  if (!total) return record('WpoSpreadRows', [{ ints: indices }, rows, { ints: [count] }], [count, rows.shape[1]!]);
  program.recordInPlace('WpoAddRows', [total, { ints: indices }, rows]);
  return total;
}

function setColumns(total: Value | null, columns: Int32Array, values: Value, count: number): Value {
  const into = total ?? tf.zeros([values.shape[0]!, values.shape[1]!, count]);
  program.recordInPlace('WpoSetColumns', [into, { ints: columns }, values]);
  return into;
}

function logits(hidden: Value, table: Weight, cap: number | null): tf.Tensor2D {
  const raw = rowsOf(hidden, table.value()); // [A, V]
  if (cap === null) return program.take(raw) as tf.Tensor2D;
  return program.take(freeing(raw, () => record('WpoCapLogits', [raw, { numbers: [cap] }], raw.shape))) as tf.Tensor2D;
}

const pick: HeadParts['pick'] = (x, indices, factor) =>
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
    embedding,
    linear,
    linearToHeads,
    linearFromHeads,
    rmsNorm,
    rope,
    attention,
    gegluLinear,
    selectRows,
    answerLogps: (hidden, ...others) => answerLogps(materialize(hidden), ...others),
    logits,
    add,
    addRows,
    setColumns,
    rotaryTables: portableKernels.rotaryTables,
    materialize: (value) => program.materialize(value),
    ...(nativeDevice() === 'gpu' ? { queryBlockSize: GPU_QUERY_BLOCK_SIZE } : {}),
  };
}
