import * as tf from '@tensorflow/tfjs-core';
import type { Precision, Value } from '@wpo/gemma';
import { float32Bits, operationNumber, release, retain, runProgram } from './native';
import { STORED_TYPES, type StoredRange, StoredTensor, StoredVariable } from './store';

// The instructions of native/runtime/program.h.
const [TENSOR, INTS, RUN, DROP, GIVE, STORED, RUN_BF16, BF16_TENSOR] = [0, 1, 2, 3, 4, 5, 6, 7];
/** In the place of an output's rank: the output replaces stored values; or it is bfloat16, and its rank follows. */
const [REPLACES, BFLOAT16] = [-1, -2];

/**
 * A program runs once its outputs hold this many float32 values, 64 MB: waiting for more would cost memory and gain nothing. Two
 * bfloat16 values count as one.
 */
export const MAX_RECORDED_VALUES = 1 << 24;

/** An input of an operation: a value, int32 numbers, or float32 parameters. */
export type Operand =
  | Value
  | { readonly ints: ArrayLike<number> }
  | { readonly numbers: readonly number[] }
  | { readonly list: readonly Value[] };

/** The shape of an operation's output, and its type: float32, or bfloat16. */
export type OutputShape = readonly number[] | { readonly bfloat16: readonly number[] };

/** An operation's output: the number of a value until the program has run, then a tensor. */
interface Output {
  number: number;
  readonly dtype: Precision;
  /** Of bfloat16 values: a float32 tensor `[⌈n / 2⌉]`, with two values in the bits of each. */
  tensor: tf.Tensor | null;
  /** bfloat16 values in float32, once they were asked for. */
  widened: tf.Tensor | null;
  /** Of a value that was discarded: records its operation again. */
  recompute: (() => LazyTensor) | null;
  handles: number;
}

/** A handle on an operation's output. */
class LazyTensor implements Value {
  private open = true;
  constructor(
    private readonly program: Program,
    readonly output: Output,
    readonly shape: readonly number[],
  ) {
    output.handles++;
  }
  get dtype(): Precision {
    return this.output.dtype;
  }
  clone(): LazyTensor {
    return new LazyTensor(this.program, this.output, this.shape);
  }
  dispose(): void {
    if (this.open) this.program.release(this.output);
    this.open = false;
  }
}

function tensorOf({ output: { tensor } }: LazyTensor): tf.Tensor {
  if (!tensor) throw new Error('This value does not exist, because an operation before it failed.');
  return tensor;
}

const sizeOf = (shape: readonly number[]) => shape.reduce((size, n) => size * n, 1);

/** Indices of all rows. All dimensions of a value but its last count as rows. */
export const everyRow = ({ shape }: Value): Int32Array =>
  Int32Array.from({ length: sizeOf(shape.slice(0, -1)) }, (_, i) => i);

/** The inputs of `WpoScaledRows` that copies a value. */
export const copied = (value: Value): Operand[] => [value, { ints: everyRow(value) }, { numbers: [1] }];

/** The shape of an output of another value's type. */
export const ofTypeOf = ({ dtype }: Value, shape: readonly number[]): OutputShape =>
  dtype === 'bfloat16' ? { bfloat16: shape } : shape;

/**
 * Records operations as they are called and runs many of them in one call of TensorFlow: a call takes longer than most operations.
 * They run when a tensor is requested, or when their outputs exceed {@link MAX_RECORDED_VALUES}.
 */
export class Program {
  private code: number[] = [];
  private readonly inputs = new Map<tf.Tensor, number>(); // each tensor's number
  private readonly stored = new Map<StoredRange, number>();
  private readonly recorded = new Set<Output>(); // outputs that still have a handle
  private valueCount = 0;
  private recordedValues = 0; // in all recorded outputs
  private precision: Precision = 'float32'; // of the products of operations that are recorded now

  /** Calls `record`. Matrix products of the operations that it records have this precision. */
  withPrecision<T>(precision: Precision, record: () => T): T {
    const before = this.precision;
    this.precision = precision;
    try {
      return record();
    } finally {
      this.precision = before;
    }
  }

  /** The shape of an activation that is held in the precision of products. */
  activation(shape: readonly number[]): OutputShape {
    return this.precision === 'bfloat16' ? { bfloat16: shape } : shape;
  }

  /** Records an operation whose outputs have these shapes. */
  record(name: string, inputs: readonly Operand[], ...shapes: readonly OutputShape[]): LazyTensor[] {
    this.recordRun(name, inputs);
    const outputs = shapes.map((asked) => {
      const isBf16 = 'bfloat16' in asked;
      const shape = isBf16 ? asked.bfloat16 : asked;
      this.code.push(...(isBf16 ? [BFLOAT16] : []), shape.length, ...shape);
      const dtype: Precision = isBf16 ? 'bfloat16' : 'float32';
      const output = { number: this.valueCount++, dtype, tensor: null, widened: null, recompute: null, handles: 0 };
      this.recorded.add(output);
      this.recordedValues += sizeOf(shape) / (isBf16 ? 2 : 1);
      return new LazyTensor(this, output, shape);
    });
    if (this.recordedValues > MAX_RECORDED_VALUES) this.run();
    return outputs;
  }

  /** Records an operation that changes its first input in place. Its other inputs stay in memory until it runs, so they count. */
  recordInPlace(name: string, inputs: readonly Operand[]): void {
    const [first] = inputs;
    if (first instanceof StoredVariable) first.changed();
    this.countInputs(inputs.slice(1));
    this.record(name, inputs, [])[0]!.dispose();
  }

