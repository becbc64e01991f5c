import * as tf from '@tensorflow/tfjs-core';
import type {
  ActivationOffload,
  AnswerLogps,
  Kernels,
  OpResult,
  Precision,
  ProductOptions,
  QueryBlock,
  Value,
  Weight,
} from '@wpo/gemma';
import { canFuse, GPU_QUERY_BLOCK_SIZE } from './kernels';
import { LOGIT_LIMITS, type LogitLimits, logitChunks } from './logit-limits';
import { isUnset, type MemoryCounter } from './memory-counter';
import { type OutputShape, ofTypeOf } from './program';

// Kernels that compute nothing and count the memory that the native kernels would hold: the same outputs, kept values and
// temporaries, made and freed in the same order. The model and the tape run on them as on any kernels, so a pass is counted in
// milliseconds, for a model of any size, without its weights. test/counting.test.ts compares both, for passes of
// more than 16 rows.

const FLOAT32 = 4;
const sizeOf = (shape: readonly number[]) => shape.reduce((size, n) => size * n, 1);

/** Makes weights without values, the sums of whose gradients are counted. */
export const countedWeights =
  (counter: MemoryCounter) =>
  (name: string, shape: readonly number[], trainable: boolean): Weight => {
    const value = { shape, clone: () => value, dispose() {}, data: async () => [] };
    return {
      name,
      shape,
      trainable,
      value: () => value,
      accumulate(addTo) {
        if (trainable) addTo(counter.sumOf(name, shape));
      },
    };
  };

/** Counts the memory of `offloadedActivations`. */
export interface CountedOffload extends ActivationOffload {
  /** The most bytes of values that were in memory of the CPU at once. */
  readonly pinnedBytes: number;
  /** Bytes of the values that are on the GPU at once beside TensorFlow's tensors: two of the largest. */
  readonly deviceBytes: number;
}

/** Moves activations as `offloadedActivations` does, without values. */
export function countedOffload(counter: MemoryCounter): CountedOffload {
  let [pinned, mostPinned, largest] = [0, 0, 0];
  let copying: Value[] = [];
  const waitForCopies = () => {
    for (const value of copying.splice(0)) value.dispose();
  };
  return {
    get pinnedBytes() {
      return mostPinned;
    },
    get deviceBytes() {
      return 2 * largest;
    },
    move(value) {
      const { shape } = value;
      const bytes = FLOAT32 * sizeOf(shape);
      pinned += bytes;
      mostPinned = Math.max(mostPinned, pinned);
      largest = Math.max(largest, bytes);
      waitForCopies();
      copying = [value];
      counter.run();
      const onDevice: Value = { shape, clone: () => onDevice, dispose() {} };
      return {
        prefetch: waitForCopies,
        fetch: () => onDevice,
        dispose() {
          waitForCopies();
          pinned -= bytes;
        },
      };
    },
    dispose: waitForCopies,
  };
}

/** What the kernels of which memory is counted would compute in. */
export interface CountingOptions {
  /** Of matrix products and activations. Default `float32`. */
  readonly precision?: Precision;
  /** Limits of the output head, for tests. @internal */
  readonly limits?: LogitLimits;
}

/** The head sizes for which a GPU of compute capability 8.0 or later has fused attention. */
const FUSED_HEAD_SIZES = [128, 256];

/** Whether attention is fused on such a GPU. */
const isFusedOnGpu = (q: Value, blocks: readonly QueryBlock[], precision: Precision) =>
  precision === 'bfloat16' && FUSED_HEAD_SIZES.includes(q.shape[1]!) && canFuse(blocks, q.shape[2]!);

/** Bytes that attention takes on a GPU while it runs: its forward pass or, with `dy`, its backward pass. */
function attentionScratch(operands: readonly Value[], blocks: readonly QueryBlock[], precision: Precision, dy?: Value) {
  const [q] = operands;
  const [heads, , queries] = q!.shape as [number, number, number];
  const read = dy ? [dy, ...operands] : operands;
  if (isFusedOnGpu(q!, blocks, precision)) {
    // operands in bfloat16, and a number of each query
    const padded = ({ shape: [rows, width, columns] }: Value) => 2 * rows! * width! * 64 * Math.ceil(columns! / 64);
    return read.reduce((bytes, value) => bytes + padded(value), dy ? FLOAT32 * heads * queries : 0);
  }
  // the scores of a query block, and their gradients
  const largest = Math.max(...blocks.map(({ count, positionOffset }) => count * (positionOffset + count)));
  const scores = (dy ? 2 : 1) * heads * largest;
  if (precision === 'float32') return FLOAT32 * scores;
  // and what is rounded: scores, operands that are not bfloat16, the output
  const rounded = ({ shape, dtype }: Value) => (dtype === 'bfloat16' ? 0 : 2 * sizeOf(shape));
  const output = dy ? 0 : FLOAT32 * sizeOf(q!.shape);
  return read.reduce((bytes, value) => bytes + rounded(value), (FLOAT32 + 2) * scores + output);
}

