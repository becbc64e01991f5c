import '@wpo/tensorflow';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { main } from '../../src/main';
import { golden, goldenConfig, modelFolder, readMetrics, temporaryFolder, timeless, trainFrom } from '../golden';
import { capture } from '../wpo';

test('eight steps equal PyTorch’s, and the folder has all files of the run', async () => {
  const folder = temporaryFolder();
  const terminal = capture();
  expect(await trainFrom({ config: goldenConfig(folder) }, terminal)).toBe(0);

  const run = join(folder, 'run');
  const rows = readMetrics(run);
  expect(rows).toHaveLength(8);
  for (const [i, expected] of golden.training.log.entries()) {
    const row = rows[i]!;
    expect(row.step).toBe(expected.step);
    expect(Math.abs(row.loss! - expected.loss)).toBeLessThan(1e-3);
    expect(Math.abs(row.grad_norm! / expected.grad_norm - 1)).toBeLessThan(5e-3);
    expect(row.learning_rate).toBeCloseTo(expected.learning_rate, 12);
    expect(Math.abs(row['wpo/weight']! - expected.weight)).toBeLessThan(1e-3);
  }
  expect(readdirSync(run).sort()).toEqual(['checkpoint-8', 'config.yaml', 'metrics.jsonl', 'model', 'reference']);
  for (const name of ['config.json', 'generation_config.json', 'tokenizer.json', 'chat_template.jinja']) {
    expect(existsSync(join(run, 'model', name)), name).toBe(true);
  }
  expect(terminal.err()).toContain('train 8/8  loss 0.59');
  expect(terminal.out()).toMatch(/pairs +16\n +steps +8\n/);
  expect(terminal.out()).toContain('mean weight      0.884 → 0.959');
  expect(terminal.out()).toContain(run);
});

test('held-out pairs are evaluated before and after training, with a report', async () => {
  const folder = temporaryFolder();
  const terminal = capture();
  const set = ['eval_split=0.25', 'max_steps=3', 'dtype=bfloat16'];
  expect(await trainFrom({ config: goldenConfig(folder), set }, terminal)).toBe(0);
  const evaluations = readMetrics(join(folder, 'run')).filter((row) => row.eval_loss !== undefined);
  expect(evaluations.map((row) => row.step)).toEqual([0, 3]);
  expect(evaluations[0]!['eval_rewards/margins']).toBeCloseTo(0, 6); // the policy still equals its reference
  expect(evaluations[0]!.eval_loss).toBeCloseTo(Math.LN2 * evaluations[0]!['eval_wpo/weight']!, 6);
  expect(terminal.out()).toContain('Training on 12 pairs, 4 held out');
  expect(terminal.out()).toMatch(/reward accuracy +\d\.\d{3} → \d\.\d{3} {2}\(before → after/);
  const saved = JSON.parse(readFileSync(join(folder, 'run', 'model', 'config.json'), 'utf8'));
  expect(saved.dtype).toBe('bfloat16');
});

test('a reference that runs in each step gives the same results as precomputed log-probs', async () => {
  const folder = temporaryFolder();
  const config = goldenConfig(folder);
  await trainFrom({ config, set: ['max_steps=2', `output_dir=${join(folder, 'a')}`] }, capture());
  const set = ['max_steps=2', `output_dir=${join(folder, 'b')}`, 'precompute_ref_log_probs=false'];
  await trainFrom({ config, set }, capture());
  expect(timeless(readMetrics(join(folder, 'b')))).toEqual(timeless(readMetrics(join(folder, 'a'))));
});

test('another model can be the reference, and is freed before training', async () => {
  const folder = temporaryFolder();
  const set = ['max_steps=1', `ref_model_name_or_path=${modelFolder}`];
  expect(await trainFrom({ config: goldenConfig(folder), set }, capture())).toBe(0);
  expect(readMetrics(join(folder, 'run'))[0]!.loss).toBeCloseTo(golden.training.log[0]!.loss, 3);
});

test('a folder with a run is an error without --resume; with it, a finished run is reported', async () => {
  const folder = temporaryFolder();
  const config = goldenConfig(folder);
  const set = ['max_steps=1'];
  await trainFrom({ config, set }, capture());
  const before = readFileSync(join(folder, 'run', 'metrics.jsonl'), 'utf8');

  await expect(trainFrom({ config, set }, capture())).rejects.toThrow(
    `${join(folder, 'run')}: expected a folder without a run, found one. Add --resume to continue it, or set output_dir to another folder.`,
  );
  const terminal = capture();
  expect(await trainFrom({ config, set, resume: true }, terminal)).toBe(0);
  expect(terminal.out()).toBe(`This run is finished. Its model is in ${join(folder, 'run', 'model')}\n`);
  expect(readFileSync(join(folder, 'run', 'metrics.jsonl'), 'utf8')).toBe(before);
});

test('resuming with other values of keys that change the results is an error that names the keys', async () => {
  const folder = temporaryFolder();
  const config = goldenConfig(folder);
  await trainFrom({ config, set: ['max_steps=1'] }, capture());
  const resumed = trainFrom({ config, set: ['max_steps=2', 'beta=0.2', 'logging_steps=3'], resume: true }, capture());
  await expect(resumed).rejects.toThrow('max_steps was 1 and is now 2');
  await expect(resumed).rejects.toThrow('beta was 0.1 and is now 0.2');
  await expect(resumed).rejects.not.toThrow('logging_steps');
});

test('on_bad_row: skip leaves out unusable rows and counts them', async () => {
  const folder = temporaryFolder();
  const file = join(folder, 'pairs.jsonl');
  const good = { prompt: 'Why?', chosen: 'Because.', rejected: 'No.' };
  writeFileSync(
    file,
    [good, { ...good, chosen: '' }, good, { prompt: 'x' }].map((row) => JSON.stringify(row)).join('\n'),
  );
  const config = goldenConfig(folder);
  const set = ['max_steps=1', `train_file=${file}`];
  const terminal = capture();
  expect(await main(['train', config, ...set.flatMap((pair) => ['--set', pair])], terminal)).toBe(1);
  expect(terminal.err()).toMatch(
    new RegExp(`^${file}:2: chosen: expected an answer with text, found an empty answer. .*\n$`),
  );
  expect(existsSync(join(folder, 'run'))).toBe(false);

  const skipping = capture();
  expect(await trainFrom({ config, set: [...set, 'on_bad_row=skip'] }, skipping)).toBe(0);
  expect(skipping.err()).toContain(`${file}: skipped 2 rows that cannot be used:\n  ${file}:2: chosen`);
  expect(skipping.out()).toMatch(/pairs +2 \(2 rows skipped\)/);
});

test('activation checkpointing does not change results, so a run can resume on a machine with another amount of memory', async () => {
  const folder = temporaryFolder();
  const config = goldenConfig(folder);
  const metrics = async (kept: string) => {
    const output = join(folder, kept);
    await trainFrom(
      { config, set: ['max_steps=3', `output_dir=${output}`, `activation_checkpointing=${kept}`] },
      capture(),
    );
    return timeless(readMetrics(output));
  };
  const always = await metrics('always');
  expect(await metrics('never')).toEqual(always);
  expect(await metrics('auto')).toEqual(always);
});
