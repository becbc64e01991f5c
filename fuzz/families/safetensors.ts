// Damaged checkpoints: one file, or two shards with an index. What is read must be what the files hold, by a reader of our own: in
// JavaScript, in mapped files, and in mapped files that are cut off while they are in use.
import { mkdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { type Checkpoint, openCheckpoint } from '@wpo/gemma/node';
import fc from 'fast-check';
import { useNative } from '../../packages/tensorflow/src/kernels/native';
import { StoredTensor } from '../../packages/tensorflow/src/kernels/store';
import { weightStorage } from '../../packages/tensorflow/src/kernels/tensor-loader';
import { expectPlainError, type Family, mutatedBytes, mutatedJson } from '../family';

type Header = Record<
  string,
  { dtype: string; shape: number[]; data_offsets: [number, number] } | Record<string, string>
>;

const tensor = (dtype: string, shape: number[], begin: number, end: number) => ({
  dtype,
  shape,
  data_offsets: [begin, end] as [number, number],
});

/** Bytes of every kind: float32, bfloat16 and float16 numbers, subnormal and infinite ones and NaN included. */
const data = Uint8Array.from({ length: 64 }, (_, i) => (i * 37 + (i % 5 === 0 ? 0x7f : 0)) % 256);

const whole: Header = {
  __metadata__: { format: 'pt', note: 'café' },
  'model.norm.weight': tensor('F32', [2, 3], 0, 24),
  brain: tensor('BF16', [4], 24, 32),
  half: tensor('F16', [2, 2, 1], 32, 40),
  scalar: tensor('F32', [], 40, 44),
  empty: tensor('F32', [0, 7], 44, 44),
  count: tensor('I64', [2], 44, 60),
  flag: tensor('BOOL', [4], 60, 64),
};
const first: Header = { a: tensor('F32', [4], 0, 16), b: tensor('BF16', [24], 16, 64) };
const second: Header = { c: tensor('F16', [32], 0, 64) };

function file(header: unknown): Uint8Array {
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, data]);
}

const FIRST = 'model-00001-of-00002.safetensors';
const SECOND = 'model-00002-of-00002.safetensors';
const index = { metadata: { total_size: 128 }, weight_map: { a: FIRST, b: FIRST, c: SECOND } };

/** The files of a folder. */
type Files = Readonly<Record<string, Uint8Array>>;

interface Input {
  readonly files: Files;
  /** The number of bytes to which files are cut while they are mapped. */
  readonly cut: number;
}

const json = (value: unknown) => Buffer.from(JSON.stringify(value));
const shards = { [FIRST]: file(first), [SECOND]: file(second) };

const files: fc.Arbitrary<Files> = fc.oneof(
  mutatedBytes([file(whole)]).map((bytes) => ({ 'model.safetensors': bytes })),
  mutatedJson([whole]).map((header) => ({ 'model.safetensors': file(header) })),
  mutatedJson([index]).map((value) => ({ ...shards, 'model.safetensors.index.json': json(value) })),
  mutatedBytes([json(index)]).map((bytes) => ({ ...shards, 'model.safetensors.index.json': bytes })),
  mutatedBytes([file(first)]).map((bytes) => ({
    ...shards,
    [FIRST]: bytes,
    'model.safetensors.index.json': json(index),
  })),
  mutatedJson([second]).map((header) => ({
    ...shards,
    [SECOND]: file(header),
    'model.safetensors.index.json': json(index),
  })),
);

const WIDTH: Readonly<Record<string, number>> = { F32: 4, BF16: 2, F16: 2 };

/** The bytes of each tensor in a file, by the format's definition and without any check. */
function tensorsOf(bytes: Uint8Array): Map<string, { dtype: string; shape: number[]; bytes: Buffer }> {
  const buffer = Buffer.from(bytes);
  const start = 8 + Number(buffer.readBigUInt64LE(0));
  const { __metadata__: _, ...entries } = JSON.parse(buffer.subarray(8, start).toString('utf8')) as Header;
  return new Map(
    Object.entries(entries).map(([name, entry]) => {
      // biome-ignore format: one line
      const { dtype, shape, data_offsets: [begin, end] } = entry as ReturnType<typeof tensor>;
      return [name, { dtype, shape, bytes: buffer.subarray(start + begin, start + end) }];
    }),
  );
}

function valuesOf(dtype: string, bytes: Buffer): number[] {
  return Array.from({ length: bytes.length / WIDTH[dtype]! }, (_, i) => {
    if (dtype === 'F32') return bytes.readFloatLE(4 * i);
    const bits = bytes.readUInt16LE(2 * i);
    if (dtype === 'BF16') return Buffer.from([0, 0, bits & 255, bits >> 8]).readFloatLE();
    const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    if (exponent === 31) return fraction ? Number.NaN : sign * Infinity;
    return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
  });
}

