import { access, type FileHandle, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile } from '@wpo/internal/node/files';
import { requireFreeSpace } from '@wpo/internal/node/write-errors';
import { bf16ToF32, f32ToBf16, f32ToF16, littleEndianHost, type WeightDtype } from '../dtype';
import { makeHeader, SafetensorsError, type TensorEntry, tensorByteLength } from '../safetensors';
import { INDEX_FILE, inChunks, WEIGHTS_FILE, writeFully } from './file-io';

/**
 * Values to write: float32, or bfloat16 bit patterns, which are written as they are to a BF16 tensor. Values of a U8 tensor are bytes, and
 * only they are.
 */
export type ValuesToWrite = Float32Array | Uint16Array | Uint8Array;

/** A tensor to write. */
export interface TensorValues {
  readonly name: string;
  readonly shape: readonly number[];
  /**
   * The values in row-major order: one array, or consecutive parts of any length. Called once, just before the tensor is
   * written. The values are not kept, and a part is written before the next one is requested.
   */
  data(): ValuesToWrite | Promise<ValuesToWrite> | Iterable<ValuesToWrite> | AsyncIterable<ValuesToWrite>;
}

/** A tensor to write, and its type in the file. BF16 and F16 round to nearest, ties to even. */
export interface TensorToWrite extends TensorValues {
  readonly dtype: WeightDtype | 'U8';
}

/**
 * Writes one safetensors file: the header, then one tensor at a time. The file appears under `path` only when it is complete
 * and on the disk; until then an older file stays.
 *
 * @param options.metadata for the header; default `format: 'pt'`, which transformers requires
 * @throws SafetensorsError for a repeated name; RangeError if the number of values does not match the shape, or a finite value is too
 *   large for F16
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<TensorToWrite>,
  options: { readonly metadata?: Readonly<Record<string, string>> } = {},
): Promise<void> {
  if (!littleEndianHost) {
    throw new Error(`${path}: safetensors files are only written on little-endian machines; this one is big-endian.`);
  }
  const sources = new Map<string, TensorToWrite>();
  const listed = [...tensors];
  const { bytes, header } = makeHeader(listed, options.metadata);
  for (const source of listed) sources.set(source.name, source);
  const size = [...header.tensors.values()].reduce((total, { byteLength }) => total + byteLength, bytes.length);
  await requireFreeSpace(path, size, 'Delete what is no longer needed, or write to another disk.');
  await replaceFile(path, async (file) => {
    await writeFully(file, bytes, 0);
    for (const [name, entry] of header.tensors) await writeTensor(file, sources.get(name)!, entry, path);
  });
}

/**
 * Writes a checkpoint with the file names of transformers' `save_pretrained`: `model.safetensors`, or, if that would exceed
 * `maxShardBytes`, shards `model-00001-of-0000N.safetensors` with `model.safetensors.index.json`. The index is written last, so
 * a folder without it is incomplete.
 *
 * @param dir an existing folder without a checkpoint
 * @param tensors in the order in which they fill the shards
 * @param options.maxShardBytes most bytes of tensors per shard; a larger tensor gets a shard of its own. Default 5e9, as on the
 *   Hugging Face Hub
 * @returns the names of the written files
 * @throws Error if the folder holds a checkpoint; the errors of `writeSafetensors`
 */
export async function writeCheckpoint(
  dir: string,
  tensors: Iterable<TensorToWrite>,
  options: { readonly maxShardBytes?: number } = {},
): Promise<string[]> {
  const { maxShardBytes = 5e9 } = options;
  if (!(maxShardBytes > 0))
    throw new RangeError(`writeCheckpoint: maxShardBytes: expected a number above 0, found ${maxShardBytes}.`);
  await refuseOldCheckpoint(dir);
  const listed = [...tensors];
  const repeated = listed.find(({ name }, i) => listed.findIndex((other) => other.name === name) !== i);
  if (repeated) throw new SafetensorsError(`${dir}: expected unique tensor names, found "${repeated.name}" twice.`);
  const shards = splitIntoShards(listed, maxShardBytes);
  if (shards.length === 1) {
    await writeSafetensors(join(dir, WEIGHTS_FILE), shards[0]!);
    return [WEIGHTS_FILE];
  }
  const pad = (n: number) => String(n).padStart(5, '0');
  const files = shards.map((_, i) => `model-${pad(i + 1)}-of-${pad(shards.length)}.safetensors`);
  for (const [i, shard] of shards.entries()) await writeSafetensors(join(dir, files[i]!), shard);
  await replaceFile(join(dir, INDEX_FILE), indexText(shards, files));
  return [...files, INDEX_FILE];
}

