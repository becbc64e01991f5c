import '@wpo/tensorflow';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { openCheckpoint, readModelFolder, writeModelFolder } from '@wpo/gemma/node';
import { expect, test } from 'vitest';
import { peft } from '../../../gemma/test/adapter/peft';
import type { WeighedPair } from '../../src/index';
import { golden, modelFolder, pairsFile, peftAdapter, temporaryFolder } from '../golden';
import { readRows, wpo } from '../wpo';

const { max_length, max_prompt_length } = golden.truncation.limits;

async function logpsOf(model: string) {
  const out = join(temporaryFolder(), 'weights.jsonl');
  const limits = ['--max-length', String(max_length), '--max-prompt-length', String(max_prompt_length)];
  const { status, err } = await wpo('weigh', '--model', model, '--pairs', pairsFile, '--out', out, ...limits);
  expect(status, err).toBe(0);
  return readRows<WeighedPair>(out).map(({ chosen_logps, rejected_logps }) => [chosen_logps, rejected_logps]);
}

test.each(Object.keys(peft.cases))('the merged model gives the log-probs of PEFT’s: %s', async (name) => {
  const out = join(temporaryFolder(), 'merged');
  const merged = await wpo('merge', '--model', modelFolder, '--adapter', peftAdapter(name), '--out', out);
  expect(merged.status, merged.err).toBe(0);
  expect(merged.out).toMatch(/^Merged in float32: [\d,]+ weights changed, none was rounded\.\nThe merged model is in /);
  expect(readdirSync(out)).toEqual([
    'chat_template.jinja',
    'config.json',
    'generation_config.json',
    'model.safetensors',
    'tokenizer.json',
    'tokenizer_config.json',
  ]);
  for (const [i, [chosen, rejected]] of (await logpsOf(out)).entries()) {
    const expected = peft.cases[name]!.mergedLogps[i]!;
    expect(Math.abs(chosen! / expected.chosen - 1)).toBeLessThan(1e-5);
    expect(Math.abs(rejected! / expected.rejected - 1)).toBeLessThan(1e-5);
  }
});

test('weights without an adapter are copied', async () => {
  const out = join(temporaryFolder(), 'merged');
  await wpo('merge', '--model', modelFolder, '--adapter', peftAdapter('query-value'), '--out', out);
  const [before, after] = [await openCheckpoint(modelFolder), await openCheckpoint(out)];
  expect(after.names()).toEqual(before.names());
  for (const name of before.names()) {
    const isSame = Buffer.from(await before.readRaw(name)).equals(Buffer.from(await after.readRaw(name)));
    expect(isSame, name).toBe(!/[qv]_proj/.test(name));
  }
  await Promise.all([before.close(), after.close()]);
});

test('says how much of the update rounding to bfloat16 changed, and that float32 keeps it', async () => {
  const folder = temporaryFolder();
  const [base, out] = [join(folder, 'base'), join(folder, 'merged')];
  const { config, configJson, checkpoint } = await readModelFolder(modelFolder);
  const tensors = checkpoint.names().map((name) => ({
    name,
    shape: checkpoint.info(name).shape,
    data: () => checkpoint.read(name),
  }));
  await writeModelFolder(base, { config, configJson, tensors, dtype: 'BF16', copyFrom: modelFolder });
  await checkpoint.close();
  const adapter = ['--adapter', peftAdapter('all-linear')];
  const merged = await wpo('merge', '--model', base, ...adapter, '--out', out);
  expect(merged.out).toMatch(
    /^Rounding to bfloat16 changed the update by \d(\.\d)? % of its norm; \d(\.\d)? % of the weights that it moves are as before\.\n/,
  );
  const written = await openCheckpoint(out);
  expect(written.info('model.layers.0.mlp.up_proj.weight').dtype).toBe('BF16');
  await written.close();
  const wide = await wpo('merge', '--model', base, ...adapter, '--out', join(folder, 'wide'), '--dtype', 'float32');
  expect(wide.out).toContain('Merged in float32');
  const half = await wpo('merge', '--model', base, ...adapter, '--out', join(folder, 'half'), '--dtype', 'float16');
  const lost = (text: string) => Number(/update by ([\d.]+) %/.exec(text)![1]);
  expect(lost(half.out)).toBeLessThan(lost(merged.out) / 4); // three bits more
});

test.each([
  [['--adapter', peftAdapter('layers'), '--out', modelFolder], '--out: expected another folder than the inputs'],
  [['--adapter', modelFolder, '--out', 'x'], 'found a whole model. Give it as the model, without an adapter.'],
  [['--out', 'x'], '--adapter'],
])('%j is an error', async (args, message) => {
  const { status, err } = await wpo('merge', '--model', modelFolder, ...args);
  expect(status).toBe(1);
  expect(err).toContain(message);
  expect(existsSync('x')).toBe(false);
});
