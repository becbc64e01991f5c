import * as tf from '@tensorflow/tfjs-core';
import type { Value } from '@wpo/gemma';
import type { HostMemory } from '@wpo/trainer';
import { joinHalves, splitHalves } from './low-bits';
import { type NativeStore, nativeDevice, nativeStore, readingFiles, type StoredArrays } from './native';

// Values in memory of the native addon, which TensorFlow does not know: weights that are trained, bfloat16 weights, and weights in
// mapped files. `tf.memory()` does not count them; `storedBytes` does.

/** The type of stored values. */
export type StoredType = 'float32' | 'bfloat16' | 'int16' | 'uint8';

/** safetensors' name of a type, its number in a program (native/runtime/types.h) and its bytes per value. */
export const STORED_TYPES = {
  float32: { name: 'F32', code: 0, bytes: 4 },
  bfloat16: { name: 'BF16', code: 1, bytes: 2 },
  int16: { name: 'I16', code: 2, bytes: 2 },
  uint8: { name: 'U8', code: 3, bytes: 1 },
} as const;

/** The array of values of a type. */
type ArrayOf<T extends StoredType> = StoredArrays[(typeof STORED_TYPES)[T]['name']];

/** A range of memory of the native store: allocated, or a mapped file. It is freed when its last user releases it. */
export class Arena {
  private users = 0;
  private constructor(
    private readonly id: number,
    private readonly free = () => nativeStore()!.free(id),
    /** Whether it is pinned memory of the CPU. */
    readonly isPinned = false,
  ) {}

  /** Memory of this many bytes, with zeros. */
  static allocate(bytes: number): Arena {
    return new Arena(nativeStore()!.allocate(bytes));
  }
  /** The same in memory of the CPU, where a GPU computes: operations only copy from and to it. */
  static allocatePinned(bytes: number): Arena {
    const id = nativeStore()!.allocatePinned!(bytes);
    return new Arena(id, () => nativeStore()!.free(id), true);
  }
  /**
   * Memory of this many bytes without values, for what is freed within a step. On a CPU it is that of freed activations. On a GPU it is
   * kept when it is freed, for arenas of the same size: allocating and freeing wait until all queued work has run.
   */
  static allocateForStep(bytes: number): Arena {
    const id = keptArenas.get(bytes)?.pop() ?? nativeStore()!.allocateForStep(bytes);
    return nativeDevice() === 'cpu' ? new Arena(id) : new Arena(id, () => keepArena(id, bytes));
  }
  /** A file, read-only. @throws Error if it has not `bytes` bytes */
  static map(path: string, bytes: number): Arena {
    return new Arena(nativeStore()!.map(path, bytes));
  }

  /** Its number in a program. @throws Error if it was freed */
  get number(): number {
    if (this.isFree) throw new Error('The stored value was disposed.');
    return this.id;
  }
  get isFree(): boolean {
    return this.users < 0;
  }
  retain(): void {
    this.users++;
  }
  release(): void {
    if (--this.users > 0) return;
    this.users = -1;
    this.free();
  }
}

/** Ids of the freed arenas of steps on a GPU, by their bytes. */
const keptArenas = new Map<number, number[]>();

const keepArena = (id: number, bytes: number) => keptArenas.set(bytes, [...(keptArenas.get(bytes) ?? []), id]);

/** The values of a tensor in an arena. */
export interface StoredRange<T extends StoredType = StoredType> {
  readonly arena: Arena;
  /** In values of its type. */
  readonly offset: number;
  readonly dtype: T;
  readonly shape: readonly number[];
}

/** The types of weights. */
export type WeightType = 'float32' | 'bfloat16';

/** A handle on stored values. Only native operations read them. */
export class StoredTensor<T extends StoredType = WeightType> implements Value {
  private isOpen = true;
  protected widened: tf.Tensor | undefined;

