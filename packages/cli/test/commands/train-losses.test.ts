import '@wpo/tensorflow';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { preferenceLoss } from '@wpo/loss/scalar';
import { expect, test } from 'vitest';
import {
  golden,
  goldenConfig,
  modelFolder,
  policyFolder,
  readMetrics,
  temporaryFolder,
  timeless,
  trainFrom,
} from '../golden';
import { capture } from '../wpo';

/** Trains one step on the golden pairs, from a policy that differs from its reference. Returns the first metrics. */
async function firstStep(set: string[], file?: string) {
  const folder = temporaryFolder();
  const terminal = capture();
  const moved = [`model_name_or_path=${policyFolder()}`, ...(file ? [`train_file=${file}`] : [])];
  expect(await trainFrom({ config: goldenConfig(folder), set: ['max_steps=1', ...moved, ...set] }, terminal)).toBe(0);
  return { metrics: readMetrics(join(folder, 'run'))[0]!, run: join(folder, 'run'), terminal };
}

const withReference = `ref_model_name_or_path=${modelFolder}`;

/** The columns of golden pairs, with PyTorch’s log-probs. */
const columnsOf = (pairs: typeof golden.pairs) => ({
  chosenLogps: pairs.map((pair) => pair.chosen_logps),
  rejectedLogps: pairs.map((pair) => pair.rejected_logps),
  refChosenLogps: pairs.map((pair) => pair.ref_chosen_logps),
  refRejectedLogps: pairs.map((pair) => pair.ref_rejected_logps),
  chosenLengths: pairs.map((pair) => pair.chosen_tokens),
  rejectedLengths: pairs.map((pair) => pair.rejected_tokens),
});

/** The pairs of a run’s first step. */
const four = golden.pairs.slice(0, 4);
const columns = columnsOf(four);
const weights = four.map((pair) => pair.weight);
const mean = (xs: ArrayLike<number>) => Array.from(xs).reduce((sum, x) => sum + x, 0) / xs.length;

test('a list of losses with loss_weights is their weighted sum, times each pair’s WPO weight', async () => {
  const mixed = ['loss_type=[sigmoid, bco_pair, sft]', 'loss_weights=[0.8, 0.2, 1]'];
  const { metrics } = await firstStep([...mixed, withReference]);
  const { losses } = preferenceLoss(
    { ...columns, weights },
    { lossType: ['sigmoid', 'bco_pair', 'sft'], lossWeights: [0.8, 0.2, 1] },
  );
  expect(metrics.loss).toBeCloseTo(mean(losses), 3);
  expect(metrics['wpo/weight']).toBeCloseTo(mean(weights), 3);
});

test.each(['sft', 'simpo', 'cpo', 'orpo'] as const)('%s runs no reference and learns', async (lossType) => {
  const { metrics, run, terminal } = await firstStep([`loss_type=${lossType}`, 'eval_split=4']);
  expect(metrics.eval_loss).toBeGreaterThan(0);
  expect(existsSync(join(run, 'reference'))).toBe(false);
  expect(terminal.err()).not.toContain('reference');
  const plain = await firstStep([`loss_type=${lossType}`, 'use_weighting=false']);
  const { losses } = preferenceLoss(columns, { lossType });
  expect(plain.metrics.loss).toBeCloseTo(mean(losses), 3);
  expect(plain.metrics['wpo/weight']).toBe(1);
});

test('ld_alpha applies to policy and reference alike, and its log-probs are cached separately', async () => {
  // The model is its own reference, so every margin is 0 at first for any α, unless the cached log-probs have another α.
  const folder = temporaryFolder();
  const config = goldenConfig(folder);
  const set = ['max_steps=1', 'use_weighting=false', 'eval_split=4'];
  expect(await trainFrom({ config, set: [...set, 'ld_alpha=0.25'] }, capture())).toBe(0);
  const run = join(folder, 'run');
  const [before, first] = readMetrics(run);
  expect(before!['eval_rewards/margins']).toBe(0);
  expect(before!.eval_loss).toBeCloseTo(Math.LN2, 6);
  expect(first!.loss).toBeCloseTo(Math.LN2, 5);
  const kept = readdirSync(join(run, 'reference')).map((name) => readFileSync(join(run, 'reference', name), 'utf8'));
  for (const lines of kept)
    expect(lines).toMatch(
      /^(\{"pair":\d+,"chosen":-[\d.]+,"rejected":-[\d.]+,"ldAlpha":0.25,"checksum":"[\da-f]{16}"\}\n)+$/,
    );

  const plain = join(folder, 'plain');
  await trainFrom({ config, set: [...set, `output_dir=${plain}`] }, capture());
  expect(readdirSync(join(plain, 'reference'))).not.toEqual(readdirSync(join(run, 'reference')));
});

