import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { goldenConfig, pairsFile, temporaryFolder, trainFrom } from '../golden';
import { capture, wpo } from '../wpo';

const folder = temporaryFolder();
const run = join(folder, 'run');
const weightsOf = (path: string) => readFileSync(join(path, 'model.safetensors'));

beforeAll(async () => {
  const set = ['max_steps=3', 'save_steps=1', 'save_total_limit=3', 'save_dtype=float32'];
  await trainFrom({ config: goldenConfig(folder), set }, capture());
});

test('a checkpoint is a model for every command', async () => {
  const checkpoint = join(run, 'checkpoint-2');
  const answer = await wpo('generate', '--model', checkpoint, '--prompt', 'Why?', '--max-new-tokens', '4', '--json');
  expect(answer.status, answer.err).toBe(0);
  const out = join(folder, 'weights.jsonl');
  expect((await wpo('weigh', '--model', checkpoint, '--pairs', pairsFile, '--out', out)).status).toBe(0);
  const last = join(run, 'checkpoint-3');
  const after = await wpo('generate', '--model', last, '--prompt', 'Why?', '--max-new-tokens', '4', '--json');
  const model = await wpo(
    'generate',
    '--model',
    join(run, 'model'),
    '--prompt',
    'Why?',
    '--max-new-tokens',
    '4',
    '--json',
  );
  expect(after.out).toBe(model.out);
});

test('export writes the newest checkpoint as the model that the run itself writes', async () => {
  const { status, out, err } = await wpo('export', run);
  expect(status, err).toBe(0);
  expect(out).toMatch(/^The model after step 3 is in .*run\/model-3\n$/);
  const exported = join(run, 'model-3');
  expect(readdirSync(exported).sort()).toEqual(readdirSync(join(run, 'model')).sort());
  for (const name of readdirSync(exported)) {
    expect(readFileSync(join(exported, name)).equals(readFileSync(join(run, 'model', name))), name).toBe(true);
  }
});

test('export takes a step, a folder and a number type', async () => {
  const out = join(folder, 'exported', 'two');
  for (const dtype of ['bfloat16', 'float16']) {
    const { status, err } = await wpo('export', run, '--checkpoint', '2', '--out', out, '--dtype', dtype);
    expect(status, err).toBe(0);
    expect(JSON.parse(readFileSync(join(out, 'config.json'), 'utf8')).dtype).toBe(dtype);
    expect(weightsOf(out).length).toBeLessThan(0.6 * weightsOf(join(run, 'checkpoint-2')).length);
    expect(existsSync(join(out, 'optimizer.safetensors'))).toBe(false);
    rmSync(out, { recursive: true });
  }
});

test('a step without a checkpoint and a folder without a run are named', async () => {
  const missing = await wpo('export', run, '--checkpoint', '7');
  expect(missing.status).toBe(1);
  expect(missing.err).toBe(`--checkpoint: expected a step of which ${run} has a checkpoint (3, 2, 1), found 7.\n`);
  const none = await wpo('export', join(run, 'reference'));
  expect(none.err).toContain(`${join(run, 'reference')}: expected the folder of a run with checkpoints`);
});

test('a damaged checkpoint is not exported: the one before it is, or the damage is named', async () => {
  const path = join(run, 'checkpoint-3', 'model.safetensors');
  const bytes = readFileSync(path);
  bytes[bytes.length - 5]! ^= 1;
  writeFileSync(path, bytes);
  const asked = await wpo('export', run, '--checkpoint', '3');
  expect(asked.status).toBe(1);
  expect(asked.err).toContain(`${join(run, 'checkpoint-3')}: model.safetensors: expected SHA-256`);
  rmSync(join(run, 'model-3'), { recursive: true });
  const newest = await wpo('export', run);
  expect(newest.status).toBe(0);
  expect(newest.err).toContain('model.safetensors: expected SHA-256');
  expect(readdirSync(run)).toContain('model-2');
  expect(readdirSync(run)).not.toContain('model-3');
});
