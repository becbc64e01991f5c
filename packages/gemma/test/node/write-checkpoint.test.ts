import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fc, test as prop } from '@fast-check/vitest';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { bf16ToF32, f32ToBf16 } from '../../src/dtype';
import { openCheckpoint, openSafetensors } from '../../src/node/read-checkpoint';
import { type TensorToWrite, writeCheckpoint, writeSafetensors } from '../../src/node/write-checkpoint';
import { pythonHas, runPython } from './python';

const fixture = (path: string) => fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url));

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'wpo-write-'));
});
afterEach(() => rm(dir, { recursive: true }));

const tensor = (name: string, shape: number[], dtype: 'F32' | 'BF16' = 'F32', first = 0): TensorToWrite => ({
  name,
  shape,
  dtype,
  data: () => Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, (_, i) => first + i),
});

describe('writeSafetensors', () => {
  test("writes the file that Python's safetensors wrote, byte for byte", async () => {
    const golden = await openCheckpoint(fixture('golden/tiny'));
    const path = join(dir, 'again.safetensors');
    await writeSafetensors(
      path,
      golden.names().map((name) => ({
        name,
        shape: golden.info(name).shape,
        dtype: 'F32' as const,
        data: () => golden.read(name),
      })),
    );
    await golden.close();
    expect((await readFile(path)).equals(await readFile(fixture('golden/tiny/model.safetensors')))).toBe(true);
  });

  test('requests one tensor at a time, in file order', async () => {
    const asked: string[] = [];
    const watched = ['a', 'b', 'c'].map((name) => ({
      ...tensor(name, [2], name === 'b' ? 'F32' : 'BF16'),
      data: async () => {
        asked.push(name);
        return Float32Array.of(1, 2);
      },
    }));
    await writeSafetensors(join(dir, 'x.safetensors'), watched);
    expect(asked).toEqual(['b', 'a', 'c']);
  });

  test('accepts values that are part of a larger array', async () => {
    const path = join(dir, 'x.safetensors');
    const part = Float32Array.of(9, 1, 2, 9).subarray(1, 3);
    await writeSafetensors(path, [
      { name: 'a', shape: [2], dtype: 'F32', data: () => part },
      { name: 'b', shape: [2], dtype: 'BF16', data: () => part },
    ]);
    const file = await openSafetensors(path);
    expect(await file.read('a')).toEqual(Float32Array.of(1, 2));
    expect(await file.read('b')).toEqual(Float32Array.of(1, 2));
    await file.close();
  });

  test('writes float16, from float32 and from bfloat16, and refuses values that are too large for it', async () => {
    const path = join(dir, 'x.safetensors');
    const values = Float32Array.of(1, -2.5, 1 / 3, 65504, 2 ** -24, Number.NaN, Number.POSITIVE_INFINITY);
    const narrow = values.subarray(0, 2);
    await writeSafetensors(path, [
      { name: 'a', shape: [7], dtype: 'F16', data: () => values },
      { name: 'b', shape: [2], dtype: 'F16', data: () => f32ToBf16(narrow) },
    ]);
    const file = await openSafetensors(path);
    expect(file.info('a').dtype).toBe('F16');
    expect(await file.read('a')).toEqual(
      Float32Array.of(1, -2.5, 0.333251953125, 65504, 2 ** -24, Number.NaN, Number.POSITIVE_INFINITY),
    );
    expect(await file.read('b')).toEqual(narrow);
    await file.close();
    const large = { name: 'c', shape: [2], dtype: 'F16' as const, data: () => Float32Array.of(1, -70000) };
    await expect(writeSafetensors(path, [large])).rejects.toThrow(
      'tensor "c": expected values of float16, at most 65504, found -70000. Write it in bfloat16 or float32.',
    );
    expect(await readdir(dir)).toEqual(['x.safetensors']);
  });

  test('leaves the old file, and no partial one, if a tensor fails', async () => {
    const path = join(dir, 'x.safetensors');
    await writeSafetensors(path, [tensor('old', [3])]);
    const before = await readFile(path);
    const fails = { ...tensor('b', [2]), data: () => Promise.reject(new Error('no such tensor on the device')) };
    await expect(writeSafetensors(path, [tensor('a', [1000]), fails])).rejects.toThrow('no such tensor on the device');
    expect((await readFile(path)).equals(before)).toBe(true);
    expect(await readdir(dir)).toEqual(['x.safetensors']);
  });

  test('refuses a number of values that does not match the shape', async () => {
    const short = { ...tensor('w', [2, 3]), data: () => new Float32Array(5) };
    await expect(writeSafetensors(join(dir, 'x.safetensors'), [short])).rejects.toThrow(
      'x.safetensors: tensor "w": data(): expected 6 values for the shape [2, 3], found 5.',
    );
    await expect(writeSafetensors(join(dir, 'x.safetensors'), [tensor('w', [1]), tensor('w', [2])])).rejects.toThrow(
      'expected unique tensor names, found "w" twice',
    );
    expect(await readdir(dir)).toEqual([]);
  });

  const value = fc.float32Array({ maxLength: 40 });
  prop.prop([fc.dictionary(fc.string(), fc.record({ values: value, dtype: fc.constantFrom('F32', 'BF16') }))], {
    numRuns: 50,
  })('reads back F32 bit for bit and BF16 as rounded', async (tensors) => {
    const path = join(dir, 'x.safetensors');
    const listed = Object.entries(tensors).filter(([name]) => name !== '__metadata__');
    await writeSafetensors(
      path,
      listed.map(([name, { values, dtype }]) => ({ name, dtype, shape: [values.length], data: () => values })),
    );
    const file = await openSafetensors(path);
    expect(new Set(file.names())).toEqual(new Set(listed.map(([name]) => name)));
    for (const [name, { values, dtype }] of listed) {
      expect(await file.read(name)).toEqual(dtype === 'F32' ? values : bf16ToF32(f32ToBf16(values)));
    }
    await file.close();
  });

  test('bfloat16 bit patterns are written as they are, NaN payloads included, and widened to float32', async () => {
    const bits = Uint16Array.of(0x3f80, 0x7f81, 0xff80, 0x0001, 0x8000);
    const path = join(dir, 'x.safetensors');
    const source = { shape: [5], data: () => [bits.subarray(0, 3), bits.subarray(3)] };
    await writeSafetensors(path, [
      { ...source, name: 'wide', dtype: 'F32' },
      { ...source, name: 'narrow', dtype: 'BF16' },
    ]);
    const file = await openSafetensors(path);
    expect(new Uint16Array(await file.readRaw('narrow'))).toEqual(bits);
    expect(new Uint32Array(await file.readRaw('wide'))).toEqual(Uint32Array.from(bits, (half) => half * 0x10000));
    await file.close();
  });
});

