import * as tf from '@tensorflow/tfjs-core';
import type { StoredValue, WeightValue } from '@wpo/gemma';
import { nativeStore, readingFiles } from './native';

// Values in memory of the native addon, which TensorFlow does not know: weights that are trained, bfloat16 weights, and weights in
// mapped files. `tf.memory()` does not count them; `storedBytes` does.

/** The type of stored values. */
export type StoredType = 'float32' | 'bfloat16';

/** safetensors' name of a type, its number in a program (native/runtime/types.h) and its bytes per value. */
export const STORED_TYPES = {
  float32: { name: 'F32', code: 0, bytes: 4 },
  bfloat16: { name: 'BF16', code: 1, bytes: 2 },
} as const;

/** A range of memory of the native store: allocated, or a mapped file. It is freed when its last user releases it. */
export class Arena {
  private users = 0;
  private constructor(private readonly id: number) {}

  /** Memory of this many bytes, with zeros. */
  static allocate(bytes: number): Arena {
    return new Arena(nativeStore()!.allocate(bytes));
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
    nativeStore()!.free(this.id);
  }
}

/** The values of a tensor in an arena. */
export interface StoredRange {
  readonly arena: Arena;
  /** In values of its type. */
  readonly offset: number;
  readonly dtype: StoredType;
  readonly shape: readonly number[];
}

/** A handle on stored values. Only native operations read them. */
export class StoredTensor implements WeightValue {
  private isOpen = true;
  protected widened: tf.Tensor | undefined;

  constructor(readonly range: StoredRange) {
    range.arena.retain();
  }
  get shape(): readonly number[] {
    return this.range.shape;
  }
  get dtype(): StoredType {
    return this.range.dtype;
  }
  clone(): StoredTensor {
    return new StoredTensor(this.range);
  }
  dispose(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.range.arena.release();
    this.widened?.dispose();
  }
  /** A copy of the values in float32. */
  async data(): Promise<Float32Array> {
    return this.read();
  }
  /** A copy of `count` values from `start`, in float32. @throws ModelError if they are in a mapped file that has changed */
  read(start = 0, count = tf.util.sizeFromShape([...this.shape])): Float32Array {
    const { arena, offset, dtype } = this.range;
    const { bytes, name } = STORED_TYPES[dtype];
    return readingFiles(() => nativeStore()!.get(arena.number, (offset + start) * bytes, count, name));
  }
  /** The values as a float32 tensor, owned by this handle. It takes the memory that storing the values saves. */
  tensor(): tf.Tensor {
    this.widened ??= tf.keep(tf.tensor(this.read(), [...this.shape], 'float32'));
    return this.widened;
  }
}

/** What reads and changes stored values later than it is called. */
interface Recorder {
  /** Runs all recorded operations. */
  run(): void;
  /** Σ x² of each value, which is not finite where a value or a square is not: `[n]`, owned by the caller. */
  squareSums(values: readonly StoredVariable[]): tf.Tensor;
}

/** Stored float32 values that operations change: the value of a parameter, or the sum of its gradients. */
export class StoredVariable extends StoredTensor implements StoredValue {
  private widenedVersion = -1;

  constructor(
    range: StoredRange & { readonly dtype: 'float32' },
    private readonly recorder: Recorder,
    private readonly state = { version: 0 },
  ) {
    super(range);
  }
  /** Memory with zeros. */
  static zeros(shape: readonly number[], recorder: Recorder): StoredVariable {
    const zeros = StoredVariable.sum(shape, recorder); // an arena has zeros at first
    zeros.changed();
    return zeros;
  }
  /** Memory for a sum, which has no values yet: the next operation that adds to it replaces them. */
  static sum(shape: readonly number[], recorder: Recorder): StoredVariable {
    const arena = Arena.allocate(STORED_TYPES.float32.bytes * tf.util.sizeFromShape([...shape]));
    return new StoredVariable({ arena, offset: 0, dtype: 'float32', shape }, recorder);
  }
  /** 0 until it has values. It grows with each operation that changes them, also while that operation is only recorded. */
  get version(): number {
    return this.state.version;
  }
  /** An operation was recorded that changes the values. */
  changed(): void {
    this.state.version++;
  }
  override clone(): StoredVariable {
    return new StoredVariable({ ...this.range, dtype: 'float32' }, this.recorder, this.state);
  }
  override read(start?: number, count?: number): Float32Array {
    this.recorder.run();
    return super.read(start, count);
  }
  write(start: number, values: Float32Array): void {
    this.recorder.run();
    const { arena, offset } = this.range;
    const { bytes, name } = STORED_TYPES.float32;
    const size = tf.util.sizeFromShape([...this.shape]);
    if (!(start >= 0 && start + values.length <= size)) {
      throw new RangeError(`write: expected values within ${size}, found ${values.length} from ${start}.`);
    }
    nativeStore()!.set(arena.number, (offset + start) * bytes, values, name);
    this.changed();
  }
  /** Whether all values are finite. False also where a square exceeds float32. */
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

/** Bytes of all arenas of this process: in memory, and in mapped files. */
export const storedBytes = (): { readonly allocated: number; readonly mapped: number } =>
  nativeStore()?.bytes() ?? { allocated: 0, mapped: 0 };
