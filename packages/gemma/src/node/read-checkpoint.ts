import { type FileHandle, open, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { bf16ToF32, f16ToF32, littleEndianHost } from '../dtype';
import { headerByteLength, parseHeader, SafetensorsError, type TensorEntry, type TensorSpec } from '../safetensors';
import type { TensorLocation } from '../weights';
import { inPieces, readFully } from './pieces';

/** Named tensors on disk, read one at a time, in any order and as often as wanted, until closed. */
export interface Checkpoint {
  /** The file or folder, for messages. */
  readonly where: string;
  /** All tensors' names, in the order in which they lie on disk: reading them in this order is fastest. */
  names(): string[];
  has(name: string): boolean;
  /** Type and shape. Throws where there is no such tensor. */
  info(name: string): TensorSpec;
  /** The values in row-major order, as float32: F32 as it is, BF16 and F16 widened. Throws for any other type. */
  read(name: string): Promise<Float32Array>;
  /** Where it lies: which bytes of which open file. */
  locate(name: string): TensorLocation;
  /** The bytes as they lie in the file, little-endian, whatever the type. */
  readRaw(name: string): Promise<ArrayBuffer>;
  /** Closes the files; safe to call twice. */
  close(): Promise<void>;
}

interface OpenFile {
  readonly path: string;
  readonly handle: FileHandle;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
}

const SINGLE = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';

/**
 * Opens a Hugging Face checkpoint: `model.safetensors`, or, where there is none, the shards that
 * `model.safetensors.index.json` names. Headers are checked against the files, the index against the shards; no tensor
 * is read yet.
 *
 * @param dir the model's folder
 * @throws SafetensorsError where a file is damaged, or index and shards disagree; Error where there is neither file
 */
export async function openCheckpoint(dir: string): Promise<Checkpoint> {
  if (await isFile(join(dir, SINGLE))) return openSafetensors(join(dir, SINGLE));
  const indexPath = join(dir, INDEX);
  if (!(await isFile(indexPath))) {
    throw new Error(
      `${dir}: holds neither ${SINGLE} nor ${INDEX}; wanted a folder as transformers' save_pretrained writes it. ` +
        'PyTorch .bin files are not read: save the model again with safetensors.',
    );
  }
  const weightMap = await readWeightMap(indexPath);
  const files = await openAll(
    [...new Set(weightMap.values())].sort().map((shard) => join(dir, shard)),
    indexPath,
  );
  try {
    checkIndex(weightMap, files, indexPath);
  } catch (error) {
    await closeAll(files);
    throw error;
  }
  return checkpointOf(files, dir);
}

/**
 * Opens one safetensors file, its header checked against the file; no tensor is read yet.
 *
 * @throws SafetensorsError where the file is not whole and well-formed
 */
export async function openSafetensors(path: string): Promise<Checkpoint> {
  return checkpointOf([await openFile(path)], path);
}

function checkpointOf(files: readonly OpenFile[], where: string): Checkpoint {
  const found = new Map(files.flatMap((file) => [...file.tensors].map(([name, entry]) => [name, { file, entry }])));
  const find = (name: string) => {
    const tensor = found.get(name);
    if (tensor) return tensor;
    throw new Error(`${where}: no tensor is named "${name}"; it holds ${found.size}, ${someOf([...found.keys()])}.`);
  };
  return {
    where,
    names: () => [...found.keys()],
    has: (name) => found.has(name),
    info: (name) => {
      const { dtype, shape } = find(name).entry;
      return { dtype, shape };
    },
    locate: (name) => {
      const { file, entry } = find(name);
      const { dtype, shape, offset } = entry;
      return { path: file.path, file: file.handle.fd, offset, dtype, shape };
    },
    read: async (name) => readValues(name, find(name)),
    readRaw: async (name) => readBytes(name, find(name)),
    close: () => closeAll(files),
  };
}

interface FoundTensor {
  readonly file: OpenFile;
  readonly entry: TensorEntry;
}

async function readValues(name: string, { file, entry }: FoundTensor): Promise<Float32Array> {
  const where = `${file.path}: tensor "${name}"`;
  const { dtype, offset, byteLength } = entry;
  if (dtype === 'F32') return new Float32Array(await readBytes(name, { file, entry }));
  if (dtype !== 'BF16' && dtype !== 'F16') {
    throw new Error(
      `${where} is ${dtype}; wanted F32, BF16 or F16. Quantised checkpoints are not read: use the original weights.`,
    );
  }
  const widen = dtype === 'BF16' ? bf16ToF32 : f16ToF32;
  const values = new Float32Array(byteLength / 2);
  await inPieces(byteLength, async (start, end, scratch) => {
    const bytes = new Uint8Array(scratch, 0, end - start);
    await readFully(file.handle, bytes, offset + start, where);
    widen(new Uint16Array(scratch, 0, bytes.length / 2), values.subarray(start / 2, end / 2));
  });
  return values;
}

/** An ArrayBuffer, since it may be larger than Node 20 lets a Uint8Array be. */
async function readBytes(name: string, { file, entry }: FoundTensor): Promise<ArrayBuffer> {
  const bytes = new ArrayBuffer(entry.byteLength);
  await inPieces(entry.byteLength, (start, end) => {
    const piece = new Uint8Array(bytes, start, end - start);
    return readFully(file.handle, piece, entry.offset + start, `${file.path}: tensor "${name}"`);
  });
  return bytes;
}

async function openFile(path: string): Promise<OpenFile> {
  if (!littleEndianHost) {
    throw new Error(
      `${path}: this machine keeps numbers highest byte first; safetensors files are read on others only.`,
    );
  }
  const handle = await open(path, 'r');
  try {
    const { size } = await handle.stat();
    const prefix = new Uint8Array(Math.min(8, size));
    await readFully(handle, prefix, 0, path);
    const head = new Uint8Array(headerByteLength(prefix, size, path));
    await readFully(handle, head, 0, path);
    return { path, handle, tensors: parseHeader(head, size, path).tensors };
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
          `${indexPath}: names the shard ${basename(path)}, which is not in ${dirname(path)}. Fetch the missing file.`,
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

/** The index's `weight_map`: tensor name to the shard's file name. */
async function readWeightMap(indexPath: string): Promise<Map<string, string>> {
  const refuse = (found: string) =>
    new SafetensorsError(`${indexPath}: ${found}; wanted {"weight_map": {tensor: "model-….safetensors", …}}.`);
  let index: unknown;
  try {
    index = JSON.parse(await readFile(indexPath, 'utf8'));
  } catch (error) {
    if (error instanceof SyntaxError) throw refuse(`not JSON (${error.message})`);
    throw error;
  }
  const weightMap = isObject(index) ? index.weight_map : undefined;
  if (!isObject(weightMap)) throw refuse('has no weight_map object');
  return new Map(
    Object.entries(weightMap).map(([name, shard]) => {
      if (typeof shard === 'string' && shard.endsWith('.safetensors') && !/[/\\]/.test(shard)) return [name, shard];
      throw refuse(`weight_map "${name}" is ${JSON.stringify(shard)}, not the name of a .safetensors file beside it`);
    }),
  );
}

/** Every tensor in the shard that the index says, and none that it does not name. */
function checkIndex(weightMap: ReadonlyMap<string, string>, files: readonly OpenFile[], indexPath: string): void {
  const shards = new Map(files.map((file) => [basename(file.path), file.tensors]));
  const missing = [...weightMap].filter(([name, shard]) => !shards.get(shard)?.has(name));
  if (missing.length > 0) {
    const [name, shard] = missing[0]!;
    throw new SafetensorsError(
      `${indexPath}: says that "${name}" is in ${shard}, which does not hold it (${missing.length} such). ` +
        'The shards and the index are of different saves: fetch or save them together.',
    );
  }
  for (const [shard, tensors] of shards) {
    const extra = [...tensors.keys()].filter((name) => weightMap.get(name) !== shard);
    if (extra.length === 0) continue;
    throw new SafetensorsError(
      `${indexPath}: does not list ${extra.length} of the tensors in ${shard}: ${someOf(extra)}. ` +
        'The shards and the index are of different saves: fetch or save them together.',
    );
  }
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}

const someOf = (names: readonly string[]) =>
  names.length > 3 ? `${names.slice(0, 3).join(', ')} and others` : names.join(', ') || 'none';

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
