import '@wpo/tensorflow';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import {
  adapted,
  type FrozenWeight,
  type Gemma2,
  type Gemma2Config,
  gemmaPolicy,
  generate,
  type Kernels,
  loadWeights,
  ModelError,
  parametersOf,
  sequenceLogits,
  type TensorSource,
  tensorShapes,
} from '@wpo/gemma';
import { type Checkpoint, openSafetensors, writeSafetensors } from '@wpo/gemma/node';
import { seededRandom } from '@wpo/internal/random';
import { storedBytes, tensorflowKernels, weightStorage } from '@wpo/tensorflow/kernels';
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { bf16ToF32, f32ToBf16 } from '../../gemma/src/dtype';
import { nativeStore } from '../src/kernels/native';
import { program } from '../src/kernels/program';
import { StoredTensor } from '../src/kernels/store';
import { limitIsa } from './tiers';

const folder = mkdtempSync(join(tmpdir(), 'wpo-weight-storage-'));
afterAll(() => rmSync(folder, { recursive: true }));

let before: ReturnType<typeof storedBytes>;
let tensors: number;
beforeEach(() => {
  before = storedBytes();
  tensors = tf.memory().numTensors;
});
afterEach(() => {
  vi.restoreAllMocks();
  expect(storedBytes(), 'bytes of arenas that a test left').toEqual(before);
  expect(tf.memory().numTensors, 'tensors that a test left').toBe(tensors);
});

const rounded = (values: Float32Array) => bf16ToF32(f32ToBf16(values));
const sines = (count: number, seed = 0) => Float32Array.from({ length: count }, (_, i) => Math.sin(seed + i));

/** Writes a file by hand, with `shift` more bytes in the header, calls `use`, and closes the file. */
async function withFile<T>(
  entries: Readonly<Record<string, { dtype: 'F32' | 'BF16' | 'F16'; bytes: ArrayBuffer }>>,
  use: (file: Checkpoint, path: string) => Promise<T>,
  shift = 0,
): Promise<T> {
  let end = 0;
  const header: Record<string, unknown> = {};
  for (const [name, { dtype, bytes }] of Object.entries(entries)) {
    const start = end;
    end += bytes.byteLength;
    header[name] = { dtype, shape: [bytes.byteLength / (dtype === 'F32' ? 4 : 2)], data_offsets: [start, end] };
  }
  const json = JSON.stringify(header);
  const text = json.padEnd(Math.ceil(json.length / 8) * 8 + shift);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const path = join(folder, 'by-hand.safetensors');
  writeFileSync(
    path,
    Buffer.concat([length, Buffer.from(text), ...Object.values(entries).map((e) => Buffer.from(e.bytes))]),
  );
  const file = await openSafetensors(path);
  try {
    return await use(file, path);
  } finally {
    await file.close();
  }
}

const values = sines(1000);
const entries = {
  wide: { dtype: 'F32', bytes: values.buffer },
  narrow: { dtype: 'BF16', bytes: f32ToBf16(values).buffer as ArrayBuffer },
  half: { dtype: 'F16', bytes: Uint16Array.of(0x3c00, 0xc000, 0x3555).buffer },
} as const;
const halves = Float32Array.of(1, -2, 0.333251953125);

