import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { healthyStart } from '../../src/collapse';
import { emptyInterval } from '../../src/metrics';
import { type FileCheckpointsOptions, fileCheckpoints } from '../../src/node';
import { type SavedTensor, savedTensor } from '../../src/values';
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
    tokens: step * 10,
    log: [{ step, loss: 0.1 }],
    interval: emptyInterval,
    optimizerStep: step,
    evaluationDue: false,
    skippedSteps: 0,
    best: null,
    health: healthyStart,
    healthyUpTo: 0,
    goodStep: null,
    random: null,
    run: { seed: 1 },
  } as const,
  weights: [savedTensor('w', tf.tensor1d([step, 0.1]))],
  optimizer: [savedTensor('w.exp_avg', tf.tensor1d([step, 1e-30]))],
});

const collect = async (tensors: AsyncIterable<SavedTensor>) => {
  const found: Record<string, number[]> = {};
  for await (const { name, shape, read } of tensors) found[name] = [...(await read(0, shape[0]!))];
  return found;
};

test('a saved checkpoint is read back unchanged', async () => {
  await store().save(checkpoint(7));
  const [found] = await store().list();
  expect(found!.name).toBe(join(folder, 'checkpoint-7'));
  const opened = await found!.open();
  expect(opened.state).toEqual(checkpoint(7).state);
  expect(await collect(opened.weights())).toEqual({ w: [...Float32Array.of(7, 0.1)] });
  expect(await collect(opened.optimizer())).toEqual({ 'w.exp_avg': [...Float32Array.of(7, 1e-30)] });
});

test('list returns checkpoints only, newest first', async () => {
  for (const step of [2, 9, 10]) await store().save(checkpoint(step));
  await mkdir(join(folder, 'checkpoint-99.tmp'));
  await mkdir(join(folder, 'model'));
  await writeFile(join(folder, 'metrics.jsonl'), '');
  const names = (await store().list()).map(({ name }) => name.slice(folder.length + 1));
  expect(names).toEqual(['checkpoint-10', 'checkpoint-9', 'checkpoint-2']);
});

test('a missing folder has no checkpoints', async () => {
  expect(await fileCheckpoints(join(folder, 'none'), { writeTensors, readTensors }).list()).toEqual([]);
});

test('the oldest checkpoints beyond the limit are removed, by number', async () => {
  for (const step of [8, 9, 10, 11]) await store({ saveTotalLimit: 2 }).save(checkpoint(step));
  expect((await readdir(folder)).sort()).toEqual(['checkpoint-10', 'checkpoint-11']);
});

test.each([
  { limit: 2, keep: [9], left: [11, 9] },
  { limit: 1, keep: [9], left: [11, 9] },
  { limit: 3, keep: [8, 10], left: [11, 10, 8] },
  { limit: 3, keep: [], left: [11, 10, 9] },
])('a limit of $limit keeps the newest and $keep', async ({ limit, keep, left }) => {
  for (const step of [8, 9, 10]) await store().save(checkpoint(step));
  await store({ saveTotalLimit: limit }).save({ ...checkpoint(11), keep });
  expect((await store().list()).map(({ step }) => step)).toEqual(left);
});

test('a checkpoint has the model’s other files, and the manifest covers them', async () => {
  const writeModelFiles = (path: string) => writeFile(join(path, 'config.json'), '{"a":1}');
  await store({ writeModelFiles }).save(checkpoint(1));
  const path = join(folder, 'checkpoint-1', 'config.json');
  expect(await readFile(path, 'utf8')).toBe('{"a":1}');
  const [found] = await store().list();
  await found!.open();
  await writeFile(path, '{"a":2}');
  await expect(found!.open()).rejects.toThrow('config.json: expected SHA-256');
});

test('too little disk space is found before anything is written, and what to delete is named', async () => {
  await store().save(checkpoint(1));
  await store().save(checkpoint(2));
  const huge = { ...savedTensor('w', tf.tensor1d([0])), shape: [1e17] };
  const failing = store().save({ ...checkpoint(3), weights: [huge] });
  await expect(failing).rejects.toThrow(`${folder}: cannot be written: expected 400000.0 TB of free disk space, found`);
  await expect(failing).rejects.toThrow(`Delete what is no longer needed, e.g. ${join(folder, 'checkpoint-1')} (`);
  await expect(failing).rejects.not.toThrow(join(folder, 'checkpoint-2'));
  expect((await readdir(folder)).sort()).toEqual(['checkpoint-1', 'checkpoint-2']);
});

test('a failed save keeps the old checkpoints and leaves no part of the new one', async () => {
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

test('a damaged checkpoint of a later step is renamed and does not count as newest', async () => {
  await store().save(checkpoint(3));
  await store().save(checkpoint(6));
  await store({ saveTotalLimit: 1 }).save(checkpoint(4));
  expect((await readdir(folder)).sort()).toEqual(['checkpoint-4', 'checkpoint-6.damaged']);
});

test('the next save removes the leftovers of a killed one', async () => {
  await mkdir(join(folder, 'checkpoint-5.tmp'));
  await writeFile(join(folder, 'checkpoint-5.tmp', 'model.safetensors'), 'half');
  await store().save(checkpoint(5));
  expect(await readdir(folder)).toEqual(['checkpoint-5']);
  const manifest = JSON.parse(await readFile(join(folder, 'checkpoint-5', 'manifest.json'), 'utf8')) as object;
  expect(Object.keys(manifest).sort()).toEqual([
    'checksum',
    'model.safetensors',
    'optimizer.safetensors',
    'trainer_state.json',
  ]);
});

test('a state of another version is rejected', async () => {
  const odd = checkpoint(1);
  await store().save({ ...odd, state: { ...odd.state, version: 2 as unknown as 1 } });
  const [found] = await store().list();
  await expect(found!.open()).rejects.toThrow('trainer_state.json: expected version 1, found 2');
});

test.each([0, 1.5, -1])('a limit of %d is rejected', (saveTotalLimit) => {
  expect(() => store({ saveTotalLimit })).toThrow('save_total_limit: expected an integer of at least 1');
});

test('the weights have the name that was chosen', async () => {
  const named = store({ weightsFile: 'adapter_model.safetensors' });
  await named.save(checkpoint(7));
  expect(await readdir(join(folder, 'checkpoint-7'))).toContain('adapter_model.safetensors');
  const [found] = await named.list();
  expect(await collect((await found!.open()).weights())).toEqual({ w: [...Float32Array.of(7, 0.1)] });
  const [other] = await store().list();
  await expect(other!.open()).rejects.toThrow('manifest.json: expected an entry for model.safetensors, found none');
});
