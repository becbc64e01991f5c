import { copyFile, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openCheckpoint, openSafetensors } from '../../src/node/read-checkpoint';
import { writeSafetensors } from '../../src/node/write-checkpoint';
import { SafetensorsError } from '../../src/safetensors';

const fixture = (path: string) => fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url));
const ODD = [
  'model-00001-of-00003.safetensors',
  'model-00002-of-00003.safetensors',
  'model-00003-of-00003.safetensors',
];
const INDEX = 'model.safetensors.index.json';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'wpo-read-'));
});
afterEach(() => rm(dir, { recursive: true }));

/** A copy of the sharded fixture, its index changed. */
async function shards(change: (weightMap: Record<string, unknown>) => void = () => {}) {
  for (const name of ODD) await copyFile(fixture(`golden/odd/${name}`), join(dir, name));
  const index = JSON.parse(await readFile(fixture(`golden/odd/${INDEX}`), 'utf8'));
  change(index.weight_map);
  await writeFile(join(dir, INDEX), JSON.stringify(index));
}

describe("a file written by Python's safetensors", () => {
  test('F32, BF16 and F16 tensors are read as the values that were written', async () => {
    const file = await openSafetensors(fixture('safetensors/mixed.safetensors'));
    expect(file.names()).toEqual(['count', 'empty', 'full', 'scalar', 'brain', 'half']);
    expect(file.info('half')).toEqual({ dtype: 'F16', shape: [2, 3] });
    expect(await file.read('full')).toEqual(Float32Array.of(0.1, -1e-40));
    expect(await file.read('scalar')).toEqual(Float32Array.of(7));
    expect(await file.read('empty')).toEqual(new Float32Array(0));
    // 6e-8 rounds to float16's smallest subnormal; -1e30 to the nearest bfloat16, 202/128 · 2^99
    expect(await file.read('half')).toEqual(Float32Array.of(1, -2.5, 65504, 2 ** -24, 0, -Infinity));
    expect(await file.read('brain')).toEqual(Float32Array.of(3.140625, -(202 / 128) * 2 ** 99, NaN));
    await file.close();
  });

  test('readRaw reads any type; read refuses types that are not weights', async () => {
    const file = await openSafetensors(fixture('safetensors/mixed.safetensors'));
    const raw = await file.readRaw('count');
    expect([...new BigInt64Array(raw)]).toEqual([-1n, 2n ** 40n]);
    await expect(file.read('count')).rejects.toThrow(
      'mixed.safetensors: tensor "count": expected F32, BF16 or F16, found I64',
    );
    await file.close();
  });

  test('a range of values has the bits of these values, for any type', async () => {
    const file = await openSafetensors(fixture('safetensors/mixed.safetensors'));
    for (const name of ['full', 'brain', 'half', 'scalar', 'empty']) {
      const values = await file.read(name);
      const bytes = await file.readRaw(name);
      const width = bytes.byteLength / (values.length || 1);
      for (let start = 0; start <= values.length; start++) {
        for (let count = 0; start + count <= values.length; count++) {
          const [from, to] = [start, start + count];
          expect(await file.read(name, { start, count })).toEqual(values.slice(from, to));
          expect(await file.readRaw(name, { start, count })).toEqual(bytes.slice(from * width, to * width));
        }
      }
    }
    await file.close();
  });

  test.each([
    { start: 1, count: 2 },
    { start: 3, count: 0 },
    { start: -1, count: 1 },
    { start: 0, count: 1.5 },
    { start: 0, count: Number.NaN },
  ])('%j of two values is not a range', async (range) => {
    const file = await openSafetensors(fixture('safetensors/mixed.safetensors'));
    const message = 'tensor "full": range: expected whole numbers within its 2 values, found';
    await expect(file.read('full', range)).rejects.toThrow(message);
    await expect(file.readRaw('full', range)).rejects.toThrow(message);
    await file.close();
  });

  test('a missing tensor is an error that names it and some others', async () => {
    const file = await openSafetensors(fixture('safetensors/mixed.safetensors'));
    expect(file.has('brain')).toBe(true);
    expect(file.has('__proto__')).toBe(false);
    expect(() => file.info('brian')).toThrow(
      'mixed.safetensors: expected a tensor "brian", found 6 others: count, empty, full and others.',
    );
    await expect(file.read('toString')).rejects.toThrow('expected a tensor "toString"');
    await file.close();
  });
});

