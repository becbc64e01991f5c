import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fc, test as property } from '@fast-check/vitest';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { hashFiles, hashJson, hashPairs, metricsFile, referenceFiles } from '../../src/node';
import { toyPairs } from '../toy-policy';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wpo-files-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('metrics file', () => {
  const lines = async (path: string) => (await readFile(path, 'utf8')).split('\n');

  test('rows are whole lines, in a folder made for them', async () => {
    const path = join(folder, 'a', 'b', 'metrics.jsonl');
    const sink = metricsFile(path);
    await sink.rewind!(0);
    await sink.write({ step: 1, loss: 0.5 });
    await sink.write({ step: 2, loss: 1e-7 });
    expect(await lines(path)).toEqual(['{"step":1,"loss":0.5}', '{"step":2,"loss":1e-7}', '']);
  });

  test('a rewind keeps the rows of before, and drops later ones and half a line', async () => {
    const path = join(folder, 'metrics.jsonl');
    await writeFile(path, '{"step":1}\n{"step":2}\n{"step":3}\n{"st');
    await metricsFile(path).rewind!(2);
    expect(await lines(path)).toEqual(['{"step":1}', '{"step":2}', '']);
    await metricsFile(path).rewind!(5);
    expect(await lines(path)).toEqual(['{"step":1}', '{"step":2}', '']);
    await metricsFile(path).rewind!(0);
    expect(await lines(path)).toEqual(['']);
    expect(await readdir(folder)).toEqual(['metrics.jsonl']);
  });
});

describe('reference files', () => {
  const values = [
    { chosen: -1.5, rejected: -2.25 },
    { chosen: Math.fround(-0.1), rejected: -1e-8 },
    { chosen: -300, rejected: -4 },
  ];

  test('what was kept comes back as it was', async () => {
    const cache = referenceFiles(join(folder, 'cache'));
    expect(await cache.read('k')).toEqual([]);
    await cache.append('k', 0, values.slice(0, 2));
    await cache.append('k', 2, values.slice(2));
    expect(await cache.read('k')).toEqual(values);
    expect(await cache.read('other')).toEqual([]);
    const sums = [{ ...values[0]!, ldAlpha: 0.5 }];
    await cache.append('ld', 0, sums);
    expect(await cache.read('ld')).toEqual(sums);
  });

  test('the half line of a killed run is dropped, and what follows it goes where it was', async () => {
    const cache = referenceFiles(folder);
    await cache.append('k', 0, values.slice(0, 2));
    await appendFile(join(folder, 'k.jsonl'), '{"pair":2,"chosen":-30');
    expect(await cache.read('k')).toEqual(values.slice(0, 2));
    await cache.append('k', 2, values.slice(2));
    expect(await cache.read('k')).toEqual(values);
  });

  test.each(['garbage\n', '{"pair":5,"chosen":-1,"rejected":-1}\n', '{"pair":1,"chosen":null,"rejected":-1}\n'])(
    'nothing from %j on is taken',
    async (line) => {
      const cache = referenceFiles(folder);
      await cache.append('k', 0, values.slice(0, 1));
      await appendFile(join(folder, 'k.jsonl'), line);
      await cache.append('k', 1, values.slice(1));
      expect(await cache.read('k')).toEqual(values.slice(0, 1));
    },
  );

  test('two processes that filled it at once do not mix up their pairs', async () => {
    const cache = referenceFiles(folder);
    await cache.append('k', 0, values.slice(0, 2));
    await cache.append('k', 0, values.slice(0, 1));
    await cache.append('k', 2, values.slice(2));
    await cache.append('k', 1, values.slice(1));
    expect(await cache.read('k')).toEqual(values);
  });

  test('a key that is no file name is refused', async () => {
    await expect(referenceFiles(folder).read('../x')).rejects.toThrow('"../x" cannot name a cache file');
  });
});

describe('hashes', () => {
  test('files count by content and by where one ends', async () => {
    const paths = await Promise.all(
      [
        ['ab', 'c'],
        ['a', 'bc'],
      ]
        .flat()
        .map(async (content, i) => {
          const path = join(folder, String(i));
          await writeFile(path, content);
          return path;
        }),
    );
    const [first, second] = [await hashFiles(paths.slice(0, 2)), await hashFiles(paths.slice(2))];
    expect(first).toMatch(/^[0-9a-f]{64}$/);
    expect(first).not.toBe(second);
    expect(await hashFiles(paths.slice(0, 2))).toBe(first);
  });

  test('pairs count by their ids’ values and places', () => {
    const pairs = toyPairs(4, 9);
    const hash = hashPairs(pairs);
    expect(hashPairs(pairs.map((pair) => ({ ...pair, id: 'x', prompt: Int32Array.from(pair.prompt) })))).toBe(hash);
    expect(hashPairs([...pairs].reverse())).not.toBe(hash);
    expect(hashPairs(pairs.map((pair) => ({ ...pair, chosen: pair.rejected, rejected: pair.chosen })))).not.toBe(hash);
    const shifted = pairs.map((pair) => ({ ...pair, prompt: [...Array.from(pair.prompt), 1], chosen: pair.chosen }));
    expect(hashPairs(shifted)).not.toBe(hash);
  });

  test('a hash of JSON does not depend on the order of keys, and does on all else', () => {
    expect(hashJson({ a: 1, b: { c: [1, 2], d: null } })).toBe(hashJson({ b: { d: null, c: [1, 2] }, a: 1 }));
    expect(hashJson({ a: [1, 2] })).not.toBe(hashJson({ a: [2, 1] }));
    // sha256 of {"a":1}
    expect(hashJson({ a: 1 })).toBe('015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862');
  });

  property.prop([fc.jsonValue(), fc.jsonValue()])('two JSON values have one hash where they are equal', (a, b) => {
    const text = (value: unknown) => JSON.stringify(value);
    if (text(a) === text(b)) expect(hashJson(a as null)).toBe(hashJson(b as null));
    expect(hashJson(JSON.parse(text(a)) as null)).toBe(hashJson(a as null));
  });
});