describe('a tensor of a file', () => {
  test.each([
    ['auto', 'wide', 'float32', values, true],
    ['auto', 'narrow', 'bfloat16', rounded(values), true],
    ['auto', 'half', 'float32', halves, false],
    ['float32', 'wide', 'float32', values, true],
    ['float32', 'narrow', 'float32', rounded(values), false],
    ['bfloat16', 'wide', 'bfloat16', rounded(values), false],
    ['bfloat16', 'narrow', 'bfloat16', rounded(values), true],
    ['bfloat16', 'half', 'bfloat16', rounded(halves), false],
  ] as const)('with dtype %s: %s is held as %s', async (dtype, name, type, expected, mapped) => {
    await withFile(entries, async (file) => {
      for (const map of [true, false]) {
        const storage = weightStorage({ dtype, map });
        const found = (await storage.loadTensor(file, name)) as StoredTensor;
        expect([found.dtype, found.shape]).toEqual([type, [expected.length]]);
        expect(await found.data()).toEqual(expected);
        const bytes = expected.length * (type === 'float32' ? 4 : 2);
        const isMapped = mapped && map;
        expect(storage.bytesOf(file.locate(name))).toEqual(
          isMapped ? { allocated: 0, mapped: bytes } : { allocated: bytes, mapped: 0 },
        );
        const held = storedBytes();
        expect(held.mapped - before.mapped).toBe(isMapped ? file.locate(name).fileSize : 0);
        expect(held.allocated - before.allocated).toBe(isMapped ? 0 : bytes);
        found.dispose();
      }
    });
  });

  test('is read and not mapped, if its offset is no multiple of the size of its values', async () => {
    for (const [shift, mapped] of [
      [1, []],
      [2, ['narrow']],
      [4, ['wide', 'narrow']],
    ] as const) {
      await withFile(
        entries,
        async (file) => {
          const { loadTensor, bytesOf } = weightStorage();
          for (const name of ['wide', 'narrow'] as const) {
            const found = await loadTensor(file, name);
            expect(await found.data()).toEqual(name === 'wide' ? values : rounded(values));
            expect(storedBytes().mapped > before.mapped).toBe((mapped as readonly string[]).includes(name));
            expect(bytesOf(file.locate(name)).mapped > 0).toBe((mapped as readonly string[]).includes(name));
            found.dispose();
          }
        },
        shift,
      );
    }
  });

  test('shares the mapping of its file with the others, until the last one is disposed', async () => {
    await withFile(entries, async (file) => {
      const { loadTensor } = weightStorage();
      const [wide, narrow] = [await loadTensor(file, 'wide'), await loadTensor(file, 'narrow')];
      const { fileSize } = file.locate('wide');
      expect(storedBytes().mapped - before.mapped).toBe(fileSize);
      wide.dispose();
      wide.dispose(); // no second handle
      expect(storedBytes().mapped - before.mapped).toBe(fileSize);
      expect(await narrow.data()).toEqual(rounded(values));
      narrow.dispose();
      expect(storedBytes()).toEqual(before);
      const again = await loadTensor(file, 'wide');
      expect(await again.data()).toEqual(values);
      again.dispose();
    });
  });

  test('that is not stored in a file, or of another type, is read as a tensor', async () => {
    const source: TensorSource = {
      names: () => ['w'],
      info: () => ({ shape: [2] }),
      read: async () => Float32Array.of(1, 2),
    };
    const found = await weightStorage().loadTensor(source, 'w');
    expect(found).toBeInstanceOf(tf.Tensor);
    found.dispose();
  });

  test.each([true, false])('of a file that has changed since it was opened is an error (map: %s)', async (map) => {
    await withFile(entries, async (file, path) => {
      truncateSync(path, 5000);
      await expect(weightStorage({ map }).loadTensor(file, 'narrow')).rejects.toThrow(
        /by-hand\.safetensors: tensor "narrow" could not be read: .*is another process rewriting it\?/s,
      );
    });
  });

  test('stays readable after its file is closed and deleted', async () => {
    const found = await withFile(entries, (file) => weightStorage().loadTensor(file, 'narrow'));
    rmSync(join(folder, 'by-hand.safetensors'));
    expect(await found.data()).toEqual(rounded(values));
    found.dispose();
  });

  test('is read, if its file system cannot map files', async () => {
    await withFile(entries, async (file) => {
      vi.spyOn(nativeStore()!, 'map').mockImplementation(() => {
        throw new Error('/proc/self/fd/9: No such device');
      });
      const { loadTensor } = weightStorage();
      const found = [await loadTensor(file, 'wide'), await loadTensor(file, 'narrow')];
      expect(nativeStore()!.map).toHaveBeenCalledTimes(1);
      expect(await found[1]!.data()).toEqual(rounded(values));
      expect(storedBytes()).toEqual({ ...before, allocated: before.allocated + 6000 });
      for (const tensor of found) tensor.dispose();
    });
  });

  test.each(['map', 'allocate'] as const)('is an error that names the file, if memory is short (%s)', async (call) => {
    await withFile(entries, async (file) => {
      vi.spyOn(nativeStore()!, call).mockImplementation(() => {
        throw new Error(
          `${call === 'map' ? '/proc/self/fd/9' : 'could not allocate 4000 bytes'}: Cannot allocate memory`,
        );
      });
      await expect(weightStorage({ map: call === 'map' }).loadTensor(file, 'wide')).rejects.toThrow(
        call === 'map'
          ? /by-hand\.safetensors: expected \d+ bytes of address space to map the file, found less\. Raise `ulimit -v`\.$/
          : /by-hand\.safetensors: tensor "wide": could not allocate 4000 bytes: Cannot allocate memory$/,
      );
    });
  });

  test('with a size beyond 32 bits is refused', async () => {
    await withFile(entries, async (file) => {
      const source = { ...file, locate: () => ({ ...file.locate('wide'), shape: [2 ** 32] }) };
      await expect(weightStorage().loadTensor(source, 'wide')).rejects.toThrow('expected sizes of at most 2147483647');
    });
  });
});