describe('a checkpoint', () => {
  test('in one file: every tensor has the same bits', async () => {
    const path = fixture('golden/tiny/model.safetensors');
    const bytes = await readFile(path);
    const checkpoint = await openCheckpoint(fixture('golden/tiny'));
    const names = checkpoint.names();
    expect(names).toHaveLength(46);
    expect(checkpoint.info('model.embed_tokens.weight')).toEqual({ dtype: 'F32', shape: [1722, 64] });
    const values = await Promise.all(names.map((name) => checkpoint.read(name)));
    const data = Buffer.concat(values.map((v) => Buffer.from(v.buffer, v.byteOffset, v.byteLength)));
    expect(data.equals(bytes.subarray(bytes.length - data.length))).toBe(true);
    expect(bytes.length - data.length).toBe(8 + Number(bytes.readBigUInt64LE(0)));
    await checkpoint.close();
  });

  test('in BF16 shards: every tensor has the bits of its shard', async () => {
    const checkpoint = await openCheckpoint(fixture('golden/odd'));
    expect(checkpoint.names()).toHaveLength(35);
    let total = 0;
    for (const name of checkpoint.names()) {
      const raw = await checkpoint.readRaw(name);
      const bits = new Uint32Array((await checkpoint.read(name)).buffer);
      expect(bits).toEqual(Uint32Array.from(new Uint16Array(raw), (half) => half * 0x10000));
      total += raw.byteLength;
    }
    expect(total).toBe(844_608); // the index's metadata.total_size
    await checkpoint.close();
  });

  test('with tensors that the index does not list is read with a warning', async () => {
    await shards((map) => {
      delete map['model.norm.weight'];
      delete map['model.layers.0.mlp.up_proj.weight'];
    });
    const checkpoint = await openCheckpoint(dir);
    expect(checkpoint.names()).toHaveLength(35);
    expect(checkpoint.warnings).toHaveLength(1);
    expect(checkpoint.warnings[0]).toContain('weight_map does not list 2 of the 35 tensors of its shards');
    expect(checkpoint.warnings[0]).toContain('model.norm.weight');
    await checkpoint.close();
  });

  test('of a model without its head, whose names have no prefix, is read', async () => {
    const tensor = (name: string) => ({ name, dtype: 'F32', shape: [1], data: () => Float32Array.of(3) }) as const;
    await writeSafetensors(join(dir, 'model.safetensors'), [tensor('embed_tokens.weight'), tensor('norm.weight')]);
    const checkpoint = await openCheckpoint(dir);
    expect(checkpoint.names()).toEqual(['model.embed_tokens.weight', 'model.norm.weight']);
    expect(await checkpoint.read('model.norm.weight')).toEqual(Float32Array.of(3));
    await checkpoint.close();
  });

  test('with one file and shards: the one file is read, as transformers does', async () => {
    await shards();
    await writeSafetensors(join(dir, 'model.safetensors'), [
      { name: 'a', dtype: 'F32', shape: [1], data: () => Float32Array.of(1) },
    ]);
    const checkpoint = await openCheckpoint(dir);
    expect(checkpoint.names()).toEqual(['a']);
    await checkpoint.close();
  });

  test('with tensors of several chunks and odd length is read completely', async () => {
    const n = 3 * 2 ** 20 + 7;
    const values = Float32Array.from({ length: n }, (_, i) => i % 251);
    const path = join(dir, 'model.safetensors');
    await writeSafetensors(path, [
      { name: 'wide', dtype: 'F32', shape: [n], data: () => values },
      { name: 'narrow', dtype: 'BF16', shape: [n], data: async () => values },
    ]);
    const checkpoint = await openCheckpoint(dir);
    for (const name of ['wide', 'narrow']) {
      const read = await checkpoint.read(name);
      expect(Buffer.compare(Buffer.from(read.buffer), Buffer.from(values.buffer))).toBe(0);
    }
    await checkpoint.close();
  });

  test('may be closed twice, and cannot be read afterwards', async () => {
    const checkpoint = await openCheckpoint(fixture('golden/odd'));
    await checkpoint.close();
    await checkpoint.close();
    await expect(checkpoint.read('model.norm.weight')).rejects.toThrow();
  });
});