  constructor(readonly range: StoredRange<T>) {
    range.arena.retain();
  }
  get shape(): readonly number[] {
    return this.range.shape;
  }
  get dtype(): T {
    return this.range.dtype;
  }
  clone(): StoredTensor<T> {
    return new StoredTensor(this.range);
  }
  dispose(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.range.arena.release();
    this.widened?.dispose();
  }
  /** A copy of the values; weights in float32. */
  async data(): Promise<ArrayOf<T>> {
    return this.read();
  }
  /** A copy of `count` values from `start`. @throws ModelError if they are in a mapped file that has changed */
  read(start = 0, count = this.size): ArrayOf<T> {
    return this.readRange(start, count);
  }
  /** What operations read as the values. */
  protected readRange(start: number, count: number): ArrayOf<T> {
    const { arena, offset, dtype } = this.range;
    const { bytes, name } = STORED_TYPES[dtype];
    const get = () => nativeStore()!.get(arena.number, (offset + start) * bytes, count, name);
    return readingFiles(get) as ArrayOf<T>;
  }
  protected get size(): number {
    return tf.util.sizeFromShape([...this.shape]);
  }
  /** The values as a float32 tensor, owned by this handle. It takes the memory that storing the values saves. */
  tensor(): tf.Tensor {
    this.widened ??= tf.keep(tf.tensor(this.readRange(0, this.size), [...this.shape], 'float32'));
    return this.widened;
  }
}

/** What reads and changes stored values later than it is called. */
interface Recorder {
  /** Runs all recorded operations. */
  run(): void;
  /** Σ x² of each value, which is not finite where a value or a square is not: `[n]`, owned by the caller. */
  squareSums(values: readonly Value[]): tf.Tensor;
}

/**
 * Stored values that operations change: the value of a parameter, the sum of its gradients, or a part of an optimizer's state. Floats
 * that are written to bfloat16 are rounded to the nearest.
 */
export class StoredVariable<T extends StoredType = WeightType> extends StoredTensor<T> {
  private widenedVersion = -1;

  constructor(
    range: StoredRange<T>,
    protected readonly recorder: Recorder,
    protected readonly state = { version: 0 },
  ) {
    super(range);
  }
  /** Memory with zeros. */
  static zeros<T extends StoredType>(shape: readonly number[], dtype: T, recorder: Recorder): StoredVariable<T> {
    const arena = Arena.allocate(bytesOf(shape, dtype));
    const zeros = new StoredVariable({ arena, offset: 0, dtype, shape }, recorder);
    zeros.changed();
    return zeros;
  }
  /** Memory for a sum, which has no values yet: the next operation that adds to it replaces them. */
  static sum(shape: readonly number[], recorder: Recorder): StoredVariable<'float32'> {
    const arena = Arena.allocateForStep(bytesOf(shape, 'float32'));
    return new StoredVariable({ arena, offset: 0, dtype: 'float32', shape }, recorder);
  }
  /** Zeros in memory of the CPU, where a GPU computes: operations only copy from and to it. */
  static pinnedZeros<T extends StoredType>(shape: readonly number[], dtype: T, recorder: Recorder): StoredVariable<T> {
    const arena = Arena.allocatePinned(bytesOf(shape, dtype));
    return new StoredVariable({ arena, offset: 0, dtype, shape }, recorder, { version: 1 });
  }
  /** A handle on `count` of the values, from `start`. */
  part(start: number, count: number, shape: readonly number[] = [count]): StoredVariable<T> {
    return new StoredVariable(partOf(this.range, start, shape), this.recorder, this.state);
  }
  /** Whether the values are in pinned memory of the CPU: operations only copy from and to it. */
  get isPinned(): boolean {
    return this.range.arena.isPinned;
  }
  /** 0 until it has values. It grows with each operation that changes them, also while that operation is only recorded. */
  get version(): number {
    return this.state.version;
  }
  /** The type of a file that holds the values exactly, by safetensors' name. */
  get fileType(): (typeof STORED_TYPES)[T]['name'] {
    return STORED_TYPES[this.dtype].name;
  }
  /** An operation was recorded that changes the values. */
  changed(): void {
    this.state.version++;
  }
  override clone(): StoredVariable<T> {
    return new StoredVariable(this.range, this.recorder, this.state);
  }
  protected override readRange(start: number, count: number): ArrayOf<T> {
    this.recorder.run();
    return super.readRange(start, count);
  }
  write(start: number, values: ArrayOf<T>): void {
    this.recorder.run();
    const { arena, offset, dtype } = this.range;
    const { bytes, name } = STORED_TYPES[dtype];
    if (!(start >= 0 && start + values.length <= this.size)) {
      throw new RangeError(`write: expected values within ${this.size}, found ${values.length} from ${start}.`);
    }
    nativeStore()!.set(arena.number, (offset + start) * bytes, values, name);
    this.changed();
  }
  /** Where float32 values are in the CPU's memory, for code that replaces them before the next operation. Undefined elsewhere. */
  hostMemory(): HostMemory | undefined {
    const store = nativeStore()!;
    if (!store.address || this.dtype !== 'float32') return undefined;
    this.recorder.run();
    this.changed();
    const { arena, offset } = this.range;
    return { address: store.address(arena.number) + BigInt(offset * STORED_TYPES.float32.bytes), count: this.size };
  }
  /** Whether all values of a weight are finite. False also where a square exceeds float32. */
  areFinite(): boolean {
    const sums = this.recorder.squareSums([this]);
    const [sum] = sums.dataSync();
    sums.dispose();
    return Number.isFinite(sum);
  }
  override tensor(): tf.Tensor {
    if (this.widenedVersion !== this.version) {
      this.widened?.dispose();
      this.widened = undefined;
    }
    this.widenedVersion = this.version;
    return super.tensor();
  }
}

