import * as tf from '@tensorflow/tfjs-core';
import {
  readTensor,
  type TensorLoader,
  type TensorLocation,
  type TensorSource,
  type WeightBytes,
  type WeightValue,
} from '@wpo/gemma';
import { describe } from '@wpo/internal/describe';
import { printable } from '@wpo/internal/printable';
import { type FileType, nativeDevice, nativeOperations, nativeStore } from './native';
import { program } from './program';
import { Arena, SplitVariable, STORED_TYPES, StoredTensor, StoredVariable, type WeightType } from './store';

/** Bytes per value of the types that native code reads. */
const BYTES: Readonly<Record<FileType, number>> = { F32: 4, BF16: 2, F16: 2 };

const isFileType = (dtype: string): dtype is FileType => Object.hasOwn(BYTES, dtype);

/** The native code's dimensions are 32-bit integers. */
const MAX_SIZE = 2 ** 31 - 1;

/**
 * How weights that are trained are held in bfloat16. `exact`: beside a weight, 16 more bits of each value make it a float32 value, which
 * updates change; passes read the nearest bfloat16. `stochastic`: an update's result is rounded up or down at random, in proportion.
 */
export type MasterWeights = 'exact' | 'stochastic';

/**
 * Returns a loader for `loadWeights({ loadTensor })` of a model that is trained: all threads read a tensor from its file directly into
 * memory of the native store, and bfloat16 and float16 become float32. With `masterWeights`, weights but those of norms are held in
 * bfloat16. Without native operations and for other types it is `readTensor`, which passes the values through JavaScript.
 *
 * @throws Error for `masterWeights` without native operations
 */
export function tensorflowTensorLoader(masterWeights?: MasterWeights): TensorLoader {
  if (nativeOperations()) return (source, name) => readVariable(source, name, masterWeights);
  if (masterWeights === undefined) return readTensor;
  throw new Error(
    `master_weights: ${masterWeights}: expected native operations, which hold bfloat16 weights, found none. Run \`npx wpo-tensorflow ` +
      'install` without WPO_NATIVE=0, or train in float32.',
  );
}

async function readVariable(source: TensorSource, name: string, masterWeights: MasterWeights | undefined) {
  const location = source.locate?.(name);
  if (!location || !isFileType(location.dtype)) return readTensor(source, name);
  checkShape(location, name);
  const { shape, dtype: fileType } = location;
  const held = isHeldInBf16(shape) ? masterWeights : undefined;
  const variable = storing(location, name, () => {
    if (held === 'exact') return SplitVariable.splitZeros(shape, program);
    return StoredVariable.zeros(shape, held === undefined ? 'float32' : 'bfloat16', program);
  });
  if (held === 'exact' && fileType !== 'BF16') readHalves(variable, location, fileType, name);
  else readInto(variable, location, fileType, name); // of a bfloat16 value, the low bits are 0
  return variable;
}

/** Whether a weight is held in bfloat16 with `masterWeights`: not vectors, which are those of norms. */
const isHeldInBf16 = (shape: readonly number[]): boolean => shape.length > 1;

/** Bytes of a weight that is trained, without its gradient. */
export const trainedBytes = (shape: readonly number[], masterWeights?: MasterWeights): number =>
  tf.util.sizeFromShape([...shape]) * (masterWeights === 'stochastic' && isHeldInBf16(shape) ? 2 : 4);

/** Values that are read at a time to be split: 16 MB. */
const PART = 1 << 22;

/** Reads a tensor of a file into the halves of its float32 values. */
function readHalves(into: StoredVariable, location: TensorLocation, fileType: FileType, name: string): void {
  const size = valuesOf(location);
  const part = StoredVariable.zeros([Math.min(PART, size)], 'float32', program);
  try {
    for (let start = 0; start < size; start += PART) {
      const count = Math.min(PART, size - start);
      const offset = location.offset + start * BYTES[fileType];
      readInto(part, { ...location, offset, shape: [count] }, fileType, name);
      into.write(start, part.read(0, count));
    }
  } catch (error) {
    into.dispose();
    throw error;
  } finally {
    part.dispose();
  }
}

/** How weights that are not trained are held. */
export interface WeightStorage {
  /** For `loadWeights({ trainable: false, loadTensor })`. */
  readonly loadTensor: TensorLoader<WeightValue>;
  /** Bytes that a tensor will take. */
  bytesOf(location: TensorLocation): WeightBytes;
}

export interface WeightStorageOptions {
  /** How the weights are held: `auto` as in their file, F16 as float32. Default `auto`. */
  readonly dtype?: 'auto' | WeightType;
  /**
   * Whether tensors of the same type in a file are not read but mapped: the system reads them as they are used, and can drop them
   * when memory is short. Others are read. Not on a GPU. Default true.
   */
  readonly map?: boolean;
}

/**
 * Makes a storage for weights that are not trained: bfloat16 takes 2 bytes per parameter, and mapping a file takes no time and copies
 * nothing. A mapped file may be closed, renamed or removed. If its bytes change while the model is in use, computations fail with a
 * `ModelError`.
 *
 * Without native operations all weights are float32 tensors.
 */
