import * as tf from '@tensorflow/tfjs-core';
import {
  type AttentionOptions,
  dropoutThreshold,
  type Kernels,
  type OpResult,
  type Precision,
  portableBf16Kernels,
  portableKernels,
  type QueryBlock,
  type RotaryTables,
  type Value,
  type Weight,
} from '@wpo/gemma';
import { add, addProduct, addRows, gatedGradient, inFloat32, type ProductForm, product } from './add-gradient';
import { nativeAnswerLogps } from './answer-logps';
import type { LogitLimits } from './logit-limits';
import { float32Bits, fusedHeadSizes, nativeDevice, nativeOperations } from './native';
import { parameterStorage } from './parameter-storage';
import { copied, everyRow, type Operand, type OutputShape, ofTypeOf, program } from './program';

// T tokens, H hidden size, N query heads, K key-value heads, D head dimension, S keys, F intermediate size, V vocabulary,
// A answer tokens.

/**
 * Gemma's kernels for TensorFlow in this process: native ones in C++ or CUDA where `wpo-tensorflow install` built them, the
 * portable ones elsewhere and with WPO_NATIVE=0. Both give the same values and gradients.
 */
export function tensorflowKernels({ precision = 'float32' }: KernelOptions = {}): Kernels {
  if (nativeOperations()) return nativeKernels({ precision });
  return precision === 'bfloat16' ? portableBf16Kernels : portableKernels;
}

/** What the kernels compute in. */
export interface KernelOptions {
  /** Of matrix products and activations. Default `float32`. */
  readonly precision?: Precision;
}

/** Larger than on a CPU: on a GPU, computing some masked scores costs less than launching another kernel. */
export const GPU_QUERY_BLOCK_SIZE = 1024;

/**
 * The native kernels.
 *
 * @param limits of the output head, for tests
 */
export function nativeKernels({
  precision = 'float32',
  limits,
}: KernelOptions & { readonly limits?: LogitLimits } = {}): Kernels {
  const answerLogps = nativeAnswerLogps(precision, limits);
  const kernels: Kernels = {
    embedding,
    linear,
    linearToHeads,
    linearFromHeads,
    gegluLinear,
    geglu,
    product: productInto,
    dropout,
    rmsNorm,
    rotaryTables: portableKernels.rotaryTables,
    rope,
    attention,
    selectRows,
    logits,
    answerLogps: (hidden, ...others) => answerLogps(program.materialize(hidden) as tf.Tensor2D, ...others),
    scale,
    add,
    addRows,
    setColumns,
    materialize: (value) => program.materialize(value),
    storage: parameterStorage,
    ...(nativeDevice() === 'gpu' ? { queryBlockSize: GPU_QUERY_BLOCK_SIZE } : {}),
  };
  if (precision === 'float32') return kernels;
  return { ...kernels, ...withPrecision({ ...kernels, attention: fusedAttention }, precision) };
}

/** The operations with matrix products, and those whose results these read, in another precision. */
function withPrecision(kernels: Kernels, precision: Precision): Partial<Kernels> {
  const inPrecision =
    <T extends readonly unknown[], R>(record: (...inputs: T) => R) =>
    (...inputs: T): R =>
      program.withPrecision(precision, () => record(...inputs));
  const operation = <T extends readonly unknown[]>(record: (...inputs: T) => OpResult) =>
    inPrecision((...inputs: T): OpResult => {
      const result = record(...inputs);
      return { ...result, backward: inPrecision(result.backward) };
    });
  return {
    linear: operation(kernels.linear),
    linearToHeads: operation(kernels.linearToHeads),
    linearFromHeads: operation(kernels.linearFromHeads),
    gegluLinear: operation(kernels.gegluLinear),
    geglu: operation(kernels.geglu),
    rmsNorm: operation(kernels.rmsNorm),
    rope: operation(kernels.rope),
    attention: operation(kernels.attention),
    product: inPrecision(kernels.product),
    logits: inPrecision(kernels.logits),
  };
}

const record = (name: string, inputs: readonly Operand[], shape: OutputShape): Value =>
  program.record(name, inputs, shape)[0]!;

