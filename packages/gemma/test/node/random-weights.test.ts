import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { gemma2Presets } from '../../src/config';
import { randomWeights } from '../../src/node/random-weights';
import { openCheckpoint } from '../../src/node/read-checkpoint';
import { writeCheckpoint } from '../../src/node/write-checkpoint';
import { tensorShapes } from '../../src/weights';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'wpo-random-'));
});
afterEach(() => rm(dir, { recursive: true }));

const { tiny } = gemma2Presets;
const wide = { ...tiny, vocabSize: 2 ** 15 + 7 }; // the embedding has more than two parts

const write = async (seed: number, dtype: 'F32' | 'BF16', config = tiny) => {
  await rm(join(dir, 'model.safetensors'), { force: true });
  await writeCheckpoint(
    dir,
    randomWeights(config, { seed }).map(({ name, shape, data }) => ({ name, shape, dtype, data })),
  );
  return readFile(join(dir, 'model.safetensors'));
};
const hash = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex').slice(0, 16);

test('the same seed gives the same bytes, on every machine', async () => {
  expect(hash(await write(0, 'F32'))).toBe('d8f8f885390871e3');
  expect(hash(await write(0, 'BF16'))).toBe('954ffb3440df3e9a');
  expect(hash(await write(1, 'BF16'))).not.toBe(hash(await write(0, 'BF16')));
});

test('values are normal with standard deviation 0.02 in every tensor, and fill every part of a large one', async () => {
  await write(5, 'F32', wide);
  const checkpoint = await openCheckpoint(dir);
  expect(checkpoint.names().sort()).toEqual([...tensorShapes(wide).keys()].sort());
  const embedding = await checkpoint.read('model.embed_tokens.weight');
  const norm = await checkpoint.read('model.norm.weight');
  await checkpoint.close();

  const moment = (power: number) => embedding.reduce((sum, x) => sum + (x / 0.02) ** power, 0) / embedding.length;
  expect(moment(1)).toBeCloseTo(0, 2);
  expect(moment(2)).toBeCloseTo(1, 2);
  expect(moment(3)).toBeCloseTo(0, 1);
  expect(moment(4)).toBeCloseTo(3, 1);
  const share = (test: (x: number) => boolean) => embedding.filter(test).length / embedding.length;
  expect(share((x) => Math.abs(x) < 1.959964 * 0.02)).toBeCloseTo(0.95, 3);
  expect(share((x) => x < -3 * 0.02)).toBeCloseTo(0.00135, 4);
  for (const part of [norm, embedding.subarray(-1000)]) {
    expect(Math.max(...part.map(Math.abs))).toBeGreaterThan(0.03);
    expect(new Set(part).size).toBeGreaterThan(0.9 * part.length);
  }
});

test('values of neighbours and of different tensors are unrelated', () => {
  const first = randomWeights(tiny, { seed: 0 }).map(({ data }) => [...data()][0]!.slice(0, 64));
  expect(new Set(first.map((values) => values.join())).size).toBe(first.length);
  const [embedding] = randomWeights(wide, { seed: 3 });
  let [sum, count] = [0, 0];
  for (const part of embedding!.data()) {
    for (let i = 1; i < part.length; i++) sum += (part[i - 1]! * part[i]!) / 0.0004;
    count += part.length;
  }
  expect(Math.abs(sum / count)).toBeLessThan(4 / Math.sqrt(count));
});