/**
 * Float32 values of which operations read the upper half: a bfloat16 weight, and the 16 low bits of each value in memory of their own.
 * Updates, and `read` and `write`, take both for the float32 value.
 */
export class SplitVariable extends StoredVariable {
  constructor(
    range: StoredRange<'bfloat16'>,
    readonly low: StoredVariable<'int16'>,
    recorder: Recorder,
    state?: { version: number },
  ) {
    super(range, recorder, state);
  }
  /** Memory with zeros. */
  static splitZeros(shape: readonly number[], recorder: Recorder): SplitVariable {
    const range = { arena: allocateFor(shape, 'bfloat16'), offset: 0, dtype: 'bfloat16', shape } as const;
    return new SplitVariable(range, StoredVariable.zeros(shape, 'int16', recorder), recorder, { version: 1 });
  }
  override part(start: number, count: number, shape: readonly number[] = [count]): SplitVariable {
    const range = partOf(this.range as StoredRange<'bfloat16'>, start, shape);
    return new SplitVariable(range, this.low.part(start, count, shape), this.recorder, this.state);
  }
  override get fileType(): 'F32' {
    return 'F32';
  }
  override read(start = 0, count = this.size): Float32Array {
    return joinHalves(this.readRange(start, count), this.low.read(start, count));
  }
  override write(start: number, values: Float32Array): void {
    const { high, low } = splitHalves(values);
    this.low.write(start, low);
    const { arena, offset } = this.range;
    nativeStore()!.set(arena.number, (offset + start) * STORED_TYPES.bfloat16.bytes, high, 'I16'); // their bits
    this.changed();
  }
  override dispose(): void {
    super.dispose();
    this.low.dispose();
  }
}

const partOf = <T extends StoredType>(
  { offset, ...range }: StoredRange<T>,
  start: number,
  shape: readonly number[],
) => ({
  ...range,
  ...{ offset: offset + start, shape },
});

/** The memory of a new tensor. */
const allocateFor = (shape: readonly number[], dtype: StoredType) => Arena.allocate(bytesOf(shape, dtype));

const bytesOf = (shape: readonly number[], dtype: StoredType) =>
  STORED_TYPES[dtype].bytes * tf.util.sizeFromShape([...shape]);

/**
 * Bytes of all arenas of this process that are in use: in memory of the device, in mapped files, and on a GPU in pinned memory of the CPU.
 * Memory that is kept for the gradients of the next step is free.
 */
export function storedBytes(): ReturnType<NativeStore['bytes']> {
  const { allocated, ...others } = nativeStore()?.bytes() ?? { allocated: 0, mapped: 0 };
  const kept = [...keptArenas].reduce((sum, [bytes, ids]) => sum + bytes * ids.length, 0);
  return { allocated: allocated - kept, ...others };
}