test.each(['aot', 'aot_unpaired'] as const)('%s ranks the pairs of a batch', async (lossType) => {
  const set = [`loss_type=${lossType}`, 'use_weighting=false', 'beta=10', withReference];
  const atOnce = ['per_device_train_batch_size=16', 'gradient_accumulation_steps=1'];
  const { metrics } = await firstStep([...set, ...atOnce]);
  const all = columnsOf(golden.pairs);
  const { losses } = preferenceLoss(all, { lossType, beta: 10 });
  expect(metrics.loss).toBeCloseTo(mean(losses), 2);
  expect(Math.abs(mean(losses) - mean(preferenceLoss(all, { beta: 10 }).losses))).toBeGreaterThan(0.05);
});

test('a row’s weight counts with and without the WPO weight, and is an error if the loss ranks pairs', async () => {
  const file = join(temporaryFolder(), 'pairs.jsonl');
  const row = { prompt: 'Why?', chosen: 'Because.', rejected: 'No.' };
  writeFileSync(file, [0.5, 2, undefined].map((weight) => `${JSON.stringify({ ...row, weight })}\n`).join(''));
  const alone = await firstStep(['use_weighting=false', withReference], file);
  expect(alone.metrics).toMatchObject({ 'wpo/weight_min': 0.5, 'wpo/weight_max': 2 });
  expect(alone.metrics['wpo/weight']).toBeCloseTo(3.5 / 3, 6);
  const both = await firstStep([withReference], file);
  const weight = both.metrics['wpo/weight_min']! / 0.5;
  expect(weight).toBeLessThan(1);
  expect(both.metrics['wpo/weight_max']).toBeCloseTo(2 * weight, 6);
  expect(both.metrics.loss! / alone.metrics.loss!).toBeCloseTo(weight, 5);

  const ranked = ['loss_type=aot', 'use_weighting=false', 'per_device_train_batch_size=2'];
  await expect(firstStep(ranked, file)).rejects.toThrow(
    /^pair ".*": "weight": expected no weights with loss_type aot, found 0.5. aot compares quantiles/,
  );
});

test('temperature moves weights towards 1', async () => {
  const [plain, warm] = [await firstStep([withReference]), await firstStep([withReference, 'temperature=2'])];
  expect(plain.metrics['wpo/weight']).toBeCloseTo(mean(weights), 3);
  expect(warm.metrics['wpo/weight']).toBeCloseTo(mean(weights.map(Math.sqrt)), 3);
});

test('a run is resumed only with the same loss and options', async () => {
  const folder = temporaryFolder();
  const config = goldenConfig(folder);
  await trainFrom({ config, set: ['max_steps=1', 'loss_type=[sigmoid, sft]'] }, capture());
  const resumed = (...set: string[]) => trainFrom({ config, set: ['max_steps=1', ...set], resume: true }, capture());
  await expect(resumed('loss_type=[sft, sigmoid]')).rejects.toThrow('loss_type was sigmoid,sft and is now sft,sigmoid');
  await expect(resumed('loss_type=[sigmoid, sft]', 'ld_alpha=0.5')).rejects.toThrow(
    'ld_alpha was not set and is now 0.5',
  );
  expect(await resumed('loss_type=[sigmoid, sft]')).toBe(0);
});

test('one loss and a list of one loss are the same run', async () => {
  const folder = temporaryFolder();
  const config = goldenConfig(folder);
  const metrics = async (name: string, lossType: string) => {
    const output = join(folder, name);
    await trainFrom({ config, set: ['max_steps=2', `loss_type=${lossType}`, `output_dir=${output}`] }, capture());
    return timeless(readMetrics(output));
  };
  expect(await metrics('list', '[dpo]')).toEqual(await metrics('one', 'sigmoid'));
});
