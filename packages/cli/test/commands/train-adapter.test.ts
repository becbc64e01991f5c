import '@wpo/tensorflow';
import { cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { openSafetensors } from '@wpo/gemma/node';
import { storedBytes } from '@wpo/tensorflow/kernels';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { goldenConfig, modelFolder, peftAdapter, readMetrics, temporaryFolder, timeless, trainFrom } from '../golden';
import { capture, wpo } from '../wpo';

let tensors: number;
beforeEach(() => {
  tensors = tf.memory().numTensors;
});
afterEach(() => {
  expect(storedBytes()).toEqual({ allocated: 0, mapped: 0 });
  expect(tf.memory().numTensors).toBe(tensors);
});

const NEW = ['use_peft=true', 'lora_target_modules=all-linear', 'lora_r=4', 'max_steps=3', 'save_steps=1'];
const FROM_FOLDER = [`adapter_name_or_path=${peftAdapter('all-linear')}`, 'max_steps=3', 'save_steps=1'];

const json = (path: string) => JSON.parse(readFileSync(path, 'utf8'));

async function trained(set: readonly string[]) {
  const folder = temporaryFolder();
  const terminal = capture();
  expect(await trainFrom({ config: goldenConfig(folder), set }, terminal)).toBe(0);
  const run = join(folder, 'run');
  return {
    run,
    terminal,
    rows: timeless(readMetrics(run)),
    adapter: readFileSync(join(run, 'model/adapter_model.safetensors')),
  };
}

test('a run with use_peft writes an adapter in PEFT’s format, and checkpoints that hold the adapter only', async () => {
  const { run, terminal } = await trained([...NEW, 'eval_split=0.25']);
  expect(readdirSync(join(run, 'model'))).toEqual([
    'README.md',
    'adapter_config.json',
    'adapter_model.safetensors',
    'chat_template.jinja',
    'tokenizer.json',
    'tokenizer_config.json',
    'training-loss.svg',
    'training-margins.svg',
    'training-weights.svg',
  ]);
  expect(json(join(run, 'model/adapter_config.json'))).toMatchObject({
    base_model_name_or_path: modelFolder,
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    r: 4,
    lora_alpha: 32,
    target_modules: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'],
  });
  const weights = await openSafetensors(join(run, 'model/adapter_model.safetensors'));
  expect(weights.names()).toHaveLength(2 * 7 * 4);
  expect(weights.info('base_model.model.model.layers.3.mlp.down_proj.lora_B.weight')).toEqual({
    dtype: 'F32',
    shape: [64, 4],
  });
  await weights.close();
  const checkpoint = join(run, 'checkpoint-3');
  expect(readdirSync(checkpoint)).toEqual([
    'adapter_config.json',
    'adapter_model.safetensors',
    'chat_template.jinja',
    'manifest.json',
    'optimizer.safetensors',
    'tokenizer.json',
    'tokenizer_config.json',
    'trainer_state.json',
  ]);
  const size = (name: string) => statSync(join(checkpoint, name)).size;
  expect(size('optimizer.safetensors')).toBeLessThan(2.5 * size('adapter_model.safetensors'));
  expect(size('adapter_model.safetensors')).toBeLessThan(100_000);
  // B is 0 at first: the policy is its reference to the last bit
  const [before] = readMetrics(run);
  expect(before).toMatchObject({ step: 0, 'eval_rewards/chosen': 0, 'eval_rewards/rejected': 0 });
  expect(terminal.out()).toMatch(/pairs +12\n +steps +3\n/);
});

describe.each([
  ['a new adapter', NEW],
  ['an adapter of PEFT', FROM_FOLDER],
  ['a new adapter with DoRA and dropout', [...NEW, 'use_dora=true', 'lora_dropout=0.1', 'use_rslora=true']],
])('%s', (_, set) => {
  test('the reference that runs in each step gives the same bits as precomputed log-probs', async () => {
    const [first, second] = [await trained(set), await trained([...set, 'precompute_ref_log_probs=false'])];
    expect(second.rows).toEqual(first.rows);
    expect(second.adapter.equals(first.adapter)).toBe(true);
    // it starts at its reference; with dropout, DoRA adds its terms in another order, which rounds differently
    for (const name of ['rewards/chosen', 'rewards/rejected']) {
      if (set.includes('lora_dropout=0.1')) expect(first.rows[0]![name]).toBeCloseTo(0, 6);
      else expect(first.rows[0]![name]).toBe(0);
    }
  });

  test('a run that is resumed from a checkpoint ends with the same bits', async () => {
    const whole = await trained(set);
    const folder = temporaryFolder();
    const config = goldenConfig(folder);
    const run = join(folder, 'run');
    const cut = join(folder, 'cut');
    await trainFrom({ config, set }, capture());
    cpSync(run, cut, { recursive: true });
    for (const name of ['checkpoint-3', 'model']) rmSync(join(cut, name), { recursive: true });
    const resumed = [...set, `output_dir=${cut}`];
    expect(await trainFrom({ config, set: resumed, resume: true }, capture())).toBe(0);
    expect(timeless(readMetrics(cut))).toEqual(whole.rows);
    for (const name of ['model/adapter_model.safetensors', 'checkpoint-3/optimizer.safetensors']) {
      expect(readFileSync(join(cut, name)).equals(readFileSync(join(whole.run, name))), name).toBe(true);
    }
  });
});

test('under a model of bfloat16 files, training gives the same metrics as with its weights in float32', async () => {
  const set = [...NEW, 'use_dora=true', `model_name_or_path=${join(modelFolder, '../odd')}`, 'eval_split=0.25'];
  const [narrow, wide] = [await trained(set), await trained([...set, 'dtype=float32'])];
  for (const [i, row] of narrow.rows.entries()) {
    for (const [name, value] of Object.entries(row)) {
      expect(Math.abs((value as number) - (wide.rows[i]![name] as number)), `${name} of row ${i}`).toBeLessThan(1e-4);
    }
  }
  expect(narrow.rows[0]).toMatchObject({ 'eval_rewards/chosen': 0, 'eval_rewards/rejected': 0 });
  const size = (name: string) => statSync(join(narrow.run, 'model', name)).size;
  expect(size('adapter_model.safetensors')).toBe(wide.adapter.length); // adapters are float32
});

test('an adapter that is trained further keeps its settings', async () => {
  const { run } = await trained([`adapter_name_or_path=${peftAdapter('patterns')}`, 'max_steps=1']);
  const [before, after] = [
    json(join(peftAdapter('patterns'), 'adapter_config.json')),
    json(join(run, 'model/adapter_config.json')),
  ];
  for (const key of ['r', 'lora_alpha', 'rank_pattern', 'alpha_pattern', 'target_modules', 'use_rslora', 'use_dora']) {
    expect(after[key], key).toEqual(before[key]);
  }
});

test('another reference can be set: the base model of an adapter that is trained further', async () => {
  const base = await trained([...FROM_FOLDER, `ref_model_name_or_path=${modelFolder}`]);
  expect(base.rows[0]!['rewards/chosen']).not.toBe(0);
  const perStep = await trained([
    ...FROM_FOLDER,
    `ref_model_name_or_path=${modelFolder}`,
    'precompute_ref_log_probs=false',
  ]);
  expect(perStep.rows).toEqual(base.rows);
  const off = await trained([...NEW, `ref_model_name_or_path=${modelFolder}`]);
  expect(off.rows).toEqual((await trained(NEW)).rows); // the base model is what the adapter off computes
});

test('the best adapter is saved with load_best_model_at_end', async () => {
  const set = [...NEW, 'eval_split=0.25', 'eval_steps=1', 'load_best_model_at_end=true', 'learning_rate=1'];
  const { run, terminal, adapter } = await trained(set);
  const [, step] = /of checkpoint-(\d), the best/.exec(terminal.out())!;
  expect(readFileSync(join(run, `checkpoint-${step}`, 'adapter_model.safetensors')).equals(adapter)).toBe(true);
});

test('resuming with another adapter is an error', async () => {
  const folder = temporaryFolder();
  const config = goldenConfig(folder);
  const adapter = join(folder, 'adapter');
  cpSync(peftAdapter('query-value'), adapter, { recursive: true });
  const set = [`adapter_name_or_path=${adapter}`, 'save_steps=1'];
  await trainFrom({ config, set: [...set, 'max_steps=1'] }, capture());
  cpSync(peftAdapter('rslora'), adapter, { recursive: true });
  const resumed = trainFrom({ config, set: [...set, 'max_steps=2'], resume: true }, capture());
  await expect(resumed).rejects.toThrow('adapter_sha256: expected');
});

test.each([
  [
    ['use_peft=true', 'lora_target_modules=q_prj'],
    'lora_target_modules: expected names of linear layers of this model (q_proj, k_proj',
  ],
  [
    ['use_peft=true', 'lora_target_modules=(q'],
    'lora_target_modules: expected a regular expression that can be used, found a ( that is not closed',
  ],
  [[`adapter_name_or_path=${modelFolder}`], 'found a whole model. Give it as the model, without an adapter.'],
  [['adapter_name_or_path=/nowhere'], "/nowhere: expected an adapter's folder in PEFT's format"],
])('%j is an error', async (set, message) => {
  await expect(trainFrom({ config: goldenConfig(temporaryFolder()), set }, capture())).rejects.toThrow(message);
});

test('a checkpoint of an adapter is an adapter for every command, and export writes it as the run does', async () => {
  const { run, terminal } = await trained(NEW);
  expect(terminal.out()).toContain(`adapter        ${join(run, 'model')}, an adapter of ${modelFolder}\n`);
  const generate = ['generate', '--model', modelFolder, '--prompt', 'Why?', '--max-new-tokens', '4', '--json'];
  const last = await wpo(...generate, '--adapter', join(run, 'checkpoint-3'));
  expect(last.status, last.err).toBe(0);
  expect(last.out).toBe((await wpo(...generate, '--adapter', join(run, 'model'))).out);

  const { status, out, err } = await wpo('export', run);
  expect(status, err).toBe(0);
  expect(out).toMatch(/^The adapter after step 3 is in .*run\/model-3\n$/);
  expect(readdirSync(join(run, 'model-3'))).toEqual(readdirSync(join(run, 'model')));
  for (const name of readdirSync(join(run, 'model'))) {
    expect(readFileSync(join(run, 'model-3', name)).equals(readFileSync(join(run, 'model', name))), name).toBe(true);
  }
  const half = await wpo('export', run, '--checkpoint', '2', '--out', join(run, 'half'), '--dtype', 'bfloat16');
  expect(half.status, half.err).toBe(0);
  const size = (folder: string) => statSync(join(run, folder, 'adapter_model.safetensors')).size;
  expect(size('half')).toBeLessThan(0.6 * size('model'));
  const rounded = await wpo(...generate, '--adapter', join(run, 'half'));
  expect(rounded.status, rounded.err).toBe(0);
});

test('the seed decides the dropout of an adapter that is trained further', async () => {
  const folder = join(temporaryFolder(), 'adapter');
  cpSync(peftAdapter('all-linear'), folder, { recursive: true });
  const config = join(folder, 'adapter_config.json');
  writeFileSync(config, JSON.stringify({ ...json(config), lora_dropout: 0.5 }));
  const by = async (seed: number) =>
    (await trained([`adapter_name_or_path=${folder}`, 'max_steps=3', `seed=${seed}`])).adapter;
  expect(await by(1)).toEqual(await by(1));
  expect(await by(1)).not.toEqual(await by(2));
});