  /** Records an operation whose only output replaces stored values. */
  recordInto(replaced: StoredVariable, name: string, inputs: readonly Operand[]): void {
    this.countInputs(inputs);
    this.recordDiscarded(inputs);
    const into = this.numberOfStored(replaced.range);
    this.recordRun(name, inputs);
    this.code.push(REPLACES, into);
    this.valueCount++;
    replaced.changed();
    if (this.recordedValues > MAX_RECORDED_VALUES) this.run();
  }

  private recordRun(name: string, inputs: readonly Operand[]): void {
    this.recordDiscarded(inputs);
    const numbers = inputs.flatMap((input) =>
      'list' in input
        ? [input.list.length, ...input.list.map((value) => this.numberOf(value))]
        : [this.numberOf(input)],
    );
    this.code.push(this.precision === 'bfloat16' ? RUN_BF16 : RUN, operationNumber(name), ...numbers);
  }

  /** Records the operations of discarded inputs again. It may run the program, so it comes before any input is numbered. */
  private recordDiscarded(inputs: readonly Operand[]): void {
    for (const input of inputs) {
      if ('list' in input) this.recordDiscarded(input.list);
      else if (input instanceof LazyTensor) this.recordRecomputation(input.output);
    }
  }

  private recordRecomputation(output: Output): void {
    if (!output.recompute) return;
    const { output: made } = output.recompute();
    output.recompute = null;
    output.number = made.number;
    output.tensor = made.tensor; // null, unless the program has run
    if (this.recorded.delete(made)) this.recorded.add(output);
  }

  private countInputs(inputs: readonly Operand[]): void {
    for (const input of inputs) {
      if ('shape' in input && !(input instanceof StoredTensor)) this.recordedValues += sizeOf(input.shape);
    }
  }

  /** Σ x² of each value, which is not finite where a value or a square is not: `[n]`, owned by the caller. */
  squareSums(values: readonly Value[]): tf.Tensor {
    return this.take(this.record('WpoSquareSums', [{ list: values }], [values.length])[0]!);
  }

  /**
   * Frees the memory of a value until an operation reads it.
   *
   * @param recompute records the value's operation, with the same inputs
   */
  discard(value: LazyTensor, recompute: () => LazyTensor): void {
    this.free(value.output);
    value.output.recompute = recompute;
  }

  /** A value's tensor, which the value still owns, after running all recorded operations. */
  materialize(value: Value): tf.Tensor {
    this.recordDiscarded([value]);
    this.run();
    if (value instanceof StoredTensor) return value.tensor();
    if (!(value instanceof LazyTensor)) return value as tf.Tensor;
    if (value.dtype === 'float32') return tensorOf(value);
    value.output.widened ??= this.take(this.widen(value));
    return value.output.widened;
  }

  /** A float32 copy of a value. */
  widen(value: Value): Value {
    return this.record('WpoScaledRows', copied(value), value.shape)[0]!;
  }

  /** The tensor of a value that has no other handle. The caller owns it. */
  take(value: Value): tf.Tensor {
    const tensor = this.materialize(value);
    if (value instanceof LazyTensor) value.output.tensor = null;
    return tensor;
  }

  release(output: Output): void {
    if (--output.handles === 0) this.free(output);
  }

  private free(output: Output): void {
    if (this.recorded.delete(output)) this.code.push(DROP, output.number);
    output.tensor?.dispose();
    output.widened?.dispose();
    output.tensor = output.widened = null;
  }

  /** Runs all recorded operations now. */
  run(): void {
    if (this.code.length === 0) return;
    const outputs = [...this.recorded];
    const inputs = [...this.inputs.keys()];
    const stored = [...this.stored.keys()];
    const { code } = this;
    for (const { number } of outputs) code.push(GIVE, number);
    this.code = [];
    this.inputs.clear();
    this.stored.clear();
    this.recorded.clear();
    this.valueCount = this.recordedValues = 0;
    try {
      const tensors = runProgram(code, inputs, outputs.length);
      // a tf.tidy in which the program happens to run must not free them
      for (const [i, output] of outputs.entries()) output.tensor = tf.keep(tensors[i]!);
    } finally {
      inputs.forEach(release);
      for (const { arena } of stored) arena.release();
    }
  }

  private numberOf(input: Exclude<Operand, { list: unknown }>): number {
    if ('ints' in input) return this.ints(input.ints);
    if ('numbers' in input) return this.ints(float32Bits(input.numbers));
    if (input instanceof StoredTensor) return this.numberOfStored(input.range);
    if (input instanceof LazyTensor && this.recorded.has(input.output)) return input.output.number;
    const tensor = input instanceof LazyTensor ? tensorOf(input) : (input as tf.Tensor);
    const known = this.inputs.get(tensor);
    if (known !== undefined) return known;
    if (input instanceof LazyTensor && input.dtype === 'bfloat16')
      this.code.push(BF16_TENSOR, input.shape.length, ...input.shape);
    else this.code.push(TENSOR);
    const number = this.valueCount++;
    this.inputs.set(tensor, number);
    retain(tensor); // its owner may free it before the program runs
    return number;
  }

  private numberOfStored(range: StoredRange): number {
    const known = this.stored.get(range);
    if (known !== undefined) return known;
    const { arena, offset, dtype, shape } = range;
    const at = [arena.number, offset % 2 ** 30, Math.floor(offset / 2 ** 30)];
    this.code.push(STORED, ...at, STORED_TYPES[dtype].code, shape.length, ...shape);
    arena.retain(); // its owner may dispose it before the program runs
    this.stored.set(range, this.valueCount);
    return this.valueCount++;
  }

  private ints(values: ArrayLike<number>): number {
    this.code.push(INTS, 1, values.length);
    for (let i = 0; i < values.length; i++) this.code.push(values[i]!);
    return this.valueCount++;
  }
}

/** The recorded operations of this process. */
export const program = new Program();
