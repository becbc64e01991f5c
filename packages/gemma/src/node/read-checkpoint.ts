import { type FileHandle, open, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { describe } from '@wpo/internal/describe';
import { isObject } from '@wpo/internal/json';
import { readJsonFile } from '@wpo/internal/node/json-file';
import { printable } from '@wpo/internal/printable';
import { bf16ToF32, f16ToF32, littleEndianHost } from '../dtype';
import { headerByteLength, parseHeader, SafetensorsError, type TensorEntry, type TensorSpec } from '../safetensors';
import type { TensorLocation } from '../weights';
import { INDEX_FILE, inChunks, readFully, WEIGHTS_FILE } from './file-io';
import { checkModelFolder } from './not-a-model';

/** Consecutive values of a tensor, in row-major order. */
export interface ValueRange {
  /** The index of the first value. */
  readonly start: number;
  readonly count: number;
}

/** Named tensors in open files. They are read one at a time, in any order and as often as needed. */
export interface Checkpoint {
  /** The path of the file or folder, for messages. */
  readonly where: string;
  /** What is unusual about the checkpoint, although it can be read. To be shown to the user. */
  readonly warnings: readonly string[];
  /** All tensor names in file order, the fastest order to read them in. */
  names(): string[];
  has(name: string): boolean;
  /** Type and shape. @throws Error if there is no such tensor */
  info(name: string): TensorSpec;
  /**
   * The values in float32, row-major; BF16 and F16 are widened.
   *
   * @param range default all values
   * @throws Error for any other type; RangeError for a range beyond the tensor
   */
  read(name: string, range?: ValueRange): Promise<Float32Array>;
  /** The position of the tensor's bytes in its open file. */
  locate(name: string): TensorLocation;
  /**
   * The values' little-endian bytes, for any type.
   *
   * @param range default all values
   * @throws RangeError for a range beyond the tensor
   */
  readRaw(name: string, range?: ValueRange): Promise<ArrayBuffer>;
  /** Closes the files; safe to call twice. */
  close(): Promise<void>;
}

interface OpenFile {
  readonly path: string;
  readonly handle: FileHandle;
  readonly size: number;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
}

/**
 * Opens a Hugging Face checkpoint: `model.safetensors`, or else the shards that `model.safetensors.index.json` names. It checks
 * headers against file sizes and the index against the shards, and reads no tensor yet.
 *
 * @param dir the model's folder
 * @throws SafetensorsError if a file is damaged, or the index and the shards disagree; Error if there is no checkpoint
 */
export async function openCheckpoint(dir: string): Promise<Checkpoint> {
  if (await isFile(join(dir, WEIGHTS_FILE))) return openSafetensors(join(dir, WEIGHTS_FILE));
  const indexPath = join(dir, INDEX_FILE);
  if (!(await isFile(indexPath))) {
    await checkModelFolder(dir);
    throw new Error(
      `${dir}: expected ${WEIGHTS_FILE} or ${INDEX_FILE}, found neither, or a link that leads nowhere. Download the weights again.`,
    );
  }
  const weightMap = await readWeightMap(indexPath);
  const files = await openAll(
    [...new Set(weightMap.values())].sort().map((shard) => join(dir, shard)),
    indexPath,
  );
  try {
    return checkpointOf(files, dir, checkIndex(weightMap, files, indexPath));
  } catch (error) {
    await closeAll(files);
    throw error;
  }
}

/**
 * Opens one safetensors file. It checks the header against the file size and reads no tensor yet.
 *
 * @throws SafetensorsError if the file is not complete and valid
 */
export async function openSafetensors(path: string): Promise<Checkpoint> {
  return checkpointOf([await openFile(path)], path);
}

function checkpointOf(files: readonly OpenFile[], where: string, warnings: readonly string[] = []): Checkpoint {
  const all = files.flatMap((file) => [...file.tensors].map(([name, entry]) => [name, { file, entry }] as const));
  // transformers' Gemma2Model, the model without its head, is saved without the prefix
  const isBare = all.some(([name]) => name === 'embed_tokens.weight');
  const found = new Map(isBare ? all.map(([name, tensor]) => [`model.${name}`, tensor]) : all);
  const find = (name: string) => {
    const tensor = found.get(name);
    if (tensor) return tensor;
    throw new Error(
      `${where}: expected a tensor ${describe(name)}, found ${found.size} others: ${someOf([...found.keys()])}.`,
    );
  };
  return {
    where,
    warnings,
    names: () => [...found.keys()],
    has: (name) => found.has(name),
    info: (name) => {
      const { dtype, shape } = find(name).entry;
      return { dtype, shape };
    },
    locate: (name) => {
      const { file, entry } = find(name);
      const { dtype, shape, offset } = entry;
      return { path: file.path, file: file.handle.fd, fileSize: file.size, offset, dtype, shape };
    },
    read: async (name, range) => readValues(name, within(name, find(name), range)),
    readRaw: async (name, range) => readBytes(name, within(name, find(name), range)),
    close: () => closeAll(files),
  };
}

interface FoundTensor {
  readonly file: OpenFile;
  readonly entry: TensorEntry;
}

/** The bytes of a range of a tensor's values. */
function within(name: string, { file, entry }: FoundTensor, range: ValueRange | undefined): FoundTensor {
  if (!range) return { file, entry };
  const { start, count } = range;
  const size = entry.shape.reduce((product, length) => product * length, 1);
  if (![start, count].every((n) => Number.isSafeInteger(n) && n >= 0) || start + count > size) {
    throw new RangeError(
      `${file.path}: tensor ${describe(name)}: range: expected whole numbers within its ${size} values, found ${count} values ` +
        `from ${start}.`,
    );
  }
  const width = entry.byteLength / (size || 1);
  return { file, entry: { ...entry, offset: entry.offset + start * width, byteLength: count * width } };
}

async function readValues(name: string, { file, entry }: FoundTensor): Promise<Float32Array> {
  const where = `${file.path}: tensor ${describe(name)}`;
  const { dtype, offset, byteLength } = entry;
  if (dtype === 'F32') return new Float32Array(await readBytes(name, { file, entry }));
  if (dtype !== 'BF16' && dtype !== 'F16') {
    throw new Error(
      `${where}: expected F32, BF16 or F16, found ${dtype}. Quantized checkpoints are not supported: use the original weights.`,
    );
  }
  const widen = dtype === 'BF16' ? bf16ToF32 : f16ToF32;
  const values = new Float32Array(byteLength / 2);
  await inChunks(byteLength, async (start, end, scratch) => {
    const bytes = new Uint8Array(scratch, 0, end - start);
    await readFully(file.handle, bytes, offset + start, where);
    widen(new Uint16Array(scratch, 0, bytes.length / 2), values.subarray(start / 2, end / 2));
  });
  return values;
}

/** Returns an ArrayBuffer, because it can be larger than the largest Uint8Array of Node 20. */
async function readBytes(name: string, { file, entry }: FoundTensor): Promise<ArrayBuffer> {
  const bytes = new ArrayBuffer(entry.byteLength);
  await inChunks(entry.byteLength, (start, end) => {
    const piece = new Uint8Array(bytes, start, end - start);
    return readFully(file.handle, piece, entry.offset + start, `${file.path}: tensor ${describe(name)}`);
  });
  return bytes;
}

async function openFile(path: string): Promise<OpenFile> {
  if (!littleEndianHost) {
    throw new Error(`${path}: safetensors files are only read on little-endian machines; this one is big-endian.`);
  }
  const handle = await open(path, 'r');
  try {
    const { size } = await handle.stat();
    const prefix = new Uint8Array(Math.min(8, size));
    await readFully(handle, prefix, 0, path);
    const head = new Uint8Array(headerByteLength(prefix, size, path));
    await readFully(handle, head, 0, path);
    return { path, handle, size, tensors: parseHeader(head, size, path).tensors };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function openAll(paths: readonly string[], indexPath: string): Promise<OpenFile[]> {
  const files: OpenFile[] = [];
  try {
    for (const path of paths) {
      if (!(await isFile(path))) {
        throw new SafetensorsError(
          `${indexPath}: expected the shard ${basename(path)} in ${dirname(path)}, found no such file. Download it.`,
        );
      }
      files.push(await openFile(path));
    }
    return files;
  } catch (error) {
    await closeAll(files);
    throw error;
  }
}

async function closeAll(files: readonly OpenFile[]): Promise<void> {
  await Promise.all(files.map((file) => file.handle.close()));
}

/** A file's name, without anything that leads elsewhere or that a terminal acts on. */
const isShardName = (shard: unknown): shard is string =>
  typeof shard === 'string' &&
  shard.endsWith('.safetensors') &&
  !/[/\\]/.test(shard) &&
  printable(shard, 255) === shard &&
  Buffer.byteLength(shard) <= 255;

/** The index's `weight_map`: tensor name to the shard's file name. */
async function readWeightMap(indexPath: string): Promise<Map<string, string>> {
  const expected = '{"weight_map": {tensor: "model-….safetensors", …}}';
  const refuse = (found: string) => new SafetensorsError(`${indexPath}: expected ${expected}, found ${found}.`);
  let index: unknown;
  try {
    index = await readJsonFile(indexPath, { expected, maxBytes: 1e8 });
  } catch (error) {
    throw new SafetensorsError((error as Error).message);
  }
  const weightMap = isObject(index) ? index.weight_map : undefined;
  if (!isObject(weightMap)) throw refuse('no weight_map object');
  const entries = Object.entries(weightMap);
  if (entries.length === 0) throw refuse('an empty weight_map');
  return new Map(
    entries.map(([name, shard]) => {
      if (isShardName(shard)) return [name, shard];
      throw refuse(
        `${describe(name)}: ${describe(shard)}, which is not the name of a .safetensors file in the same folder`,
      );
    }),
  );
}

/**
 * Checks that the shards hold the tensors that the index lists for them. Like transformers, it accepts tensors that the index does
 * not list, as long as each is in one shard.
 *
 * @returns warnings
 */
function checkIndex(
  weightMap: ReadonlyMap<string, string>,
  files: readonly OpenFile[],
  indexPath: string,
): readonly string[] {
  const shards = new Map(files.map((file) => [basename(file.path), file.tensors]));
  const missing = [...weightMap].filter(([name, shard]) => !shards.get(shard)?.has(name));
  if (missing.length > 0) {
    const [name, shard] = missing[0]!;
    throw new SafetensorsError(
      `${indexPath}: expected ${describe(name)} in ${shard}, found no such tensor there (${missing.length} tensors are missing). ` +
        DIFFERENT_SAVES,
    );
  }
  const places = new Map<string, string[]>();
  for (const [shard, tensors] of shards) {
    for (const name of tensors.keys()) places.set(name, [...(places.get(name) ?? []), shard]);
  }
  for (const [name, found] of places) {
    if (found.length === 1) continue;
    throw new SafetensorsError(
      `${indexPath}: expected ${describe(name)} in one shard, found it in ${found.length}: ${someOf(found)}. ${DIFFERENT_SAVES}`,
    );
  }
  const unlisted = [...places.keys()].filter((name) => !weightMap.has(name));
  if (unlisted.length === 0) return [];
  return [
    `${indexPath}: weight_map does not list ${unlisted.length} of the ${places.size} tensors of its shards: ${someOf(unlisted)}. ` +
      'They are read, too, as transformers does. If the shards are from different saves, download or save them together.',
  ];
}

const DIFFERENT_SAVES = 'The shards and the index are from different saves: download or save them together.';

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}

const someOf = (names: readonly string[]) =>
  names
    .slice(0, 3)
    .map((name) => printable(name, 200))
    .join(', ') + (names.length > 3 ? ' and others' : names.length === 0 ? 'none' : '');