/** For up to this many rows, reading the weight takes most of a product's time: one operation reads it once, unpacked. */
const FEW_ROWS = 16;

/** x · wᵀ: `[T, in]`, `[out, in]` → `[T, out]`. */
const multiplyByWeight = (x: Value, w: Value, shape: OutputShape): Value =>
  x.shape[0]! > FEW_ROWS ? product(x, w, 'NT', shape) : record('WpoLinearRows', [x, w], shape);

const linear: Kernels['linear'] = (x, w) => ({
  output: multiplyByWeight(x, w.value(), program.activation([x.shape[0]!, w.shape[0]!])),
  inputsForBackward: [x],
  saved: [],
  backward(dy) {
    addProduct(w, dy, x, 'TN'); // [out, in]
    return [product(dy, w.value(), '', x.shape)]; // [T, in]
  },
});

const linearToHeads: Kernels['linearToHeads'] = (x, w, heads) => {
  const [tokens, features] = [x.shape[0]!, w.shape[0]!];
  const shape = program.activation([heads, features / heads, tokens]); // [heads, D, T]
  const asProduct = tokens > FEW_ROWS && nativeDevice() === 'cpu';
  return {
    output: asProduct
      ? product(w.value(), x, 'NT', shape)
      : record('WpoLinearRowsToHeads', [x, w.value(), { numbers: [heads] }], shape),
    inputsForBackward: [x],
    saved: [],
    backward(dy) {
      addProduct(w, dy, x, ''); // [heads · D, H]
      return [product(dy, w.value(), 'TN', x.shape)]; // [T, H]
    },
  };
};

const linearFromHeads: Kernels['linearFromHeads'] = (x, w) => {
  const shape = program.activation([x.shape[2]!, w.shape[0]!]); // [T, out]
  return {
    output:
      x.shape[2]! > FEW_ROWS
        ? product(x, w.value(), 'TT', shape)
        : record('WpoLinearRowsFromHeads', [x, w.value()], shape),
    inputsForBackward: [x],
    saved: [],
    backward(dy) {
      addProduct(w, dy, x, 'TT'); // [out, N · D]
      return [product(w.value(), dy, 'TT', x.shape)]; // [N, D, T]
    },
  };
};

/** For many rows, GeGLU is computed while the product packs its operand, and never becomes a tensor. */
function gegluLinear(gate: Value, up: Value, w: Weight): OpResult {
  const shape = program.activation([gate.shape[0]!, w.shape[0]!]); // [T, H]
  const fused = gate.shape[0]! > FEW_ROWS;
  const withGeglu = (use: (activated: Value) => Value) =>
    useAndDispose(record('WpoGeglu', [gate, up], program.activation(gate.shape)), use);
  return {
    output: fused
      ? record('WpoGatedProduct', [gate, up, w.value()], shape)
      : withGeglu((activated) => multiplyByWeight(activated, w.value(), shape)),
    inputsForBackward: [gate, up],
    saved: [],
    backward(dy) {
      w.accumulate((sum) =>
        fused
          ? gatedGradient(dy, gate, up, w.shape, sum)
          : withGeglu((activated) => product(dy, activated, 'TN', w.shape, sum)),
      ); // [H, F]
      return useAndDispose(product(dy, w.value(), '', gate.shape), (dActivated) => gegluGradient(dActivated, gate, up));
    },
  };
}

const gegluGradient = (dy: Value, gate: Value, up: Value) =>
  program.record('WpoGegluGrad', [dy, gate, up], program.activation(gate.shape), program.activation(up.shape));

const geglu: Kernels['geglu'] = (gate, up) => ({
  output: record('WpoGeglu', [gate, up], program.activation(gate.shape)),
  inputsForBackward: [gate, up],
  saved: [],
  backward: (dy) => gegluGradient(dy, gate, up),
});