/** Kernels that count the memory of the native kernels. */
export function countingKernels(
  counter: MemoryCounter,
  { precision = 'float32', limits = LOGIT_LIMITS }: CountingOptions = {},
): Kernels {
  const record = (inputs: readonly Value[], shape: OutputShape) => counter.record(inputs, shape)[0]!;
  const activation = (shape: readonly number[]): OutputShape =>
    precision === 'bfloat16' ? { bfloat16: shape } : shape;
  const operation = (
    output: Value,
    inputsForBackward: readonly Value[],
    backward: (dy: Value) => Value[],
    saved: readonly Value[] = [],
  ): OpResult => ({ output, inputsForBackward, saved, backward });

  /** A value in float32. Takes ownership. */
  const inFloat32 = (value: Value): Value =>
    value.dtype === 'bfloat16' ? useAndDispose(value, () => record([value], value.shape)) : value;
  /** Records a product, into `addTo` if given. */
  const product = (inputs: readonly Value[], shape: OutputShape, addTo?: Value | null): Value => {
    if (!addTo) return record(inputs, shape);
    if (isUnset(addTo)) counter.recordInto(addTo, inputs);
    else counter.recordInPlace([addTo, ...inputs]);
    return addTo;
  };
  const useAndDispose = <T>(value: Value, use: (value: Value) => T): T => {
    const result = use(value);
    value.dispose();
    return result;
  };
  const add = (a: Value, b: Value): Value => {
    const sum = inFloat32(a);
    if (isUnset(sum)) counter.recordInto(sum, [b]);
    else counter.recordInPlace([sum, b]);
    b.dispose();
    return sum;
  };
  const addRows = (sum: Value | null, _: Int32Array, rows: Value, count: number): Value => {
    if (!sum) return record([rows], [count, rows.shape[1]!]);
    if (isUnset(sum)) counter.recordInto(sum, [rows]);
    else counter.recordInPlace([sum, rows]);
    return sum;
  };
  const linear = (x: Value, w: Weight, shape: readonly number[]) =>
    operation(record([x, w.value()], activation(shape)), [x], (dy) => {
      w.accumulate((sum) => product([dy, x], w.shape, sum));
      return [record([dy, w.value()], x.shape)];
    });

  const gegluGradient = (dy: Value, gate: Value, up: Value) =>
    counter.record([dy, gate, up], activation(gate.shape), activation(up.shape));
  const geglu: Kernels['geglu'] = (gate, up) =>
    operation(record([gate, up], activation(gate.shape)), [gate, up], (dy) => gegluGradient(dy, gate, up));

  const attention: Kernels['attention'] = (q, k, v, blocks) => {
    const operands = [q, k, v];
    const recordScratch = (dy?: Value) => {
      if (counter.device === 'gpu') counter.recordScratch(attentionScratch(operands, blocks, precision, dy));
    };
    const isFused = counter.device === 'gpu' && isFusedOnGpu(q, blocks, precision);
    const logSumsShape = isFused ? [[q.shape[0]!, q.shape[2]!]] : [];
    const [output, ...logSums] = counter.record(operands, activation(q.shape), ...logSumsShape);
    recordScratch();
    const read = isFused ? [...operands, output!] : operands;
    const backward = (dy: Value) => {
      const gradients = counter.record([dy, ...read, ...logSums], q.shape, k.shape, v.shape);
      recordScratch(dy);
      return gradients;
    };
    return operation(output!, read, backward, logSums);
  };

  /** `nativeAnswerLogps`. */
  const answerLogps: Kernels['answerLogps'] = async (
    hidden,
    weight,
    targets,
    _,
    requiresGrad,
  ): Promise<AnswerLogps> => {
    counter.run();
    const [answerTokens, width] = hidden.shape as [number, number];
    const inputs = hidden.dtype === 'bfloat16' ? counter.compute([hidden], hidden.shape) : hidden.clone();
    const sliceOf = ({ count }: { count: number }) =>
      count === answerTokens ? inputs.clone() : counter.allocate([count, width]);
    const logits = (chunk: { count: number }) =>
      useAndDispose(sliceOf(chunk), (rows) => counter.compute([rows], [chunk.count, weight.shape[0]!], 'logits'));
    const chunks = logitChunks(answerTokens, weight, requiresGrad, limits).map((chunk) => {
      const D = logits(chunk);
      const DE = requiresGrad && !weight.trainable ? counter.compute([D], [chunk.count, width]) : undefined;
      if (chunk.keeps) return { ...chunk, D, DE };
      D.dispose();
      return { ...chunk, D: undefined, DE };
    });
    const terms = () => tf.zeros([answerTokens]) as tf.Tensor1D;
    return {
      logps: terms(),
      logSumSquares: terms(),
      logMax: terms(),
      async backward() {
        const products = weight.trainable ? embeddingGradient() : chunks.map(({ DE }) => DE!.clone());
        const targetRows = counter.compute([], hidden.shape);
        const [joined, difference] = [1, 2].map(() => counter.allocate(hidden.shape));
        const dHidden = counter.allocate(hidden.shape);
        for (const value of [targetRows, joined!, difference!, ...products]) value.dispose();
        return dHidden;
      },
      dispose() {
        for (const { D, DE } of chunks.splice(0)) {
          D?.dispose();
          DE?.dispose();
        }
        inputs.dispose();
      },
    };

    function embeddingGradient(): Value[] {
      const scaled = counter.allocate(hidden.shape);
      const products = chunks.map((chunk) => {
        const D = chunk.D ?? logits(chunk);
        const rows = useAndDispose(
          chunk.count === answerTokens ? scaled.clone() : counter.allocate([chunk.count, width]),
          () => counter.allocate([chunk.count, width]),
        );
        weight.accumulate((sum) => product([D, rows], weight.shape, sum));
        rows.dispose();
        const DE = counter.compute([D], [chunk.count, width]);
        if (!chunk.D) D.dispose();
        return DE;
      });
      const atTargets = counter.allocate(hidden.shape);
      weight.accumulate((sum) => addRows(sum, targets, atTargets, weight.shape[0]!));
      scaled.dispose();
      atTargets.dispose();
      return products;
    }
  };

  return {
    embedding: (ids, weight) =>
      operation(record([weight.value()], [ids.length, weight.shape[1]!]), [], (dy) => {
        weight.accumulate((sum) =>
          useAndDispose(record([dy], dy.shape), (rows) => addRows(sum, ids, rows, weight.shape[0]!)),
        );
        return [];
      }),
    linear: (x, w) => linear(x, w, [x.shape[0]!, w.shape[0]!]),
    linearToHeads: (x, w, heads) => linear(x, w, [heads, w.shape[0]! / heads, x.shape[0]!]),
    linearFromHeads: (x, w) => linear(x, w, [x.shape[2]!, w.shape[0]!]),
    gegluLinear: (gate, up, w) =>
      operation(record([gate, up, w.value()], activation([gate.shape[0]!, w.shape[0]!])), [gate, up], (dy) => {
        w.accumulate((sum) => product([dy, gate, up], w.shape, sum));
        return useAndDispose(record([dy, w.value()], gate.shape), (dActivated) => gegluGradient(dActivated, gate, up));
      }),
    geglu,
    product(a, b, { shape, addTo, isActivation = false }: ProductOptions) {
      const result = isActivation ? activation(shape) : shape;
      if (!addTo) return product([a, b], result);
      const sum = product([a, b], shape, inFloat32(addTo));
      return 'bfloat16' in result ? useAndDispose(sum, () => record([sum], result)) : sum;
    },
    dropout: (x) => record([x], x.shape),
    doraScale(x, magnitude) {
      counter.run();
      const y = counter.allocate(x.shape);
      return operation(
        y,
        [],
        (dy) => {
          counter.run();
          counter.allocate(x.shape).dispose(); // dy · y
          magnitude.accumulate((sum) => add(sum!, counter.allocate(magnitude.shape)));
          return [counter.allocate(dy.shape)];
        },
        [y.clone()],
      );
    },
    rmsNorm(x, w, _, residual) {
      const shape = residual ? x.shape : activation(x.shape);
      const recordNorm = () => counter.record([x, w.value(), residual ?? x], shape, [x.shape[0]!, 1]);
      const [output, inverseRms] = recordNorm();
      const discard = () =>
        counter.discard(output!, () => {
          const [recomputed, inverseRms] = recordNorm();
          inverseRms!.dispose();
          return recomputed!;
        });
      const backward = (dy: Value) => {
        const ofX = residual ? activation(x.shape) : x.shape;
        const [dx, dw] = counter.record([dy, x, inverseRms!, w.value()], ofX, w.shape);
        w.accumulate((sum) => (sum ? add(sum, dw!.clone()) : dw!.clone()));
        dw!.dispose();
        return residual ? [dx!, dy.clone()] : [dx!];
      };
      const canDiscard = !residual && counter.device === 'cpu';
      return { ...operation(output!, [x], backward, [inverseRms!]), ...(canDiscard ? { discard } : {}) };
    },
    rotaryTables(positions, headDim) {
      const shape = [headDim, positions.length];
      return { cos: counter.allocate(shape), sin: counter.allocate(shape) };
    },
    rope: (x, { cos, sin }) =>
      operation(record([x, cos, sin], activation(x.shape)), [], (dy) => [record([dy, cos, sin], activation(dy.shape))]),
    attention,
    selectRows: (x, indices) =>
      operation(record([x], ofTypeOf(x, [indices.length, x.shape[1]!])), [], (dy) => [
        addRows(null, indices, dy, x.shape[0]!),
      ]),
    logits: (hidden, w) => record([hidden, w.value()], [hidden.shape[0]!, w.shape[0]!]) as Value as tf.Tensor2D,
    answerLogps,
    scale: (x, factor) => (factor === 1 ? x : useAndDispose(x, () => record([x], x.shape))),
    add,
    addRows,
    setColumns(into, _, values, count) {
      const sum = into ?? counter.allocate([values.shape[0]!, values.shape[1]!, count]);
      counter.recordInPlace([sum, values]);
      return sum;
    },
    ...(counter.device === 'gpu' ? { queryBlockSize: GPU_QUERY_BLOCK_SIZE } : {}),
  };
}
