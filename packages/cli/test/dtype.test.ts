import '@wpo/tensorflow';
import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { readModelFolder, writeModelFolder } from '@wpo/gemma/node';
import { storedBytes } from '@wpo/tensorflow/kernels';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import {
  golden,
  goldenConfig,
  modelFolder,
  pairsFile,
  readMetrics,
  temporaryFolder,
  timeless,
  trainFrom,
} from './golden';
import { capture, wpo, writeRows } from './wpo';

const { max_length, max_prompt_length } = golden.truncation.limits;
const limits = ['--max-length', String(max_length), '--max-prompt-length', String(max_prompt_length)];

/** A fixture's model whose weights are bfloat16, in three files. */
const narrowModel = join(modelFolder, '../odd');

let tensors: number;
beforeEach(() => {
  vi.stubEnv('WPO_ISA', 'avx512'); // with AMX, the bits of products may differ
  tensors = tf.memory().numTensors;
});
afterEach(() => {
  vi.unstubAllEnvs();
  expect(storedBytes()).toEqual({ allocated: 0, mapped: 0 });
  expect(tf.memory().numTensors).toBe(tensors);
});

async function outputOf(...args: string[]): Promise<string> {
  const { status, out, err } = await wpo(...args);
  expect(status, err).toBe(0);
  return out;
}

async function fileBy(name: string, args: readonly string[]): Promise<string> {
  const out = join(temporaryFolder(), name);
  await outputOf(...args, '--out', out);
  return readFileSync(out, 'utf8');
}

const prompts = () => {
  const path = join(temporaryFolder(), 'prompts.jsonl');
  writeRows(path, [{ prompt: 'Why is the sky blue?' }, { prompt: 'Name a colour.' }]);
  return path;
};

const commands: readonly (readonly [string, (...dtype: string[]) => Promise<string>])[] = [
  [
    'weigh',
    (...dtype) => fileBy('w.jsonl', ['weigh', '--model', narrowModel, '--pairs', pairsFile, ...limits, ...dtype]),
  ],
  [
    'generate',
    (...dtype) => outputOf('generate', '--model', narrowModel, '--prompt', 'Why?', '--max-new-tokens', '9', ...dtype),
  ],
  [
    'eval',
    (...dtype) =>
      outputOf(
        ...['eval', '--pairs', pairsFile, '--model', narrowModel, '--ref', narrowModel, '--json', ...limits],
        ...['--kl-prompts', '2', '--max-new-tokens', '5', ...dtype],
      ),
  ],
  [
    'inspect',
    (...dtype) => outputOf('inspect', pairsFile, '--model', narrowModel, '--json', '--weigh', '3', ...limits, ...dtype),
  ],
];

test.each(commands)('wpo %s has the same results with bfloat16 weights as in float32', async (_, run) => {
  const expected = await run('--dtype', 'float32');
  expect(await run()).toBe(expected);
  expect(await run('--dtype', 'bfloat16')).toBe(expected);
});

test('wpo sample has the same answers with bfloat16 weights, and resumes them only with the same rounding', async () => {
  const args = ['sample', '--model', narrowModel, '--prompts', prompts(), '-n', '2', '--max-new-tokens', '6'];
  const expected = await fileBy('a.jsonl', [...args, '--dtype', 'float32']);
  expect(await fileBy('a.jsonl', args)).toBe(expected);
  const out = join(temporaryFolder(), 'b.jsonl');
  await outputOf(...args, '--out', out, '--dtype', 'bfloat16');
  const rows = (text: string) =>
    text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as object);
  expect(rows(readFileSync(out, 'utf8'))).toEqual(rows(expected).map((row) => ({ ...row, dtype: 'bfloat16' })));
  const { err, status } = await wpo(...args, '--out', out);
  expect(err).toContain('dtype: expected none, found bfloat16.');
  expect(status).toBe(1);
});

test('wpo sample refuses a number type for the model of a server', async () => {
  const { err } = await wpo(
    ...['sample', '--endpoint', 'http://127.0.0.1:9', '--prompts', prompts(), '--out', 'a.jsonl', '--dtype', 'float32'],
  );
  expect(err).toContain('--dtype: expected no value with --endpoint, found float32. The server has loaded its model.');
});

test('--dtype bfloat16 rounds float32 weights as a model that is saved in bfloat16', async () => {
  const rounded = join(temporaryFolder(), 'rounded');
  cpSync(modelFolder, rounded, { recursive: true });
  const { config, configJson, checkpoint } = await readModelFolder(modelFolder);
  const saved = checkpoint.names().map((name) => ({
    name,
    shape: checkpoint.info(name).shape,
    data: () => checkpoint.read(name),
  }));
  await writeModelFolder(rounded, { config, configJson, tensors: saved, dtype: 'BF16', copyFrom: modelFolder });
  await checkpoint.close();
  const weigh = (...args: string[]) => fileBy('w.jsonl', ['weigh', '--pairs', pairsFile, ...limits, ...args]);
  const found = await weigh('--model', modelFolder, '--dtype', 'bfloat16');
  expect(found).toBe(await weigh('--model', rounded));
  expect(found).not.toBe(await weigh('--model', modelFolder));
});

test.each([
  ['an adapter', ['use_peft=true', 'lora_target_modules=all-linear', 'lora_r=2', `model_name_or_path=${narrowModel}`]],
  ['a reference model', [`ref_model_name_or_path=${narrowModel}`]],
  ['a reference that runs in each step', [`ref_model_name_or_path=${narrowModel}`, 'precompute_ref_log_probs=false']],
])('training with %s has the same metrics with bfloat16 weights as in float32', async (_, set) => {
  const folder = temporaryFolder();
  const metrics = async (dtype: string) => {
    const output = join(folder, dtype);
    const all = [...set, 'max_steps=2', 'save_steps=0', `output_dir=${output}`, `dtype=${dtype}`];
    expect(await trainFrom({ config: goldenConfig(folder), set: all }, capture())).toBe(0);
    return timeless(readMetrics(output));
  };
  expect(await metrics('auto')).toEqual(await metrics('float32'));
});

test('dtype: float32 does not change the type of the saved model, and says so', async () => {
  const folder = temporaryFolder();
  const terminal = capture();
  const set = [`model_name_or_path=${narrowModel}`, 'max_steps=1', 'save_steps=0', 'dtype=float32'];
  expect(await trainFrom({ config: goldenConfig(folder), set }, terminal)).toBe(0);
  expect(terminal.err()).toContain(
    'dtype: float32 is how weights are held in memory. The model is saved in bfloat16, the type of its files; for another type set ' +
      'save_dtype.',
  );
  const { checkpoint } = await readModelFolder(join(folder, 'run', 'model'));
  await checkpoint.close();
  expect(checkpoint.info(checkpoint.names()[0]!).dtype).toBe('BF16');
});