const productInto: Kernels['product'] = (a, b, options) => {
  const { transposeA = false, transposeB = false, shape, addTo, isActivation = false } = options;
  const form = !transposeA && !transposeB ? '' : (`${transposeA ? 'T' : 'N'}${transposeB ? 'T' : 'N'}` as ProductForm);
  const fewRows = form === 'NT' && shape.length === 2 && a.shape[0]! <= FEW_ROWS;
  const result = isActivation ? program.activation(shape) : shape;
  if (!addTo) return fewRows ? record('WpoLinearRows', [a, b], result) : product(a, b, form, result);
  const base = inFloat32(addTo);
  const sum = fewRows ? add(base, record('WpoLinearRows', [a, b], shape)) : product(a, b, form, shape, base);
  return 'bfloat16' in result ? useAndDispose(sum, () => record('WpoScaledRows', copied(sum), result)) : sum;
};

const dropout: Kernels['dropout'] = (x, { keys, rate, byFeature = false }) => {
  const [factor, layout] = float32Bits([1 / (1 - rate), Number(byFeature)]);
  return record('WpoDropout', [x, { ints: keys }, { ints: [dropoutThreshold(rate) | 0, factor!, layout!] }], x.shape);
};

function useAndDispose<T>(value: Value, use: (value: Value) => T): T {
  const result = use(value);
  value.dispose();
  return result;
}

function rmsNorm(x: Value, w: Weight, epsilon: number, residual?: Value): OpResult {
  const params = { numbers: [epsilon, Number(residual !== undefined)] };
  const inputs = [x, w.value(), params, residual ?? x];
  const shape = residual ? x.shape : program.activation(x.shape);
  const recordNorm = () => program.record('WpoRmsNorm', inputs, shape, [x.shape[0]!, 1]); // [T, H], [T, 1]
  const [output, inverseRms] = recordNorm();
  const discard = () =>
    program.discard(output!, () => {
      const [recomputed, inverseRms] = recordNorm();
      inverseRms!.dispose();
      return recomputed!;
    });
  return {
    output: output!,
    inputsForBackward: [x],
    saved: [inverseRms!],
    backward(dy) {
      // with a residual, x is the output of a linear layer
      const shape = residual ? program.activation(x.shape) : x.shape;
      const [dx, dw] = program.record('WpoRmsNormGrad', [dy, x, inverseRms!, w.value()], shape, w.shape);
      w.accumulate((sum) => (sum ? add(sum, dw!.clone()) : dw!.clone()));
      dw!.dispose();
      return residual ? [dx!, dy.clone()] : [dx!];
    },
    // With a residual, it is not computed from x alone. On a GPU, TensorFlow would keep free in pieces about as much as this frees.
    ...(residual || nativeDevice() === 'gpu' ? {} : { discard }),
  };
}

function rope(x: Value, { cos, sin }: RotaryTables): OpResult {
  const rotate = (value: Value, direction: 1 | -1) =>
    record('WpoRope', [value, cos, sin, { numbers: [direction] }], program.activation(value.shape));
  return { output: rotate(x, 1), inputsForBackward: [], saved: [], backward: (dy) => [rotate(dy, -1)] };
}

const attention: Kernels['attention'] = (q, k, v, blocks, options) => {
  const params = attentionParams(options);
  const decoding = isDecoding(blocks, q.shape[2]!);
  const layout = { ints: decoding ? encodeDecoding(blocks) : encodeQueryBlocks(blocks) };
  return {
    output: record(
      decoding ? 'WpoDecodeAttention' : 'WpoAttention',
      [q, k, v, layout, params],
      program.activation(q.shape),
    ),
    inputsForBackward: [q, k, v],
    saved: [],
    backward: (dy) =>
      program.record(
        'WpoAttentionGrad',
        [dy, q, k, v, { ints: encodeQueryBlocks(blocks) }, params],
        q.shape,
        k.shape,
        v.shape,
      ),
  };
};

