import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { ModelError } from '@wpo/gemma';
import { uploadWithoutSync } from './upload';

/** What tfjs-node's backend offers beyond tfjs: any TensorFlow operation, by name. */
interface NodeBackend {
  readonly isUsingGpuDevice: boolean;
  readonly binding: { readonly TF_ATTR_INT: number };
  executeMultipleOutputs(
    name: string,
    attributes: readonly { name: string; type: number; value: number }[],
    inputs: tf.Tensor[],
    outputs: number,
  ): tf.Tensor[];
}

type Backend = NodeBackend & tf.KernelBackend;

/** A type of stored values, by safetensors' name. */
export type StoredName = 'F32' | 'BF16' | 'I16' | 'U8';

/** A type of weights in a file, by safetensors' name. */
export type FileType = 'F32' | 'BF16' | 'F16';

/** The arrays of stored values: floats are widened, the others are as they are stored. */
export interface StoredArrays {
  readonly F32: Float32Array;
  readonly BF16: Float32Array;
  readonly I16: Int16Array;
  readonly U8: Uint8Array;
}

/** The addon's memory for values that are no tensors (native/runtime/store.h). Offsets and sizes are in bytes; arenas have ids. */
export interface NativeStore {
  /** Zeros. */
  allocate(bytes: number): number;
  /** Memory of the CPU that a GPU copies from and to. Absent where the CPU computes. */
  allocatePinned?(bytes: number): number;
  /** Without values, to be freed within a step. */
  allocateForStep(bytes: number): number;
  /** Maps a whole file, read-only. @throws Error if its size is not `bytes` */
  map(path: string, bytes: number): number;
  /** Where an allocated arena is in the memory of this process, until it is freed. Absent where a GPU computes. */
  address?(arena: number): bigint;
  free(arena: number): void;
  /** Of all arenas. */
  bytes(): { readonly allocated: number; readonly mapped: number; readonly pinned?: number };
  /** Reads values of an open file into an allocated arena. */
  read(
    arena: number,
    offset: number,
    file: number,
    fileOffset: number,
    count: number,
    fileType: FileType,
    type: 'F32' | 'BF16',
  ): void;
  /** A copy of stored values. */
  get<T extends StoredName>(arena: number, offset: number, count: number, type: T): StoredArrays[T];
  /** Replaces stored values. */
  set<T extends StoredName>(arena: number, offset: number, values: StoredArrays[T], type: T): void;
}

/** The native operations that are loaded. */
export interface Native {
  readonly device: 'cpu' | 'gpu';
  /** The operations' names. An operation's index here is its number in a program. */
  readonly operations: readonly string[];
  /** Absent where the device has none. */
  readonly store?: NativeStore;
  /** Head sizes for which the GPU has fused attention. Absent on a CPU. */
  readonly fusedHeadSizes?: readonly number[];
}

let loaded: Native | null | undefined;

/**
 * Loads the native operations at the first call. Returns whether they are loaded: `wpo-tensorflow install` built them for the
 * device that TensorFlow uses, and WPO_NATIVE=0 does not turn them off.
 */
export const nativeOperations = (): boolean => native() !== null;

/** The device that the native operations run on. */
export const nativeDevice = (): Native['device'] => native()?.device ?? 'cpu';

/** Whether an operation is loaded. Not every operation has a GPU kernel. */
export const hasOperation = (name: string): boolean => native()?.operations.includes(name) ?? false;

/** Head sizes for which the device has fused attention (native/gpu/fused-attention.cu). */
export const fusedHeadSizes = (): readonly number[] => native()?.fusedHeadSizes ?? [];

/** The memory for stored values; undefined if programs on this device cannot read such. */
export const nativeStore = (): NativeStore | undefined => native()?.store;

/** Whether TensorFlow computes on a GPU. */
export const usesGpu = (): boolean => tf.getBackend() === 'tensorflow' && backend().isUsingGpuDevice;

function native(): Native | null {
  if (loaded === undefined) useNative(load());
  return loaded!;
}

/** Replaces the native operations. For tests. */
export function useNative(native: Native | null): void {
  loaded = native;
}

const NOT_BUILT = 'they were not built. Install g++ 12 or later and run `npx wpo-tensorflow install` again';