describe('writeCheckpoint', () => {
  test('writes one file without an index if everything fits', async () => {
    expect(await writeCheckpoint(dir, [tensor('a', [2]), tensor('b', [2])], { maxShardBytes: 16 })).toEqual([
      'model.safetensors',
    ]);
    expect(await readdir(dir)).toEqual(['model.safetensors']);
  });

  test('fills shards in order, puts a larger tensor into a shard of its own, and indexes them as transformers does', async () => {
    // 8 + 8 bytes | 40 | 8 + 4 (BF16)
    const tensors = [
      tensor('d', [2]),
      tensor('a', [2], 'F32', 10),
      tensor('big', [10], 'F32', 20),
      tensor('c', [2], 'F32', 30),
      tensor('b', [2], 'BF16', 40),
    ];
    const files = [1, 2, 3].map((i) => `model-0000${i}-of-00003.safetensors`);
    expect(await writeCheckpoint(dir, tensors, { maxShardBytes: 16 })).toEqual([
      ...files,
      'model.safetensors.index.json',
    ]);
    expect(await readFile(join(dir, 'model.safetensors.index.json'), 'utf8')).toBe(`{
  "metadata": {
    "total_parameters": 18,
    "total_size": 68
  },
  "weight_map": {
    "a": "${files[0]}",
    "b": "${files[2]}",
    "big": "${files[1]}",
    "c": "${files[2]}",
    "d": "${files[0]}"
  }
}
`);
    const checkpoint = await openCheckpoint(dir);
    expect(checkpoint.names().sort()).toEqual(['a', 'b', 'big', 'c', 'd']);
    for (const { name, data } of tensors) expect(await checkpoint.read(name)).toEqual(data());
    await checkpoint.close();
  });

  test('splits and indexes the fixture as transformers did', async () => {
    const golden = await openCheckpoint(fixture('golden/odd'));
    // transformers fills shards in the order of the model's modules
    const projections = ['q', 'k', 'v', 'o'].map((p) => `self_attn.${p}_proj`);
    const mlp = ['gate', 'up', 'down'].map((p) => `mlp.${p}_proj`);
    const norms = ['input', 'post_attention', 'pre_feedforward', 'post_feedforward'].map((p) => `${p}_layernorm`);
    const blocks = [0, 1, 2].flatMap((layer) =>
      [...projections, ...mlp, ...norms].map((part) => `layers.${layer}.${part}`),
    );
    const source = ['embed_tokens', ...blocks, 'norm'].map((part): TensorToWrite => {
      const name = `model.${part}.weight`;
      return { name, shape: golden.info(name).shape, dtype: 'BF16', data: () => golden.read(name) };
    });
    await writeCheckpoint(dir, source, { maxShardBytes: 300_000 });
    const [ours, theirs] = [dir, fixture('golden/odd')].map((at) => join(at, 'model.safetensors.index.json'));
    expect(await readFile(ours!, 'utf8')).toBe(await readFile(theirs!, 'utf8'));
    const written = await openCheckpoint(dir);
    for (const { name } of source) expect(await written.readRaw(name)).toEqual(await golden.readRaw(name));
    await written.close();
    await golden.close();
  });

  test('refuses a folder with a checkpoint, a missing folder, a shard size of 0 and a repeated name', async () => {
    const twice = [tensor('a', [1]), tensor('b', [1]), tensor('a', [1])];
    await expect(writeCheckpoint(dir, twice, { maxShardBytes: 4 })).rejects.toThrow(
      'expected unique tensor names, found "a" twice',
    );
    await expect(writeCheckpoint(dir, [], { maxShardBytes: 0 })).rejects.toThrow(
      'maxShardBytes: expected a number above 0, found 0',
    );
    await expect(writeCheckpoint(join(dir, 'none'), [tensor('a', [1])])).rejects.toThrow('ENOENT');
    await writeFile(join(dir, 'model-00002-of-00009.safetensors'), '');
    await expect(writeCheckpoint(dir, [tensor('a', [1])])).rejects.toThrow(
      'expected a folder without a checkpoint, found model-00002-of-00009.safetensors',
    );
  });
});

