import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { uploadAmongWork } from './upload';

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

/** Operations in C++ that are loaded. */
export interface Native {
  readonly device: 'processor' | 'gpu';
  /** The operations' names; a program calls them by their place here. */
  readonly operations: readonly string[];
}

let loaded: Native | null | undefined;

/**
 * Loads the operations in C++ once, and says whether they are there: built by `wpo-tensorflow install` for the processor or
 * the GPU that TensorFlow uses, and not turned off by WPO_NATIVE=0.
 */
export const nativeOperations = (): boolean => native() !== null;

/** What they run on. */
export const nativeDevice = (): Native['device'] => native()?.device ?? 'processor';

/** Whether one operation is there: GPUs have not all. */
export const hasOperation = (name: string): boolean => native()?.operations.includes(name) ?? false;

/** Whether TensorFlow computes on a GPU here. */
export const usesGpu = (): boolean => tf.getBackend() === 'tensorflow' && backend().isUsingGpuDevice;

function native(): Native | null {
  if (loaded === undefined) useNative(load());
  return loaded!;
}

/** Only tests load operations themselves. */
export function useNative(native: Native | null): void {
  loaded = native;
}

const NOT_BUILT = 'those for GPUs were not built; install g++ 12 or later and run `npx wpo-tensorflow install` again';

function load(): Native | null {
  if (process.env.WPO_NATIVE === '0' || tf.getBackend() !== 'tensorflow') return null;
  const require = createRequire(import.meta.url);
  const folder = join(dirname(require.resolve('@tensorflow/tfjs-node-gpu/package.json')), 'lib', 'napi-v8');
  const open = (name: string) => {
    const addon = join(folder, name);
    return existsSync(addon) ? require(addon) : null; // tfjs-node's own installer leaves none
  };
  const processor: { readonly operations: string[] } | null = open('kernels.node');
  if (!processor || !usesGpu()) return processor && { device: 'processor', operations: processor.operations };
  const gpu: { readonly operations: string[]; readonly lack: string } | null = open('gpu.node');
  if (!gpu || gpu.lack) {
    process.emitWarning(`The portable kernels are used, which are slower: ${gpu?.lack ?? NOT_BUILT}`);
    return null;
  }
  uploadAmongWork(backend());
  return { device: 'gpu', operations: gpu.operations };
}

const backend = () => tf.backend() as unknown as Backend;

/** Runs an operation. The results are the caller's, or the `tf.tidy`'s that it is called in. */
export function run(name: string, inputs: tf.Tensor[], outputs: number): tf.Tensor[] {
  return backend().executeMultipleOutputs(name, [], inputs, outputs);
}

/** Runs an operation that changes its first input in place. */
export function change(name: string, inputs: tf.Tensor[]): void {
  tf.dispose(run(name, inputs, 1));
}

/** An operation's number in a program. */
export function operationNumber(name: string): number {
  const number = native()?.operations.indexOf(name) ?? -1;
  if (number < 0) throw new Error(`there is no operation ${name}; build them again: npx wpo-tensorflow install`);
  return number;
}

/** Runs an operation with one result that takes any number of tensors after its other inputs. */
export function runOver(name: string, inputs: readonly tf.Tensor[], tensors: readonly tf.Tensor[]): tf.Tensor {
  return backend().executeMultipleOutputs(name, [counted('N', tensors.length)], [...inputs, ...tensors], 1)[0]!;
}

/** Runs a program (native/program.h): the tensors that it gives. */
export function runProgram(code: readonly number[], tensors: readonly tf.Tensor[], outputs: number): tf.Tensor[] {
  const attributes = [counted('N', tensors.length), counted('M', outputs)];
  return withInts(code, (ints) =>
    backend().executeMultipleOutputs('WpoProgram', attributes, [ints, ...tensors], outputs),
  );
}

/** Keeps a tensor's values, whoever frees it, until they are let go: a handle as `clone` gives would cost ten times as much. */
export const hold = ({ dataId }: tf.Tensor): void => backend().incRef(dataId);

export function letGo({ dataId }: tf.Tensor): void {
  if (backend().disposeData(dataId)) tf.engine().removeDataId(dataId, backend());
}

const counted = (name: string, value: number) => ({ name, type: backend().binding.TF_ATTR_INT, value });

/** Calls `use` with indices as a tensor `[n]`, and frees it. */
export function withInts<T>(values: ArrayLike<number>, use: (ints: tf.Tensor1D) => T): T {
  const ints = tf.tensor1d(Int32Array.from(values), 'int32');
  try {
    return use(ints);
  } finally {
    ints.dispose();
  }
}

/** float32 values as int32 ones of the same bits: how operations are told numbers (native/op.h). */
export const bitsOf = (values: readonly number[]): number[] =>
  values.map((value) => {
    float[0] = value;
    return bits[0]!;
  });

const float = new Float32Array(1);
const bits = new Int32Array(float.buffer);

/** Calls `use` with the bits of numbers as a tensor `[n]`, and frees it. */
export function withNumbers<T>(values: readonly number[], use: (numbers: tf.Tensor1D) => T): T {
  return withInts(bitsOf(values), use);
}