/** Attention that makes no matrix of scores, where the GPU has it; otherwise `attention`. */
const fusedAttention: Kernels['attention'] = (q, k, v, blocks, options) => {
  const [heads, headSize, queries] = q.shape as [number, number, number];
  if (!fusedHeadSizes().includes(headSize) || !canFuse(blocks, queries)) return attention(q, k, v, blocks, options);
  const [layout, params] = [{ ints: encodeQueryBlocks(blocks) }, attentionParams(options)];
  const inputs = [q, k, v, layout, params];
  const [output, logSums] = program.record('WpoFusedAttention', inputs, program.activation(q.shape), [heads, queries]);
  return {
    output: output!,
    inputsForBackward: [q, k, v, output!],
    saved: [logSums!],
    backward: (dy) =>
      program.record(
        'WpoFusedAttentionGrad',
        [dy, q, k, v, output!, logSums!, layout, params],
        ...[q.shape, k.shape, v.shape],
      ),
  };
};

/** Whether fused attention can compute these blocks: no query sees more than two ranges of keys, and it is not decoding. */
export const canFuse = (blocks: readonly QueryBlock[], queries: number): boolean =>
  !isDecoding(blocks, queries) && blocks.every(({ keyRanges }) => keyRanges.length <= 2);

/** Scores become cap · tanh(factor · qᵀk). A cap of 0 means no cap. */
const attentionParams = ({ scale, softcap }: AttentionOptions) => ({
  numbers: [scale / (softcap ?? 1), softcap ?? 0],
});

/** Whether every block is one query over one key range. */
const isDecoding = (blocks: readonly QueryBlock[], queries: number) =>
  blocks.length === queries &&
  blocks.every(({ start, count, keyRanges }, i) => start === i && count === 1 && keyRanges.length === 1);

/** First key column and number of keys of each query. */
const encodeDecoding = (blocks: readonly QueryBlock[]) =>
  blocks.flatMap(({ keyRanges, positionOffset }) => [keyRanges[0]!.start, positionOffset + 1]);

/** For each block: start, count, positionOffset, window, number of key ranges, then start and count of each key range. */
const encodeQueryBlocks = (blocks: readonly QueryBlock[]) =>
  blocks.flatMap(({ start, count, positionOffset, window, keyRanges }) => [
    ...[start, count, positionOffset, Math.min(window, 2 ** 30), keyRanges.length], // a window of 2³⁰ means Infinity
    ...keyRanges.flatMap((range) => [range.start, range.count]),
  ]);

const rowsInputs = (x: Value, indices: Int32Array, factor: number) => [x, { ints: indices }, { numbers: [factor] }];

const gatherRows = (x: Value, indices: Int32Array, factor: number) =>
  record('WpoScaledRows', rowsInputs(x, indices, factor), [indices.length, x.shape[1]!]);

const scale = (x: Value, factor: number): Value =>
  factor === 1 ? x : useAndDispose(x, () => gatherRows(x, everyRow(x), factor));

const selectRows: Kernels['selectRows'] = (x, indices) => ({
  output: record('WpoScaledRows', rowsInputs(x, indices, 1), ofTypeOf(x, [indices.length, x.shape[1]!])),
  inputsForBackward: [],
  saved: [],
  backward: (dy) => [addRows(null, indices, dy, x.shape[0]!)],
});

const embedding: Kernels['embedding'] = (ids, weight, factor) => ({
  output: gatherRows(weight.value(), ids, factor),
  inputsForBackward: [],
  saved: [],
  backward(dy) {
    weight.accumulate((sum) =>
      useAndDispose(gatherRows(dy, everyRow(dy), factor), (rows) => addRows(sum, ids, rows, weight.shape[0]!)),
    );
    return [];
  },
});

function setColumns(total: Value | null, columns: Int32Array, values: Value, count: number): Value {
  const into = total ?? tf.zeros([values.shape[0]!, values.shape[1]!, count]);
  program.recordInPlace('WpoSetColumns', [into, { ints: columns }, values]);
  return into;
}

function logits(hidden: Value, weight: Weight, softcap: number | null): tf.Tensor2D {
  const raw = multiplyByWeight(hidden, weight.value(), [hidden.shape[0]!, weight.shape[0]!]); // [A, V]
  if (softcap === null) return program.take(raw) as tf.Tensor2D;
  const capped = useAndDispose(raw, () => record('WpoCapLogits', [raw, { numbers: [softcap] }], raw.shape));
  return program.take(capped) as tf.Tensor2D;
}