describe.skipIf(!pythonHas('safetensors.numpy', "tests that read our files with Python's safetensors"))(
  'Python',
  () => {
    test('reads our files: names, shapes, types and every bit', async () => {
      const path = join(dir, 'x.safetensors');
      const values = Float32Array.of(1 / 3, -0, Infinity, 1e-45, 3e38, NaN);
      await writeSafetensors(path, [
        { name: 'narrow', shape: [3, 2], dtype: 'BF16', data: () => values },
        { name: 'wide', shape: [2, 3], dtype: 'F32', data: () => values },
        { name: 'é 你', shape: [], dtype: 'F32', data: () => Float32Array.of(2.5) },
        { name: 'empty', shape: [0, 3], dtype: 'F32', data: () => new Float32Array(0) },
      ]);
      const script = `
import sys, json
from safetensors import deserialize
tensors = deserialize(open(sys.argv[1], 'rb').read())
print(json.dumps({name: [t['dtype'], t['shape'], bytes(t['data']).hex()] for name, t in tensors}))`;
      const hex = (data: Float32Array | Uint16Array) => Buffer.from(data.buffer).toString('hex');
      expect(runPython(script, path)).toEqual({
        narrow: ['BF16', [3, 2], hex(f32ToBf16(values))],
        wide: ['F32', [2, 3], hex(values)],
        'é 你': ['F32', [], hex(Float32Array.of(2.5))],
        empty: ['F32', [0, 3], ''],
      });
    });

    test('reads our shards by our index', async () => {
      const tensors = ['a', 'b', 'c'].map((name, i) => tensor(name, [2, 2], 'F32', 10 * i));
      await writeCheckpoint(dir, tensors, { maxShardBytes: 20 });
      const script = `
import sys, json, os
from safetensors import safe_open
index = json.load(open(os.path.join(sys.argv[1], 'model.safetensors.index.json')))
out = {}
for name, shard in index['weight_map'].items():
    with safe_open(os.path.join(sys.argv[1], shard), 'np') as f:
        assert f.metadata() == {'format': 'pt'}
        out[name] = f.get_tensor(name).tolist()
print(json.dumps(out))`;
      expect(runPython(script, dir)).toEqual({
        ...{
          a: [
            [0, 1],
            [2, 3],
          ],
          b: [
            [10, 11],
            [12, 13],
          ],
          c: [
            [20, 21],
            [22, 23],
          ],
        },
      });
    });
  },
);