/** Whether a file of a model's folder belongs to its checkpoint. */
export const isCheckpointFile = (name: string): boolean =>
  name === INDEX_FILE || /^model(-\d{5}-of-\d{5})?\.safetensors$/.test(name);

function splitIntoShards(tensors: readonly TensorToWrite[], maxBytes: number): TensorToWrite[][] {
  const shards: TensorToWrite[][] = [[]];
  let filled = 0;
  for (const tensor of tensors) {
    const bytes = tensorByteLength(tensor.name, tensor);
    if (filled > 0 && filled + bytes > maxBytes) {
      shards.push([]);
      filled = 0;
    }
    shards.at(-1)!.push(tensor);
    filled += bytes;
  }
  return shards;
}

function indexText(shards: readonly TensorToWrite[][], files: readonly string[]): string {
  const all = shards.flat();
  const metadata = {
    total_parameters: all.reduce((sum, { shape }) => sum + shape.reduce((n, d) => n * d, 1), 0),
    total_size: all.reduce((sum, tensor) => sum + tensorByteLength(tensor.name, tensor), 0),
  };
  const placed = shards.flatMap((shard, i) => shard.map(({ name }) => [name, files[i]!] as const));
  const weightMap = Object.fromEntries(placed.sort(([a], [b]) => (a < b ? -1 : 1)));
  return `${JSON.stringify({ metadata, weight_map: weightMap }, null, 2)}\n`;
}

async function refuseOldCheckpoint(dir: string): Promise<void> {
  await access(dir);
  const old = (await readdir(dir)).find(isCheckpointFile);
  if (old === undefined) return;
  throw new Error(
    `${dir}: expected a folder without a checkpoint, found ${old}: readers would mix old and new shards. Write to a new ` +
      'folder, or use writeModelFolder, which replaces a model.',
  );
}

async function writeTensor(
  file: FileHandle,
  source: TensorToWrite,
  { dtype, offset, byteLength }: TensorEntry,
  path: string,
): Promise<void> {
  const type = dtype as TensorToWrite['dtype'];
  const width = WIDTHS[type];
  const expected = byteLength / width;
  const where = `${path}: tensor "${source.name}"`;
  let written = 0;
  for await (const values of partsOf(await source.data())) {
    if (written + values.length <= expected) {
      await writeValues(file, values, type, offset + written * width, where);
    }
    written += values.length;
  }
  if (written === expected) return;
  throw new RangeError(
    `${where}: data(): expected ${expected} values for the shape [${source.shape.join(', ')}], found ${written}.`,
  );
}

const partsOf = (values: Awaited<ReturnType<TensorValues['data']>>) => (ArrayBuffer.isView(values) ? [values] : values);

/** Bytes per value. */
const WIDTHS = { F32: 4, BF16: 2, F16: 2, U8: 1 } as const;

async function writeValues(
  file: FileHandle,
  values: ValuesToWrite,
  dtype: TensorToWrite['dtype'],
  offset: number,
  where: string,
): Promise<void> {
  const width = WIDTHS[dtype];
  if (values instanceof Uint8Array !== (dtype === 'U8')) {
    throw new TypeError(
      `${where}: data(): expected ${dtype === 'U8' ? 'a Uint8Array' : 'a Float32Array or Uint16Array'} for ${dtype}, found another one.`,
    );
  }
  await inChunks(values.length * width, (start, end, scratch) => {
    const part = values.subarray(start / width, end / width);
    const chunk = part instanceof Uint8Array ? part : CONVERSIONS[dtype as WeightDtype](part, scratch, where);
    return writeFully(file, new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength), offset + start);
  });
}

type Weights = Float32Array | Uint16Array;

/** Values in a type of the file: the values themselves, or converted in `scratch`. */
const CONVERSIONS = {
  F32: (values: Weights, scratch: ArrayBuffer) =>
    values instanceof Float32Array ? values : bf16ToF32(values, new Float32Array(scratch, 0, values.length)),
  BF16: (values: Weights, scratch: ArrayBuffer) =>
    values instanceof Uint16Array ? values : f32ToBf16(values, new Uint16Array(scratch, 0, values.length)),
  F16(values: Weights, scratch: ArrayBuffer, where: string) {
    const floats = values instanceof Float32Array ? values : bf16ToF32(values);
    const bits = f32ToF16(floats, new Uint16Array(scratch, 0, values.length));
    const tooLarge = bits.findIndex((b, i) => (b & 0x7fff) === 0x7c00 && Number.isFinite(floats[i]));
    if (tooLarge < 0) return bits;
    throw new RangeError(
      `${where}: expected values of float16, at most 65504, found ${floats[tooLarge]}. Write it in bfloat16 or float32.`,
    );
  },
};
