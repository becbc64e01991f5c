import type { Precision, Value } from '@wpo/gemma';
import { MAX_RECORDED_VALUES, type OutputShape } from './program';
import { type Allocation, TensorFlowAllocator } from './tensorflow-allocator';

// The memory of values that are never computed. They are recorded, made and freed in the order of the operations of `Program`, on a GPU
// in memory of a simulated TensorFlow.

/** What a value of a pass is. Gradients are the sums of the weights' gradients. */
export type MemoryKind = 'activations' | 'logits' | 'gradients';

/** Bytes by kind. */
export type MemoryParts = Readonly<Record<MemoryKind, number>>;

/** Memory of a value and its handles. */
interface Buffer {
  readonly dtype: Precision;
  readonly bytes: number;
  readonly kind: MemoryKind;
  handles: number;
  /** Whether it has memory: from the run of its operation until it is freed. */
  exists: boolean;
  /** On a GPU, its memory. */
  allocation: Allocation | null;
  /** Whether an operation that has not run reads it. */
  isRead: boolean;
  /** Of a value that was discarded: records its operation again, and the memory of its output once it was recorded. */
  discarded: { readonly recompute: () => Value; next: Buffer | null } | null;
}

const FLOAT32 = 4;
const sizeOf = (shape: readonly number[]) => shape.reduce((size, n) => size * n, 1);

/** A handle on counted memory. */
class CountedValue implements Value {
  private isOpen = true;
  constructor(
    private readonly counter: MemoryCounter,
    readonly buffer: Buffer,
    readonly shape: readonly number[],
  ) {
    buffer.handles++;
  }
  get dtype(): Precision {
    return this.buffer.dtype;
  }
  clone(): CountedValue {
    return new CountedValue(this.counter, this.buffer, this.shape);
  }
  dispose(): void {
    if (this.isOpen) this.counter.release(this.buffer);
    this.isOpen = false;
  }
}

/** The sum of a weight's gradients. It has no values until an operation has set them. */
class CountedSum implements Value {
  isUnset = true;
  constructor(
    readonly buffer: Buffer,
    readonly shape: readonly number[],
  ) {}
  clone(): CountedSum {
    return this;
  }
  dispose(): void {}
}

/** Whether a value is a sum that has no values yet. */
export const isUnset = (value: Value): value is CountedSum => value instanceof CountedSum && value.isUnset;

/**
 * Counts memory as `Program` uses it: operations are recorded, and run once their outputs hold enough values. `countingKernels` and
 * `countedWeights` record what a model calls.
 */
export class MemoryCounter {
  private readonly live = { activations: 0, logits: 0, gradients: 0 };
  /** Null on a CPU, where no more memory is mapped than values take at once (native/runtime/step-memory.h). */
  private readonly allocator: TensorFlowAllocator | null;
  private readonly sums = new Map<string, CountedSum>(); // by the names of their weights
  private most: MemoryParts = { ...this.live };
  private events: { readonly buffer: Buffer; readonly exists: boolean }[] = [];
  private readonly inputs = new Set<Buffer>();
  private recordedValues = 0;

  private readonly countsGradients: boolean;

  /**
   * @param countsGradients whether sums of gradients are counted. On a GPU they have memory of their own beside TensorFlow's, which is
   *   kept from step to step. Default: on a CPU
   */
  constructor(
    readonly device: 'cpu' | 'gpu',
    { countsGradients = device === 'cpu' }: { readonly countsGradients?: boolean } = {},
  ) {
    this.countsGradients = countsGradients;
    this.allocator = device === 'gpu' ? new TensorFlowAllocator() : null;
  }

  /** The bytes at the moment when their sum was largest. */
  get peak(): MemoryParts {
    return this.most;
  }

  /** Bytes that were taken for these values. On a GPU TensorFlow keeps freed memory, so they may be more than the peak. */
  get allocatedBytes(): number {
    return this.allocator?.usedBytes ?? total(this.most);
  }

  /** The bytes now. */
  get bytes(): MemoryParts {
    return { ...this.live };
  }

  /** The sum of a weight's gradients. Its memory is allocated at the first call since `zeroGradients`. @internal */
  sumOf(name: string, shape: readonly number[]): CountedSum {
    const known = this.sums.get(name);
    if (known) return known;
    const sum = new CountedSum(newBuffer(shape, 'gradients'), shape);
    if (this.countsGradients) this.add(sum.buffer);
    this.sums.set(name, sum);
    return sum;
  }

  /** Frees the sums of gradients, as at the end of a step. */
  zeroGradients(): void {
    this.run();
    for (const { buffer } of this.sums.values()) if (buffer.exists) this.remove(buffer);
    this.sums.clear();
  }

  /** A value that exists at once. @internal */
  allocate(shape: readonly number[]): CountedValue {
    const buffer = newBuffer(shape, 'activations');
    this.add(buffer);
    return new CountedValue(this, buffer, shape);
  }

  /** Records an operation with outputs of these shapes. @internal */
  record(inputs: readonly Value[], ...shapes: readonly OutputShape[]): CountedValue[] {
    return this.recordAs('activations', inputs, ...shapes);
  }

