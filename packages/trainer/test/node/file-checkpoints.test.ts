import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { emptyInterval } from '../../src/metrics';
import { type FileCheckpointsOptions, fileCheckpoints } from '../../src/node';
import { readTensors, writeTensors } from './toy-run';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wpo-checkpoints-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const store = (more: Partial<FileCheckpointsOptions> = {}) =>
  fileCheckpoints(folder, { writeTensors, readTensors, ...more });

const checkpoint = (step: number) => ({
  state: {
    version: 1,
    step,
    cursor: { epoch: 0, pair: step },
    tokens: step * 10,
    rows: step,
    interval: emptyInterval,
    optimizerStep: step,
    evaluationDue: false,
    random: null,
    run: { seed: 1 },
  } as const,
  weights: [{ name: 'w', tensor: tf.tensor1d([step, 0.1]) }],
  optimizer: [{ name: 'w.exp_avg', tensor: tf.tensor1d([step, 1e-30]) }],
});

const collect = async (tensors: AsyncIterable<{ name: string; tensor: tf.Tensor }>) => {
  const found: Record<string, number[]> = {};
  for await (const { name, tensor } of tensors) found[name] = [...tensor.dataSync()];
  return found;
};

test('what was saved comes back as it was', async () => {
  await store().save(checkpoint(7));
  const [found] = await store().list();
  expect(found!.name).toBe(join(folder, 'checkpoint-7'));
  const opened = await found!.open();
  expect(opened.state).toEqual(checkpoint(7).state);
  expect(await collect(opened.weights())).toEqual({ w: [...Float32Array.of(7, 0.1)] });
  expect(await collect(opened.optimizer())).toEqual({ 'w.exp_avg': [...Float32Array.of(7, 1e-30)] });
});

test('checkpoints are listed by step, newest first, and nothing else is', async () => {
  for (const step of [2, 9, 10]) await store().save(checkpoint(step));
  await mkdir(join(folder, 'checkpoint-99.tmp'));
  await mkdir(join(folder, 'model'));
  await writeFile(join(folder, 'metrics.jsonl'), '');
  const names = (await store().list()).map(({ name }) => name.slice(folder.length + 1));
  expect(names).toEqual(['checkpoint-10', 'checkpoint-9', 'checkpoint-2']);
});

test('a folder that is not there has no checkpoints', async () => {
  expect(await fileCheckpoints(join(folder, 'none'), { writeTensors, readTensors }).list()).toEqual([]);
});

test('beyond the limit the oldest go, by number and not by name', async () => {
  for (const step of [8, 9, 10, 11]) await store({ saveTotalLimit: 2 }).save(checkpoint(step));
  expect((await readdir(folder)).sort()).toEqual(['checkpoint-10', 'checkpoint-11']);
});

test('a save that fails leaves what was there, and no half of itself', async () => {
  await store({ saveTotalLimit: 1 }).save(checkpoint(1));
  const failing: FileCheckpointsOptions['writeTensors'] = async (path, tensors) => {
    if (path.includes('optimizer')) throw new Error('no space left on device');
    await writeTensors(path, tensors);
  };
  await expect(store({ saveTotalLimit: 1, writeTensors: failing }).save(checkpoint(2))).rejects.toThrow(
    'no space left',
  );
  expect(await readdir(folder)).toEqual(['checkpoint-1']);
});

test('a checkpoint of a later step, passed over as damaged, is set aside and does not count as newest', async () => {
  await store().save(checkpoint(3));
  await store().save(checkpoint(6));
  await store({ saveTotalLimit: 1 }).save(checkpoint(4));
  expect((await readdir(folder)).sort()).toEqual(['checkpoint-4', 'checkpoint-6.damaged']);
});

test('what a killed save left is cleared by the next', async () => {
  await mkdir(join(folder, 'checkpoint-5.tmp'));
  await writeFile(join(folder, 'checkpoint-5.tmp', 'model.safetensors'), 'half');
  await store().save(checkpoint(5));
  expect(await readdir(folder)).toEqual(['checkpoint-5']);
  const manifest = JSON.parse(await readFile(join(folder, 'checkpoint-5', 'manifest.json'), 'utf8')) as object;
  expect(Object.keys(manifest).sort()).toEqual(['model.safetensors', 'optimizer.safetensors', 'trainer_state.json']);
});

test('a state of another version is refused', async () => {
  const odd = checkpoint(1);
  await store().save({ ...odd, state: { ...odd.state, version: 2 as unknown as 1 } });
  const [found] = await store().list();
  await expect(found!.open()).rejects.toThrow('trainer_state.json has version 2, and 1 is what this reads');
});

test.each([0, 1.5, -1])('a limit of %d is refused', (saveTotalLimit) => {
  expect(() => store({ saveTotalLimit })).toThrow('save_total_limit must be a whole number, 1 or more');
});