export function weightStorage({ dtype = 'auto', map = true }: WeightStorageOptions = {}): WeightStorage {
  if (!nativeStore()) return tensorStorage(dtype);
  const canMap = map && nativeDevice() === 'cpu';
  const sources = new WeakMap<TensorSource, Map<string, Arena | undefined>>();
  const typeOf = (file: FileType): WeightType => (dtype !== 'auto' ? dtype : file === 'BF16' ? 'bfloat16' : 'float32');
  const isMapped = ({ dtype: file, offset }: TensorLocation, type: WeightType) =>
    canMap && file === STORED_TYPES[type].name && offset % STORED_TYPES[type].bytes === 0;

  /** The mapping of a tensor's file, which all tensors of the file share; undefined if it cannot be mapped. */
  function mappingOf(source: TensorSource, location: TensorLocation, name: string): Arena | undefined {
    const files = sources.get(source) ?? new Map<string, Arena | undefined>();
    sources.set(source, files);
    const { path } = location;
    if (!files.has(path) || files.get(path)?.isFree) files.set(path, mapFile(location, name));
    return files.get(path);
  }

  return {
    async loadTensor(source, name) {
      const location = source.locate?.(name);
      if (!location || !isFileType(location.dtype)) return readTensor(source, name);
      checkShape(location, name);
      const type = typeOf(location.dtype);
      const arena = isMapped(location, type) ? mappingOf(source, location, name) : undefined;
      if (!arena) return readIntoArena(location, location.dtype, type, name);
      const { offset, shape } = location;
      return new StoredTensor({ arena, offset: offset / STORED_TYPES[type].bytes, dtype: type, shape });
    },
    bytesOf(location) {
      if (!isFileType(location.dtype)) return float32Bytes(location);
      const type = typeOf(location.dtype);
      const bytes = STORED_TYPES[type].bytes * valuesOf(location);
      return isMapped(location, type) ? { allocated: 0, mapped: bytes } : { allocated: bytes, mapped: 0 };
    },
  };
}

/**
 * Maps the file that is open already, even if another one has its path by now. Returns undefined if its file system cannot map files.
 */
function mapFile(location: TensorLocation, name: string): Arena | undefined {
  const { path, file, fileSize } = location;
  try {
    return Arena.map(`/proc/self/fd/${file}`, fileSize);
  } catch (error) {
    const { message } = error as Error;
    if (/: No such device$/.test(message)) return undefined;
    if (!/: Cannot allocate memory$/.test(message)) throw cannotRead(location, name, error);
    throw new Error(
      `${path}: expected ${fileSize} bytes of address space to map the file, found less. Raise \`ulimit -v\`.`,
      { cause: error },
    );
  }
}

function readIntoArena(location: TensorLocation, fileType: FileType, dtype: WeightType, name: string): StoredTensor {
  const { shape } = location;
  const bytes = valuesOf(location) * STORED_TYPES[dtype].bytes;
  const arena = storing(location, name, () => Arena.allocate(bytes));
  const tensor = new StoredTensor({ arena, offset: 0, dtype, shape });
  readInto(tensor, location, fileType, name);
  return tensor;
}

/** Reads a tensor of a file into memory. If it cannot be read, the memory is freed. */
function readInto(tensor: StoredTensor, location: TensorLocation, fileType: FileType, name: string): void {
  const { arena, dtype } = tensor.range;
  const { file, offset } = location;
  try {
    const type = STORED_TYPES[dtype].name;
    nativeStore()!.read(arena.number, 0, file, offset, valuesOf(location), fileType, type);
  } catch (error) {
    tensor.dispose();
    throw cannotRead(location, name, error);
  }
}

function storing<T>({ path }: TensorLocation, name: string, allocate: () => T): T {
  try {
    return allocate();
  } catch (error) {
    throw new Error(`${path}: tensor "${printable(name)}": ${(error as Error).message}`, { cause: error });
  }
}

/** Weights as float32 tensors. */
function tensorStorage(dtype: 'auto' | WeightType): WeightStorage {
  return {
    async loadTensor(source, name) {
      const found = source.locate?.(name).dtype;
      if (dtype === 'bfloat16' && found !== 'BF16') {
        throw new Error(
          `${source.where ?? 'checkpoint'}: tensor "${printable(name)}": expected BF16, found ${found}: without native operations ` +
            'on this device no values are rounded to bfloat16. Use dtype float32.',
        );
      }
      return readTensor(source, name);
    },
    bytesOf: float32Bytes,
  };
}

const float32Bytes = (location: TensorLocation): WeightBytes => ({ allocated: 4 * valuesOf(location), mapped: 0 });

const valuesOf = ({ shape }: TensorLocation) => tf.util.sizeFromShape([...shape]);

function checkShape({ path, shape }: TensorLocation, name: string): void {
  if (!shape.some((size) => size > MAX_SIZE)) return;
  throw new RangeError(
    `${path}: tensor "${printable(name)}": expected sizes of at most ${MAX_SIZE}, found ${describe(shape)}.`,
  );
}

const cannotRead = ({ path }: TensorLocation, name: string, error: unknown) =>
  new Error(
    `${path}: tensor "${printable(name)}" could not be read: ${(error as Error).message}. ` +
      'The file was complete when it was opened: is another process rewriting it?',
    { cause: error },
  );