async function compare(checkpoint: Checkpoint, files: Files): Promise<void> {
  const indexBytes = files['model.safetensors.index.json'];
  const names = indexBytes
    ? [...new Set(Object.values((JSON.parse(readText(indexBytes)) as typeof index).weight_map))]
    : ['model.safetensors'];
  const expected = new Map(names.flatMap((name) => [...tensorsOf(files[name]!)]));
  const found = checkpoint.names().sort();
  const isBare = expected.has('embed_tokens.weight');
  if (isBare || JSON.stringify(found) !== JSON.stringify([...expected.keys()].sort())) {
    throw new Error(`expected the tensors ${[...expected.keys()]}, found ${found}`);
  }
  for (const [name, { dtype, shape, bytes }] of expected) {
    const info = checkpoint.info(name);
    if (info.dtype !== dtype || JSON.stringify(info.shape) !== JSON.stringify(shape))
      throw new Error(`${name}: another type or shape`);
    if (!bytes.equals(Buffer.from(await checkpoint.readRaw(name)))) throw new Error(`${name}: other bytes`);
    if (WIDTH[dtype] === undefined) {
      await checkpoint.read(name).then(() => Promise.reject(new Error(`${name}: ${dtype} was read`)), expectPlainError);
    } else {
      expectValues(name, await checkpoint.read(name), valuesOf(dtype, bytes));
    }
  }
}

function expectValues(name: string, found: Float32Array, right: readonly number[]): void {
  if (found.length === right.length && found.every((value, i) => Object.is(value, right[i]))) return;
  throw new Error(`${name}: other values`);
}

/** Reads the weights of mapped files, cuts the files off, and reads them again. */
async function compareMapped(checkpoint: Checkpoint, cut: number, count: (outcome: string) => void): Promise<void> {
  const storage = weightStorage();
  const weights: [name: string, weight: StoredTensor, values: number[]][] = [];
  try {
    for (const name of checkpoint.names().filter((name) => WIDTH[checkpoint.info(name).dtype] !== undefined)) {
      const weight = await storage.loadTensor(checkpoint, name).catch((error) => {
        if (!(error instanceof RangeError)) throw error; // a size above those of native code
        expectPlainError(error);
      });
      if (!(weight instanceof StoredTensor)) continue;
      const values = valuesOf(checkpoint.info(name).dtype, Buffer.from(await checkpoint.readRaw(name)));
      weights.push([name, weight, values]);
      expectValues(name, weight.read(), values);
    }
    const paths = new Set(weights.map(([name]) => checkpoint.locate(name).path));
    for (const path of paths) truncateSync(path, Math.min(cut, statSync(path).size - 1));
    for (const [name, weight, values] of weights) {
      const isMapped = weight.range.offset > 0; // after the header; memory of its own begins with the values
      if (isMapped) expectChanged(name, weight);
      else expectValues(name, weight.read(), values);
    }
    if (paths.size > 0) count('mapped and cut off');
  } finally {
    for (const [, weight] of weights) weight.dispose();
  }
}

function expectChanged(name: string, weight: StoredTensor): void {
  try {
    weight.read();
  } catch (error) {
    expectPlainError(error);
    return;
  }
  throw new Error(`${name}: values of a file that was cut off were read`);
}

const require = createRequire(join(process.cwd(), 'packages/tensorflow/package.json'));
const tfjs = dirname(require.resolve('@tensorflow/tfjs-node-gpu/package.json'));
useNative({ device: 'cpu', ...require(join(tfjs, 'lib/napi-v8/kernels.node')) });

const readText = (bytes: Uint8Array) =>
  Buffer.from(bytes)
    .toString('utf8')
    .replace(/^\ufeff/, '');

export const family: Family<Input> = {
  name: 'safetensors',
  input: fc.record({ files, cut: fc.nat({ max: 600 }) }),
  async check({ files, cut }, { folder, count }) {
    const path = join(folder, 'model');
    rmSync(path, { recursive: true, force: true });
    mkdirSync(path);
    for (const [name, bytes] of Object.entries(files)) writeFileSync(join(path, name), bytes);
    let checkpoint: Checkpoint;
    try {
      checkpoint = await openCheckpoint(path);
    } catch (error) {
      expectPlainError(error);
      count('refused');
      return;
    }
    try {
      await compare(checkpoint, files);
      count(checkpoint.warnings.length > 0 ? 'read with a warning' : 'read right');
      await compareMapped(checkpoint, cut, count);
    } finally {
      await checkpoint.close();
    }
  },
};
