import { access, type FileHandle, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { f32ToBf16, littleEndianHost, type WeightDtype } from '../dtype';
import { layoutHeader, SafetensorsError, type TensorEntry, tensorByteLength } from '../safetensors';
import { writeDurably } from './durable';
import { inPieces, writeFully } from './pieces';

/** A tensor to be written. */
export interface TensorValues {
  readonly name: string;
  readonly shape: readonly number[];
  /** The values in row-major order. Called once, when the tensor's turn comes; not held after it is written. */
  data(): Float32Array | Promise<Float32Array>;
}

/** A tensor to be written and the type in which it is: BF16 rounds to nearest, ties to even. */
export interface TensorToWrite extends TensorValues {
  readonly dtype: WeightDtype;
}

/**
 * Writes one safetensors file. Names, types and shapes are laid out first; then each tensor's values are asked for and
 * written, one tensor in memory at a time. The file appears under `path` only once it is whole and on the disk; an older
 * one stays until then.
 *
 * @param path the file
 * @param tensors at least their names and shapes are held at once
 * @param options.metadata text by key for the header; transformers wants `format: 'pt'`, the default
 * @throws SafetensorsError where names repeat; RangeError where a tensor's values are not as many as its shape says
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<TensorToWrite>,
  options: { readonly metadata?: Readonly<Record<string, string>> } = {},
): Promise<void> {
  if (!littleEndianHost) {
    throw new Error(`${path}: this machine keeps numbers highest byte first; safetensors files are written on others.`);
  }
  const sources = new Map<string, TensorToWrite>();
  const listed = [...tensors];
  const { bytes, header } = layoutHeader(listed, options.metadata);
  for (const source of listed) sources.set(source.name, source);
  await writeDurably(path, async (file) => {
    await writeFully(file, bytes, 0);
    for (const [name, entry] of header.tensors) await writeTensor(file, sources.get(name)!, entry, path);
  });
}

/**
 * Writes a checkpoint as transformers' `save_pretrained` lays it out: `model.safetensors`, or, where that would be
 * larger than `maxShardBytes`, `model-00001-of-0000N.safetensors` and so on with `model.safetensors.index.json`. The
 * index comes last, so a folder without it is not whole.
 *
 * @param dir an existing folder that holds no checkpoint yet
 * @param tensors in the order in which they fill the shards
 * @param options.maxShardBytes the most bytes of tensors a shard; a single larger tensor gets a shard of its own.
 *   Default 5e9, as on the Hugging Face Hub
 * @returns the names of the files written
 * @throws Error where the folder holds a checkpoint; as `writeSafetensors` does
 */
export async function writeCheckpoint(
  dir: string,
  tensors: Iterable<TensorToWrite>,
  options: { readonly maxShardBytes?: number } = {},
): Promise<string[]> {
  const { maxShardBytes = 5e9 } = options;
  if (!(maxShardBytes > 0)) throw new RangeError(`maxShardBytes is ${maxShardBytes}; wanted a number above 0.`);
  await refuseOldCheckpoint(dir);
  const listed = [...tensors];
  const repeated = listed.find(({ name }, i) => listed.findIndex((other) => other.name === name) !== i);
  if (repeated) throw new SafetensorsError(`${dir}: two tensors are named "${repeated.name}"; wanted one.`);
  const shards = splitIntoShards(listed, maxShardBytes);
  if (shards.length === 1) {
    await writeSafetensors(join(dir, 'model.safetensors'), shards[0]!);
    return ['model.safetensors'];
  }
  const pad = (n: number) => String(n).padStart(5, '0');
  const files = shards.map((_, i) => `model-${pad(i + 1)}-of-${pad(shards.length)}.safetensors`);
  for (const [i, shard] of shards.entries()) await writeSafetensors(join(dir, files[i]!), shard);
  await writeDurably(join(dir, INDEX), (file) => file.writeFile(indexText(shards, files)));
  return [...files, INDEX];
}

const INDEX = 'model.safetensors.index.json';

/** Whether a file in a model's folder is of its checkpoint. */
export const isCheckpointFile = (name: string): boolean =>
  name === INDEX || /^model(-\d{5}-of-\d{5})?\.safetensors$/.test(name);

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
    `${dir}: already holds ${old}; wanted a folder without a checkpoint, since old and new shards would be read as one. ` +
      'Write to a new folder, or use writeModelFolder, which replaces a whole one.',
  );
}

async function writeTensor(
  file: FileHandle,
  source: TensorToWrite,
  { dtype, offset, byteLength }: TensorEntry,
  path: string,
): Promise<void> {
  const values = await source.data();
  const width = dtype === 'F32' ? 4 : 2;
  if (values.length !== byteLength / width) {
    throw new RangeError(
      `${path}: tensor "${source.name}": data() gave ${values.length} values; ` +
        `wanted ${byteLength / width}, as shape [${source.shape.join(', ')}] has.`,
    );
  }
  await inPieces(byteLength, (start, end, scratch) => {
    const piece = values.subarray(start / width, end / width);
    if (dtype === 'F32')
      return writeFully(file, new Uint8Array(piece.buffer, piece.byteOffset, end - start), offset + start);
    f32ToBf16(piece, new Uint16Array(scratch, 0, piece.length));
    return writeFully(file, new Uint8Array(scratch, 0, end - start), offset + start);
  });
}