function load(): Native | null {
  if (process.env.WPO_NATIVE === '0' || tf.getBackend() !== 'tensorflow') return null;
  const require = createRequire(import.meta.url);
  const folder = join(dirname(require.resolve('@tensorflow/tfjs-node-gpu/package.json')), 'lib', 'napi-v8');
  const open = (name: string) => {
    const addon = join(folder, name);
    return existsSync(addon) ? require(addon) : null; // tfjs-node's own installer builds none
  };
  const cpu: Omit<Native, 'device'> | null = open('kernels.node');
  if (!cpu || !usesGpu()) return cpu && { device: 'cpu', operations: cpu.operations, store: cpu.store };
  const gpu: (Omit<Native, 'device'> & { readonly missing: string }) | null = open('gpu.node');
  if (!gpu || gpu.missing) {
    const reason = gpu?.missing ?? NOT_BUILT;
    process.emitWarning(
      `The native GPU operations cannot be used: ${reason}. The portable kernels run instead, more slowly.`,
    );
    return null;
  }
  uploadWithoutSync(backend());
  const { operations, store, fusedHeadSizes } = gpu;
  return { device: 'gpu', operations, store, fusedHeadSizes };
}

const backend = () => tf.backend() as unknown as Backend;

/** Runs an operation. The caller owns the results, or the `tf.tidy` around the call. */
export function run(name: string, inputs: tf.Tensor[], outputs: number): tf.Tensor[] {
  return backend().executeMultipleOutputs(name, [], inputs, outputs);
}

/** An operation's number in a program. */
export function operationNumber(name: string): number {
  const number = native()?.operations.indexOf(name) ?? -1;
  if (number < 0) {
    throw new Error(
      `There is no native operation ${name}. Run \`npx wpo-tensorflow install\` to build the native operations again.`,
    );
  }
  return number;
}

/**
 * Runs a program (native/runtime/program.h) and returns its outputs.
 *
 * @throws ModelError if a mapped file of which it read values has changed
 */
export function runProgram(code: readonly number[], tensors: readonly tf.Tensor[], outputs: number): tf.Tensor[] {
  const attributes = [lengthAttribute('N', tensors.length), lengthAttribute('M', outputs)];
  return withInts(code, (ints) =>
    readingFiles(() => backend().executeMultipleOutputs('WpoProgram', attributes, [ints, ...tensors], outputs)),
  );
}

/** Calls native code that reads mapped files. @throws ModelError if one of them has changed (native/runtime/mapped-file.h) */
export function readingFiles<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    const [, found] = /^(?:.*Wpo\w+: )?(.+: expected a file that .+)$/m.exec((error as Error).message) ?? [];
    if (found === undefined) throw error;
    throw new ModelError(
      `${found}. What was computed since then is not valid: restore the file and run the command again. To replace the model while it ` +
        'is in use, write another file and rename it.',
      { cause: error },
    );
  }
}

/**
 * Keeps a tensor's data until {@link release}, even if its owner disposes the tensor. It counts a reference, which takes a
 * tenth of the time of `clone`.
 */
export const retain = ({ dataId }: tf.Tensor): void => backend().incRef(dataId);

export function release({ dataId }: tf.Tensor): void {
  if (backend().disposeData(dataId)) tf.engine().removeDataId(dataId, backend());
}

const lengthAttribute = (name: string, value: number) => ({ name, type: backend().binding.TF_ATTR_INT, value });

/** Calls `use` with int32 numbers as a tensor `[n]`, and disposes the tensor. */
export function withInts<T>(values: ArrayLike<number>, use: (ints: tf.Tensor1D) => T): T {
  const ints = tf.tensor1d(Int32Array.from(values), 'int32');
  try {
    return use(ints);
  } finally {
    ints.dispose();
  }
}

/** The bits of float32 values as int32 values. Operations take float parameters in this form (native/runtime/operation.h). */
export const float32Bits = (values: readonly number[]): number[] =>
  values.map((value) => {
    float[0] = value;
    return bits[0]!;
  });

const float = new Float32Array(1);
const bits = new Int32Array(float.buffer);

/** Calls `use` with the bits of float32 parameters as a tensor `[n]`, and disposes the tensor. */
export function withNumbers<T>(values: readonly number[], use: (numbers: tf.Tensor1D) => T): T {
  return withInts(float32Bits(values), use);
}