describe('openCheckpoint refuses', () => {
  const refused = async (message: string, type: new (message: string) => Error = SafetensorsError) => {
    const opening = openCheckpoint(dir);
    await expect(opening).rejects.toThrow(message);
    await expect(opening).rejects.toBeInstanceOf(type);
  };

  test('a folder without a checkpoint, naming the expected files', async () => {
    await refused(`${dir}: expected a model's folder in Hugging Face's layout, found an empty folder`, Error);
  });

  test('a missing shard', async () => {
    await shards();
    await rm(join(dir, ODD[1]!));
    await refused(`${INDEX}: expected the shard ${ODD[1]} in ${dir}, found no such file`);
  });

  test('a tensor that is not in the shard of the index', async () => {
    await shards((map) => {
      map['model.norm.weight'] = ODD[0];
    });
    await refused(`expected "model.norm.weight" in ${ODD[0]}, found no such tensor there (1 tensors are missing)`);
  });

  test('a tensor that no shard has', async () => {
    await shards((map) => {
      map['model.layers.3.mlp.up_proj.weight'] = ODD[2];
    });
    await refused(`expected "model.layers.3.mlp.up_proj.weight" in ${ODD[2]}, found no such tensor there`);
  });

  test('a tensor in two shards', async () => {
    await shards();
    const again = { name: 'model.norm.weight', dtype: 'F32', shape: [1], data: () => Float32Array.of(1) } as const;
    await writeSafetensors(join(dir, 'other.safetensors'), [again, { ...again, name: 'x' }]);
    const index = JSON.parse(await readFile(join(dir, INDEX), 'utf8'));
    await writeFile(join(dir, INDEX), JSON.stringify({ weight_map: { ...index.weight_map, x: 'other.safetensors' } }));
    await refused(`expected "model.norm.weight" in one shard, found it in 2: ${ODD[2]}, other.safetensors`);
  });

  test('a truncated shard', async () => {
    await shards();
    await truncate(join(dir, ODD[2]!), 250_000);
    await refused(`${ODD[2]}: expected a file of 250928 bytes`);
  });

  test('a shard outside the folder', async () => {
    await shards((map) => {
      map['model.norm.weight'] = '../model.safetensors';
    });
    await refused('found "model.norm.weight": "../model.safetensors", which is not the name of a .safetensors file');
  });

  test.each([
    ['text that is not JSON', '{"weight_map": {"a": x}}', 'found invalid JSON at line 1, near'],
    ['cut off', '{"weight_map": ', 'found JSON that is cut off'],
    ['an object with an empty weight_map', '{"weight_map": {}}', 'found an empty weight_map'],
    ['nested a million levels deep', '['.repeat(1e6), 'found JSON with more than 100 levels of nesting'],
    ['a list', '[]', 'found no weight_map object'],
    ['an object without weight_map', '{"metadata": {}}', 'found no weight_map object'],
    ['an object with a shard that is not a file name', '{"weight_map": {"a": 1}}', 'found "a": 1'],
  ])('an index that is %s', async (_, text, message) => {
    await writeFile(join(dir, INDEX), text);
    await refused(`${INDEX}: expected {"weight_map"`);
    await refused(message);
  });

  test.each([
    'a\0.safetensors',
    'a\u001b[2J.safetensors',
    '\u202ea.safetensors',
    `${'a'.repeat(300)}.safetensors`,
    '..\\a.safetensors',
  ])('the shard name %j', async (name) => {
    await writeFile(join(dir, INDEX), JSON.stringify({ weight_map: { a: name } }));
    await refused('which is not the name of a .safetensors file in the same folder');
  });

  test('a file that is not a safetensors file', async () => {
    await writeFile(join(dir, 'model.safetensors'), 'PK\u0003\u0004 a zip file of PyTorch weights');
    await refused('model.safetensors: header length: expected at most');
    await writeFile(join(dir, 'model.safetensors'), '');
    await refused('model.safetensors: expected at least 8 bytes, found 0');
  });
});

test('a file truncated while open is an error that names file, tensor and position', async () => {
  const path = join(dir, 'x.safetensors');
  await copyFile(fixture('golden/tiny/model.safetensors'), path);
  const file = await openSafetensors(path);
  await truncate(path, 1_000_000);
  const last = file.names().at(-1)!;
  await expect(file.read(last)).rejects.toThrow(`x.safetensors: tensor "${last}": expected`);
  await file.close();
});
