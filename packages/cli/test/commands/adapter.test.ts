import '@wpo/tensorflow';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { peft } from '../../../gemma/test/adapter/peft';
import type { Generated, Inspection, SampleRow, WeighedPair } from '../../src/index';
import { golden, modelFolder, pairsFile, peftAdapter, temporaryFolder } from '../golden';
import { readRows, wpo } from '../wpo';

// --adapter of the commands that run a model.

const { max_length, max_prompt_length } = golden.truncation.limits;
const limits = ['--max-length', String(max_length), '--max-prompt-length', String(max_prompt_length)];

test.each(Object.keys(peft.cases))('weigh gives the log-probs of PEFT: %s', async (name) => {
  const out = join(temporaryFolder(), 'weights.jsonl');
  const model = ['--model', modelFolder, '--adapter', peftAdapter(name), '--ref', modelFolder];
  const { status, err } = await wpo('weigh', ...model, '--pairs', pairsFile, '--out', out, ...limits);
  expect(status, err).toBe(0);
  const rows = readRows<WeighedPair>(out);
  for (const [i, expected] of peft.cases[name]!.logps.entries()) {
    expect(Math.abs(rows[i]!.chosen_logps / expected.chosen - 1)).toBeLessThan(1e-5);
    expect(Math.abs(rows[i]!.rejected_logps / expected.rejected - 1)).toBeLessThan(1e-5);
    expect(Math.abs(rows[i]!.ref_chosen_logps - golden.pairs[i]!.ref_chosen_logps)).toBeLessThan(1e-3);
  }
});

test('inspect weighs with the adapter as weigh does', async () => {
  const out = join(temporaryFolder(), 'weights.jsonl');
  const model = ['--model', modelFolder, '--adapter', peftAdapter('all-linear'), ...limits];
  await wpo('weigh', ...model, '--pairs', pairsFile, '--out', out);
  const weights = readRows<WeighedPair>(out).map(({ weight }) => weight);
  const { status, out: report, err } = await wpo('inspect', pairsFile, ...model, '--json');
  expect(status, err).toBe(0);
  const mean = weights.reduce((sum, weight) => sum + weight, 0) / weights.length;
  expect((JSON.parse(report) as Inspection).weights).toMatchObject({ pairs: weights.length });
  expect((JSON.parse(report) as Inspection).weights!.mean).toBeCloseTo(mean, 12);
  const plain = await wpo('inspect', pairsFile, '--model', modelFolder, ...limits, '--json');
  expect((JSON.parse(plain.out) as Inspection).weights!.mean).not.toBeCloseTo(mean, 5);
});

test('eval --pairs compares the adapted model with its base', async () => {
  const { status, out, err } = await wpo(
    ...['eval', '--model', modelFolder, '--adapter', peftAdapter('all-linear'), '--ref', modelFolder],
    ...['--pairs', pairsFile, '--kl-prompts', '0', '--json', ...limits],
  );
  expect(status, err).toBe(0);
  const { logps } = peft.cases['all-linear']!;
  const rewards = logps.map(({ chosen }, i) => 0.1 * (chosen - golden.pairs[i]!.ref_chosen_logps));
  const mean = rewards.reduce((sum, reward) => sum + reward, 0) / rewards.length;
  expect(JSON.parse(out)['rewards/chosen']).toBeCloseTo(mean, 4);
});

test('generate and sample answer with the adapter', async () => {
  const prompt = ['--prompt', 'What does a compiler do?', '--max-new-tokens', '12'];
  const generate = async (...more: string[]) => {
    const { status, out, err } = await wpo('generate', '--model', modelFolder, ...prompt, '--json', ...more);
    expect(status, err).toBe(0);
    return JSON.parse(out) as Generated;
  };
  const [plain, adapted] = [await generate(), await generate('--adapter', peftAdapter('all-linear'))];
  expect(adapted.prompt_ids).toEqual(plain.prompt_ids);
  expect(adapted.completion_ids).not.toEqual(plain.completion_ids);

  const folder = temporaryFolder();
  const [prompts, out] = [join(folder, 'prompts.jsonl'), join(folder, 'answers.jsonl')];
  writeFileSync(prompts, `${JSON.stringify({ prompt: 'What does a compiler do?' })}\n`);
  const sampling = ['--prompts', prompts, '--out', out, '--seeds', '0', '--temperature', '0', '--max-new-tokens', '12'];
  const { status, err } = await wpo(
    'sample',
    '--model',
    modelFolder,
    '--adapter',
    peftAdapter('all-linear'),
    ...sampling,
  );
  expect(status, err).toBe(0);
  const [row] = readRows<SampleRow>(out);
  expect(row).toMatchObject({ source: peftAdapter('all-linear'), completion: adapted.text });
});

test('inspect takes an adapter only with its model', async () => {
  const { status, err } = await wpo('inspect', pairsFile, '--adapter', peftAdapter('all-linear'));
  expect([status, err]).toEqual([1, '--adapter: expected --model with it, found no --model.\n']);
});

test.each([
  [['weigh', '--adapter', modelFolder], 'found a whole model. Give it as the model, without an adapter.'],
  [['generate', '--adapter', '/nowhere', '--prompt', 'a'], "/nowhere: expected an adapter's folder"],
  [
    ['sample', '--adapter', 'a', '--endpoint', 'http://localhost:1/v1', '--prompts', 'p', '--out', 'o'],
    '--adapter: expected no value with --endpoint, found a. Load the adapter in the server, and give its name there with --model.',
  ],
])('%j is an error', async (args, message) => {
  const more = args[0] === 'weigh' ? ['--pairs', pairsFile, '--out', 'o'] : [];
  const { status, err } = await wpo(...args, '--model', modelFolder, ...more);
  expect(status).toBe(1);
  expect(err).toContain(message);
});

test('an adapter given as the model names its base and what to do', async () => {
  const adapter = peftAdapter('all-linear');
  const { status, err } = await wpo('generate', '--model', adapter, '--prompt', 'a');
  expect(status).toBe(1);
  expect(err).toContain(
    `found an adapter (LoRA) of golden/tiny, without the model. Give golden/tiny as the model, and ${adapter} as its adapter`,
  );
  expect(readFileSync(join(adapter, 'adapter_config.json'), 'utf8')).toContain('golden/tiny');
});