  /** Records an operation whose outputs are of a kind. @internal */
  recordAs(kind: MemoryKind, inputs: readonly Value[], ...shapes: readonly OutputShape[]): CountedValue[] {
    this.read(inputs);
    const outputs = shapes.map((asked) => {
      const buffer = newBuffer(asked, kind);
      this.events.push({ buffer, exists: true });
      this.recordedValues += buffer.bytes / FLOAT32;
      return new CountedValue(this, buffer, shapeOf(asked));
    });
    if (this.recordedValues > MAX_RECORDED_VALUES) this.run();
    return outputs;
  }

  /** Records an operation with one output, and runs the recorded operations. @internal */
  compute(inputs: readonly Value[], shape: readonly number[], kind: MemoryKind = 'activations'): CountedValue {
    const [output] = this.recordAs(kind, inputs, shape);
    this.run();
    return output!;
  }

  /** `Program.discard`. @internal */
  discard(value: Value, recompute: () => Value): void {
    const { buffer } = value as CountedValue;
    this.free(buffer);
    buffer.discarded = { recompute, next: null };
  }

  /** Records memory that the last operation takes while it runs. @internal */
  recordScratch(bytes: number): void {
    const buffer: Buffer = {
      dtype: 'float32',
      bytes,
      kind: 'activations',
      handles: 0,
      exists: false,
      allocation: null,
      isRead: false,
      discarded: null,
    };
    this.events.push({ buffer, exists: true }, { buffer, exists: false });
  }

  /** Records an operation that changes its first input in place. @internal */
  recordInPlace(inputs: readonly Value[]): void {
    this.countInputs(inputs.slice(1));
    this.record(inputs, [])[0]!.dispose();
  }

  /** Records an operation whose output is the first value of a sum. @internal */
  recordInto(sum: CountedSum, inputs: readonly Value[]): void {
    sum.isUnset = false;
    this.countInputs(inputs);
    this.read(inputs);
    if (this.recordedValues > MAX_RECORDED_VALUES) this.run();
  }

  private read(inputs: readonly Value[]): void {
    const values = inputs.filter((input) => input instanceof CountedValue);
    const buffers = values.map((value) => this.recomputed(value)); // all first: it records operations
    for (const buffer of buffers) {
      if (!buffer.exists) continue;
      buffer.isRead = true;
      this.inputs.add(buffer);
    }
  }

  /** The memory of a value, whose operation is recorded again if the value was discarded. */
  private recomputed({ buffer }: CountedValue): Buffer {
    const { discarded } = buffer;
    if (!discarded) return buffer;
    if (!discarded.next) {
      discarded.next = (discarded.recompute() as CountedValue).buffer;
      discarded.next.handles = buffer.handles;
    }
    return discarded.next;
  }

  private countInputs(inputs: readonly Value[]): void {
    for (const input of inputs) if (input instanceof CountedValue) this.recordedValues += sizeOf(input.shape);
  }

  /** Runs the recorded operations, so that `bytes` counts their outputs. */
  run(): void {
    for (const { buffer, exists } of this.events.splice(0)) {
      if (exists) this.add(buffer);
      else this.remove(buffer);
    }
    for (const buffer of this.inputs) {
      buffer.isRead = false;
      if (buffer.handles === 0 || buffer.discarded) this.remove(buffer);
    }
    this.inputs.clear();
    this.recordedValues = 0;
  }

  /** Frees a handle. @internal */
  release(buffer: Buffer): void {
    const { discarded } = buffer;
    if (discarded?.next) this.release(discarded.next);
    else if (--buffer.handles === 0 && !discarded) this.free(buffer);
  }

  private free(buffer: Buffer): void {
    if (!buffer.exists) this.events.push({ buffer, exists: false });
    else if (!buffer.isRead) this.remove(buffer);
  }

  private add(buffer: Buffer): void {
    buffer.exists = true;
    buffer.allocation = this.allocator?.allocate(buffer.bytes) ?? null;
    this.live[buffer.kind] += buffer.bytes;
    if (total(this.live) > total(this.most)) this.most = { ...this.live };
  }

  private remove(buffer: Buffer): void {
    if (buffer.allocation) this.allocator?.free(buffer.allocation);
    buffer.exists = false;
    buffer.allocation = null;
    this.live[buffer.kind] -= buffer.bytes;
  }
}

const shapeOf = (asked: OutputShape) => ('bfloat16' in asked ? asked.bfloat16 : asked);

const newBuffer = (asked: OutputShape, kind: MemoryKind): Buffer => {
  const isBf16 = 'bfloat16' in asked;
  const count = sizeOf(shapeOf(asked));
  return {
    dtype: isBf16 ? 'bfloat16' : 'float32',
    bytes: FLOAT32 * (isBf16 ? Math.ceil(count / 2) : count),
    ...{ kind, handles: 0, exists: false, allocation: null, isRead: false, discarded: null },
  };
};

const total = ({ activations, logits, gradients }: MemoryParts) => activations + logits + gradients;
