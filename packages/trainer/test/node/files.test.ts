import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { hashPairs, metricsFile, referenceFiles } from '../../src/node';
import { toyPairs } from '../toy-policy';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wpo-files-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('metrics file', () => {
  const lines = async (path: string) => (await readFile(path, 'utf8')).split('\n');

  test('rows are written as whole lines, and the folder is created', async () => {
    const path = join(folder, 'a', 'b', 'metrics.jsonl');
    const sink = metricsFile(path);
    await sink.rewind!([]);
    await sink.write({ step: 1, loss: 0.5 });
    await sink.write({ step: 2, loss: 1e-7 });
    expect(await lines(path)).toEqual(['{"step":1,"loss":0.5}', '{"step":2,"loss":1e-7}', '']);
  });

  const rows = [{ step: 1 }, { step: 2 }];

  test('rewind keeps the rows of the run so far and drops later rows and an incomplete line', async () => {
    const path = join(folder, 'metrics.jsonl');
    const warnings: string[] = [];
    const sink = metricsFile(path, { warn: (message) => warnings.push(message) });
    await writeFile(path, '{"step":1}\n{"step":2}\n{"step":3}\n{"st');
    await sink.rewind!(rows);
    expect(await lines(path)).toEqual(['{"step":1}', '{"step":2}', '']);
    await sink.rewind!([]);
    expect(await lines(path)).toEqual(['']);
    expect(await readdir(folder)).toEqual(['metrics.jsonl']);
    expect(warnings).toEqual([]);
  });

  test.each([undefined, '', '{"step":1}\n', '{"step":1}\n{"step":3}\n', '{"step":1}{"step":2}\n', '\0\xff'])(
    'rewind restores the rows where the file is %j, and warns',
    async (found) => {
      const path = join(folder, 'metrics.jsonl');
      const warnings: string[] = [];
      if (found !== undefined) await writeFile(path, found);
      await metricsFile(path, { warn: (message) => warnings.push(message) }).rewind!(rows);
      expect(await lines(path)).toEqual(['{"step":1}', '{"step":2}', '']);
      expect(warnings).toEqual([
        `${path}: expected the 2 rows of the run so far, found others. They are restored from the checkpoint.`,
      ]);
    },
  );
});

describe('reference files', () => {
  const values = [
    { chosen: -1.5, rejected: -2.25 },
    { chosen: Math.fround(-0.1), rejected: -1e-8 },
    { chosen: -300, rejected: -4 },
  ];

  test('stored values are read back unchanged', async () => {
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

  test('the incomplete line of a killed run is dropped, and new values replace it', async () => {
    const cache = referenceFiles(folder);
    await cache.append('k', 0, values.slice(0, 2));
    await appendFile(join(folder, 'k.jsonl'), '{"pair":2,"chosen":-30');
    expect(await cache.read('k')).toEqual(values.slice(0, 2));
    expect((await readFile(join(folder, 'k.jsonl'), 'utf8')).endsWith('"}\n')).toBe(true);
    await cache.append('k', 2, values.slice(2));
    expect(await cache.read('k')).toEqual(values);
  });

  test.each([
    ['another text', (line: string) => `garbage${line}`],
    ['a changed digit', (line: string) => line.replace('-0.1', '-0.2')],
    ['another pair', (line: string) => line.replace('"pair":1', '"pair":0')],
    ['a line without a checksum', (line: string) => line.replace(/,"checksum":"\w+"/, '')],
  ])('values from a damaged line on are recomputed, with a warning: %s', async (_, damage) => {
    const warnings: string[] = [];
    const cache = referenceFiles(folder, { warn: (message) => warnings.push(message) });
    await cache.append('k', 0, values);
    const path = join(folder, 'k.jsonl');
    const written = (await readFile(path, 'utf8')).split('\n');
    const damaged = written.map((line, i) => (i === 1 ? damage(line) : line));
    expect(damaged).not.toEqual(written);
    await writeFile(path, damaged.join('\n'));
    expect(await cache.read('k')).toEqual(values.slice(0, 1));
    expect(warnings).toEqual([
      `${path}:2: expected a line with its checksum, found another. The reference's log-probs from pair 2 on are recomputed.`,
    ]);
    await cache.append('k', 1, values.slice(1));
    expect(await cache.read('k')).toEqual(values);
  });

  test('the lines of another key are not taken', async () => {
    const cache = referenceFiles(folder, { warn: () => {} });
    await cache.append('k', 0, values);
    await writeFile(join(folder, 'other.jsonl'), await readFile(join(folder, 'k.jsonl')));
    expect(await cache.read('other')).toEqual([]);
  });

  test('two processes that write the same cache do not mix up pairs', async () => {
    const cache = referenceFiles(folder);
    await cache.append('k', 0, values.slice(0, 2));
    await cache.append('k', 0, values.slice(0, 1));
    await cache.append('k', 2, values.slice(2));
    await cache.append('k', 1, values.slice(1));
    expect(await cache.read('k')).toEqual(values);
  });

  test('a key that is not a valid file name is rejected', async () => {
    await expect(referenceFiles(folder).read('../x')).rejects.toThrow('found "../x"');
  });
});

test('the hash of pairs depends on the values and positions of token ids', () => {
  const pairs = toyPairs(4, 9);
  const hash = hashPairs(pairs);
  expect(hashPairs(pairs.map((pair) => ({ ...pair, id: 'x', prompt: Int32Array.from(pair.prompt) })))).toBe(hash);
  expect(hashPairs([...pairs].reverse())).not.toBe(hash);
  expect(hashPairs(pairs.map((pair) => ({ ...pair, chosen: pair.rejected, rejected: pair.chosen })))).not.toBe(hash);
  const shifted = pairs.map((pair) => ({ ...pair, prompt: [...Array.from(pair.prompt), 1], chosen: pair.chosen }));
  expect(hashPairs(shifted)).not.toBe(hash);
});