describe('a stored value', () => {
  const load = (name: keyof typeof entries) =>
    withFile(entries, async (file) => (await weightStorage().loadTensor(file, name)) as StoredTensor);

  test('may be disposed before a recorded operation that reads it runs', async () => {
    const stored = await load('wide');
    const rows = new StoredTensor({ ...stored.range, shape: [10, 100] });
    stored.dispose();
    const other = rows.clone();
    rows.dispose();
    const inputs = [other, { ints: [9, 0] }, { numbers: [2] }];
    const [found] = program.record('WpoScaledRows', inputs, [2, 100]);
    other.dispose();
    expect(storedBytes().mapped).toBeGreaterThan(before.mapped);
    const expected = [...values.subarray(900), ...values.subarray(0, 100)].map((value) => 2 * value);
    expect([...program.materialize(found!).dataSync()]).toEqual(expected);
    expect(storedBytes()).toEqual(before);
    found!.dispose();
  });

  test('is refused once it is disposed', async () => {
    const stored = await load('wide');
    stored.dispose();
    expect(() => program.record('WpoGeglu', [stored, stored], [1000])).toThrow('The stored value was disposed.');
    await expect(stored.data()).rejects.toThrow('The stored value was disposed.');
  });

  test('in bfloat16 is refused by an operation that reads float32 only', async () => {
    const stored = await load('narrow');
    const [lazy] = program.record('WpoCapLogits', [stored, { numbers: [30] }], [1000]);
    expect(() => program.materialize(lazy!)).toThrow(
      /WpoCapLogits: expected raw: float as input 0, found value 0 of type bfloat16/,
    );
    lazy!.dispose();
    stored.dispose();
  });

  test('in a mapped file is refused by an operation that would change it', async () => {
    const stored = await load('wide');
    const one = tf.ones([1000]);
    program.recordInPlace('WpoAdd', [stored, one]);
    expect(() => program.materialize(one)).toThrow(/input 0 would be changed, but it is a mapped file/);
    tf.dispose([one]);
    stored.dispose();
  });

  test('materializes as a float32 tensor, which it owns', async () => {
    const stored = await load('narrow');
    const { materialize } = tensorflowKernels();
    const tensor = materialize!(stored);
    expect(tensor.dataSync()).toEqual(rounded(values));
    expect(materialize!(stored)).toBe(tensor);
    stored.dispose();
    expect(tensor.isDisposed).toBe(true);
  });
});

const config: Gemma2Config = {
  ...{ vocabSize: 97, hiddenSize: 32, intermediateSize: 48, numHiddenLayers: 2 },
  ...{ numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 8, queryPreAttnScalar: 8, slidingWindow: 6 },
  ...{ attnLogitSoftcapping: 50, finalLogitSoftcapping: 30, rmsNormEps: 1e-6, ropeTheta: 10000 },
  ...{ maxPositionEmbeddings: 128, layerTypes: ['sliding_attention', 'full_attention'] },
  ...{ bosTokenId: 2, eosTokenId: [1], padTokenId: 0 },
};

/** Writes a model with random weights, all in one type, but those in `given`. */
async function writeModel(dtype: 'F32' | 'BF16', given: Readonly<Record<string, number>> = {}): Promise<string> {
  const path = join(folder, `model-${dtype}.safetensors`);
  const random = seededRandom(7);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const all = Array.from(tensorShapes(config), ([name, shape]) => {
    const data = Float32Array.from({ length: tf.util.sizeFromShape([...shape]) }, () => 0.3 * normal());
    if (name in given) data[data.length - 1] = given[name]!;
    return { name, shape, dtype, data: () => data };
  });
  await writeSafetensors(path, all);
  return path;
}

async function withWeights<T>(
  path: string,
  loadTensor: ReturnType<typeof weightStorage>['loadTensor'] | undefined,
  use: (model: Gemma2<FrozenWeight>) => Promise<T>,
): Promise<T> {
  const file = await openSafetensors(path);
  const model = await loadWeights(config, file, { trainable: false, ...(loadTensor && { loadTensor }) });
  await file.close();
  try {
    return await use(model);
  } finally {
    for (const weight of parametersOf(model)) weight.dispose();
  }
}

