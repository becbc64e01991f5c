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

describe("a file by Python's safetensors", () => {
  test('reads F32, BF16 and F16 as the values that were put in', async () => {
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

  test('gives any type raw, and says which types are weights', async () => {
    const file = await openSafetensors(fixture('safetensors/mixed.safetensors'));
    const raw = await file.readRaw('count');
    expect([...new BigInt64Array(raw)]).toEqual([-1n, 2n ** 40n]);
    await expect(file.read('count')).rejects.toThrow(
      'mixed.safetensors: tensor "count" is I64; wanted F32, BF16 or F16',
    );
    await file.close();
  });

  test('names a tensor that is not there, and some that are', async () => {
    const file = await openSafetensors(fixture('safetensors/mixed.safetensors'));
    expect(file.has('brain')).toBe(true);
    expect(file.has('__proto__')).toBe(false);
    expect(() => file.info('brian')).toThrow(
      'mixed.safetensors: no tensor is named "brian"; it holds 6, count, empty, full and others.',
    );
    await expect(file.read('toString')).rejects.toThrow('no tensor is named "toString"');
    await file.close();
  });
});

describe('a checkpoint', () => {
  test('of one file has every tensor, bit for bit', async () => {
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

  test("of BF16 shards has every tensor, each value's upper half as it lies in its shard", async () => {
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

  test('of one file and shards is the one file, as transformers takes it', async () => {
    await shards();
    await writeSafetensors(join(dir, 'model.safetensors'), [
      { name: 'a', dtype: 'F32', shape: [1], data: () => Float32Array.of(1) },
    ]);
    const checkpoint = await openCheckpoint(dir);
    expect(checkpoint.names()).toEqual(['a']);
    await checkpoint.close();
  });

  test('is whole across pieces: tensors larger than one, of odd length', async () => {
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

  test('closes twice, and refuses to be read after', async () => {
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

  test('a folder without a checkpoint, naming what it looked for', async () => {
    await refused('holds neither model.safetensors nor model.safetensors.index.json', Error);
  });

  test('a missing shard', async () => {
    await shards();
    await rm(join(dir, ODD[1]!));
    await refused(`${INDEX}: names the shard ${ODD[1]}, which is not in ${dir}`);
  });

  test('a tensor that is not in the shard that the index says', async () => {
    await shards((map) => {
      map['model.norm.weight'] = ODD[0];
    });
    await refused(`says that "model.norm.weight" is in ${ODD[0]}, which does not hold it (1 such)`);
  });

  test('a tensor that no shard holds', async () => {
    await shards((map) => {
      map['model.layers.3.mlp.up_proj.weight'] = ODD[2];
    });
    await refused(`says that "model.layers.3.mlp.up_proj.weight" is in ${ODD[2]}, which does not hold it`);
  });

  test('a tensor in a shard that the index does not list', async () => {
    await shards((map) => {
      delete map['model.norm.weight'];
    });
    await refused(`does not list 1 of the tensors in ${ODD[2]}: model.norm.weight`);
  });

  test('a shard that is cut short', async () => {
    await shards();
    await truncate(join(dir, ODD[2]!), 250_000);
    await refused(`${ODD[2]}: the file has 250000 bytes; wanted 250928`);
  });

  test('a shard outside the folder', async () => {
    await shards((map) => {
      map['model.norm.weight'] = '../model.safetensors';
    });
    await refused('weight_map "model.norm.weight" is "../model.safetensors", not the name of a .safetensors file');
  });

  test.each([
    ['text that is not JSON', '{"weight_map": ', 'not JSON'],
    ['a list', '[]', 'has no weight_map object'],
    ['an index without weight_map', '{"metadata": {}}', 'has no weight_map object'],
    ['a shard that is no name', '{"weight_map": {"a": 1}}', 'weight_map "a" is 1'],
  ])('an index that is %s', async (_, text, message) => {
    await writeFile(join(dir, INDEX), text);
    await refused(`${INDEX}: ${message}`);
  });

  test('a file that is no safetensors file', async () => {
    await writeFile(join(dir, 'model.safetensors'), 'PK\u0003\u0004 a zip file of PyTorch weights');
    await refused("model.safetensors: the header's length is");
    await writeFile(join(dir, 'model.safetensors'), '');
    await refused('model.safetensors: holds 0 bytes; wanted at least 8');
  });
});

test('a file cut short while open fails to read, saying where', async () => {
  const path = join(dir, 'x.safetensors');
  await copyFile(fixture('golden/tiny/model.safetensors'), path);
  const file = await openSafetensors(path);
  await truncate(path, 1_000_000);
  const last = file.names().at(-1)!;
  await expect(file.read(last)).rejects.toThrow(`x.safetensors: tensor "${last}": the file ends at byte`);
  await file.close();
});