const prompt = Int32Array.from({ length: 23 }, (_, i) => 3 + ((i * i) % 90));
const pair = { id: 'a', prompt: prompt.subarray(0, 9), chosen: prompt.subarray(3, 20), rejected: [5, 6, 7] };

/** Everything that a model computes: logits, a generated answer, the terms of a pair, and the gradients of an adapter. */
async function resultsOf(model: Gemma2<FrozenWeight>) {
  const kernels = tensorflowKernels();
  const pass = await gemmaPolicy(model, { kernels }).forward([pair, { ...pair, id: 'b' }], { train: false });
  const terms = await pass.terms();
  pass.dispose();
  const answer = await generate(model, prompt, { maxNewTokens: 12, stopIds: [], kernels });
  const logits = await sequenceLogits(model, prompt, kernels);
  const gradients = [await adapterGradients(model, false, kernels), await adapterGradients(model, true, kernels)];
  return { logits, answer, terms, gradients };
}

async function adapterGradients(model: Gemma2<FrozenWeight>, useDora: boolean, kernels: Kernels) {
  const withAdapter = adapted(model, { r: 2, targetModules: 'all-linear', useDora }, { seed: 1, kernels });
  const { parameters } = withAdapter.adapter;
  for (const p of parameters) p.assign(tf.tensor(sines(tf.util.sizeFromShape([...p.shape]), p.shape[0]), [...p.shape]));
  const pass = await gemmaPolicy(withAdapter, { kernels }).forward([pair], { train: true });
  const { logps } = await pass.terms();
  await pass.backward(logps.map((_, i) => Math.cos(i)));
  pass.dispose();
  const gradients = await Promise.all(parameters.map((p) => p.gradient()!.data()));
  withAdapter.adapter.dispose();
  return gradients;
}

// AMX multiplies float32 weights in more parts than bfloat16 ones; e2e/golden.test.ts compares it with PyTorch
describe.each([
  ['F32', 'avx512'],
  ['BF16', 'avx512'],
  ['BF16', 'avx2'],
  ['BF16', 'sse'],
] as const)('a model of a %s file, with %s', (dtype, isa) => {
  limitIsa(isa);

  test.each([true, false])('has the bits of the model in tensors (map: %s)', async (map) => {
    const path = await writeModel(dtype);
    const expected = await withWeights(path, undefined, resultsOf);
    const found = await withWeights(path, weightStorage({ map }).loadTensor, async (model) => {
      expect(model.embedTokens.value()).toBeInstanceOf(StoredTensor);
      rmSync(path);
      return resultsOf(model);
    });
    expect(found).toEqual(expected);
  });

  test('is not used any more once its file is truncated', async () => {
    const path = await writeModel(dtype);
    await withWeights(path, weightStorage().loadTensor, async (model) => {
      await sequenceLogits(model, prompt, tensorflowKernels());
      truncateSync(path, 4096);
      const logits = sequenceLogits(model, prompt, tensorflowKernels());
      await expect(logits).rejects.toThrow(
        `${path}: expected a file that does not change while its model is in use, found`,
      );
      await expect(logits).rejects.toBeInstanceOf(ModelError);
      await expect(model.embedTokens.value().data()).rejects.toBeInstanceOf(ModelError);
    });
  });

  test('names a weight that is NaN when logits are computed, not when it is mapped', async () => {
    const name = 'model.layers.1.mlp.up_proj.weight';
    const path = await writeModel(dtype, { [name]: NaN });
    await withWeights(path, weightStorage().loadTensor, async (model) => {
      const logits = sequenceLogits(model, prompt, tensorflowKernels());
      await expect(logits).rejects.toThrow(`The weight "${name}" has NaN at index ${48 * 32 - 1}`);
      await expect(logits).rejects.toBeInstanceOf(ModelError);
      const pass = await gemmaPolicy(model, { kernels: tensorflowKernels() }).forward([pair], { train: false });
      await expect(pass.terms()).rejects.toThrow(
        new ModelError(
          `forward: expected finite log-probs, found NaN. The weight "${name}" has NaN at index ${48 * 32 - 1}: the model is damaged, ` +
            'or it diverged in training. Use an earlier checkpoint.',
        ),
      );
      pass.dispose();
    });
  });
});
