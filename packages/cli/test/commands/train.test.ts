import '@wpo/tensorflow';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hashFiles } from '@wpo/trainer/node';
import { expect, test } from 'vitest';
import { readTrainConfig, train, type WpoEvent } from '../../src/index';
import { main } from '../../src/main';
import { hashModel } from '../../src/models';
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
  expect(readdirSync(run).sort()).toEqual([
    'checkpoint-8',
    'config.yaml',
    'metrics.jsonl',
    'model',
    'pairs.jsonl',
    'reference',
    'report',
    'report.html',
  ]);
  for (const name of ['config.json', 'generation_config.json', 'tokenizer.json', 'chat_template.jinja']) {
    expect(existsSync(join(run, 'model', name)), name).toBe(true);
  }
  expect(terminal.err()).toContain('train 8/8  loss 0.59');
  expect(terminal.out()).toMatch(/pairs +16\n +steps +8\n/);
  expect(terminal.out()).toMatch(/training pairs +step 1 +step 8\n/);
  expect(terminal.out()).toMatch(/ {2}weight +0\.8838 +0\.9586\n/);
  expect(terminal.out()).toContain(run);
});

test('--watch shows the report while the run trains, and ends with it', async () => {
  const folder = temporaryFolder();
  const terminal = capture();
  const urlOf = () => /Watch the run at (http:\/\/127\.0\.0\.1:\d+\/)\n/.exec(terminal.out())![1]!;
  let data: Promise<{ runs: { name: string; status: string }[] }> | undefined;
  const onEvent = ({ type }: WpoEvent) => {
    if (type === 'start') data = fetch(`${urlOf()}data`).then((response) => response.json());
  };
  const config = await readTrainConfig(goldenConfig(folder));
  expect(await train(config, { watch: true }, { ...terminal, onEvent })).toBe(0);
  expect((await data)!.runs).toMatchObject([{ name: 'run', status: 'not finished' }]);
  await expect(fetch(urlOf())).rejects.toThrow('fetch failed');
});

test('held-out pairs are evaluated before and after training, with a report', async () => {
  const folder = temporaryFolder();
  const terminal = capture();
  const set = ['eval_split=0.25', 'max_steps=3', 'save_dtype=bfloat16'];
  expect(await trainFrom({ config: goldenConfig(folder), set }, terminal)).toBe(0);
  const evaluations = readMetrics(join(folder, 'run')).filter((row) => row.eval_loss !== undefined);
  expect(evaluations.map((row) => row.step)).toEqual([0, 3]);
  expect(evaluations[0]!['eval_rewards/margins']).toBeCloseTo(0, 6); // the policy still equals its reference
  expect(evaluations[0]!.eval_loss).toBeCloseTo(Math.LN2 * evaluations[0]!['eval_wpo/weight']!, 6);
  expect(terminal.out()).toContain('Training on 12 pairs, 4 held out');
  expect(terminal.out()).toMatch(/4 held-out pairs +before +after step 3\n {2}loss +\d\.\d{4} +\d\.\d{4}\n/);
  expect(terminal.out()).toMatch(
    /chosen reward .*\n {2}rejected reward .*\n {2}chosen log-prob +-\d+\.\d\d +-\d+\.\d\d\n/,
  );
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

test('optimizer_in_bwd changes nothing but the order in which gradients of the embedding are added', async () => {
  const folder = temporaryFolder();
  const config = goldenConfig(folder);
  const trained = async (name: string, set: string[]) => {
    const run = join(folder, name);
    await trainFrom({ config, set: ['max_grad_norm=0', 'max_steps=3', `output_dir=${run}`, ...set] }, capture());
    const read = (file: string) => readFileSync(join(run, 'checkpoint-3', file));
    return {
      rows: timeless(readMetrics(run)),
      weights: read('model.safetensors'),
      state: read('optimizer.safetensors'),
    };
  };
  for (const batches of [1, 4]) {
    const set = [`gradient_accumulation_steps=${batches}`, `per_device_train_batch_size=${4 / batches}`];
    const plain = await trained(`plain-${batches}`, set);
    const updated = await trained(`updated-${batches}`, [...set, 'optimizer_in_bwd=true']);
    const lossesOf = ({ rows }: typeof plain) => rows.map((row) => [row.loss!, row.grad_norm!]);
    for (const [i, found] of lossesOf(updated).flat().entries())
      expect(found / lossesOf(plain).flat()[i]!).toBeCloseTo(1, 6);
    if (batches > 1) continue;
    expect(updated.weights.equals(plain.weights)).toBe(true);
    expect(updated.state.equals(plain.state)).toBe(true);
  }
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
  const set = ['beta=0.2', 'learning_rate=2e-3', 'logging_steps=3', 'max_steps=2'];
  const resumed = trainFrom({ config, set, resume: true }, capture());
  await expect(resumed).rejects.toThrow('beta was 0.1 and is now 0.2');
  await expect(resumed).rejects.toThrow('learning_rate was 0.001 and is now 0.002');
  await expect(resumed).rejects.not.toThrow(/logging_steps|max_steps/);
});

test('a finished run is extended by raising max_steps; fewer steps are an error', async () => {
  const folder = temporaryFolder();
  const config = goldenConfig(folder);
  const run = join(folder, 'run');
  const resumed = (...set: string[]) => trainFrom({ config, set, resume: true }, capture());
  await trainFrom({ config, set: ['max_steps=2'] }, capture());
  const before = readFileSync(join(run, 'model', 'model.safetensors'));
  expect(await resumed('max_steps=3')).toBe(0);
  expect(readMetrics(run).map((row) => row.step)).toEqual([1, 2, 3]);
  expect(readFileSync(join(run, 'model', 'model.safetensors')).equals(before)).toBe(false);
  await expect(resumed('max_steps=2')).rejects.toThrow('total_steps: expected 3, found 2 (it may only be raised)');
  rmSync(join(run, 'checkpoint-3'), { recursive: true });
  rmSync(join(run, 'checkpoint-2'), { recursive: true });
  await expect(resumed('max_steps=4')).rejects.toThrow(
    `${run}: expected a checkpoint from which the finished run can be extended, found none.`,
  );
});

test('a changed reference file is recomputed with a warning, and the run ends with the same weights', async () => {
  const folder = temporaryFolder();
  const config = goldenConfig(folder);
  const trainTo = (output: string, steps: number, resume = false) => {
    const terminal = capture();
    const set = [
      `max_steps=${steps}`,
      'lr_scheduler_type=constant',
      'warmup_ratio=0',
      `output_dir=${join(folder, output)}`,
    ];
    return trainFrom({ config, set, resume }, terminal).then(() => terminal.err());
  };
  const weights = (output: string) => readFileSync(join(folder, output, 'model', 'model.safetensors'));
  await trainTo('whole', 3);
  await trainTo('damaged', 2);
  const reference = join(folder, 'damaged', 'reference');
  const path = join(reference, readdirSync(reference)[0]!);
  const damaged = readFileSync(path, 'utf8').replace(
    /("pair":9,"chosen":-)(\d)/,
    (_, before, digit) => before + ((Number(digit) + 1) % 10),
  );
  writeFileSync(path, damaged);
  expect(await trainTo('damaged', 3, true)).toContain(`${path}:10: expected a line with its checksum, found another.`);
  expect(weights('damaged').equals(weights('whole'))).toBe(true);
});

test('config.yaml that is a folder is named, and nothing else changes', async () => {
  const folder = temporaryFolder();
  const config = goldenConfig(folder);
  await trainFrom({ config, set: ['max_steps=1'] }, capture());
  const file = join(folder, 'run', 'config.yaml');
  rmSync(file);
  mkdirSync(file);
  await expect(trainFrom({ config, set: ['max_steps=2'], resume: true }, capture())).rejects.toThrow(
    `${file}: expected the configuration of the run, found a folder. Move it away.`,
  );
});

test('the loser of a race for a new folder does not change the run of the winner', async () => {
  const folder = temporaryFolder();
  const config = goldenConfig(folder);
  const run = join(folder, 'run');
  // the second command has passed its first check before the first one takes the lock
  const winner = trainFrom({ config, set: ['max_steps=1'] }, capture());
  const loser = trainFrom({ config, set: ['max_steps=1', 'beta=0.7'] }, capture());
  const results = await Promise.allSettled([winner, loser]);
  const lost = results.filter(({ status }) => status === 'rejected') as PromiseRejectedResult[];
  expect(lost).toHaveLength(1);
  expect(String(lost[0]!.reason)).toMatch(
    /another wpo process is writing here|expected a folder without a run, found one/,
  );
  const beta = /^beta: (.*)$/m.exec(readFileSync(join(run, 'config.yaml'), 'utf8'))![1];
  const set = ['max_steps=1', `beta=${beta}`];
  expect(await trainFrom({ config, set, resume: true }, capture())).toBe(0);
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

/** Settings that destroy the model in a few steps; each step has eight pairs. */
const destructive = [
  'learning_rate=1',
  'max_grad_norm=0',
  'warmup_ratio=0',
  'gradient_accumulation_steps=8',
  'num_train_epochs=4',
];

test('a run that destroys its model warns, and its summary says so', async () => {
  const folder = temporaryFolder();
  const terminal = capture();
  expect(await trainFrom({ config: goldenConfig(folder), set: destructive }, terminal)).toBe(0);
  expect(terminal.err().match(/the model has collapsed/g)).toHaveLength(1);
  expect(terminal.err()).toMatch(
    /after step \d the model has collapsed: the log-prob of the chosen answers fell by \d+\.\d per token/,
  );
  expect(terminal.out()).toContain('\nTrained, but the model has collapsed: ');
  expect(readMetrics(join(folder, 'run')).at(-1)!['wpo/collapsed']).toBe(1);
});

test('stop_on_collapse saves the last model before the collapse, with exit status 3', async () => {
  const folder = temporaryFolder();
  const terminal = capture();
  // the first learning rate is 0 because of the warm-up, so that the model after step 1 is the initial one
  const set = [...destructive, 'warmup_steps=1', 'save_steps=1', 'save_total_limit=1', 'stop_on_collapse=true'];
  expect(await trainFrom({ config: goldenConfig(folder), set }, terminal)).toBe(3);
  const run = join(folder, 'run');
  expect(terminal.out()).toMatch(
    /Stopped after step 3, because the model collapsed: .* Saved: the last model before it\./,
  );
  expect(terminal.out()).toContain(`${join(run, 'model')} (of checkpoint-1)`);
  expect(await hashModel(join(run, 'model'))).toBe(await hashModel(await savedInitialModel()));

  const resumed = capture();
  expect(await trainFrom({ config: join(run, 'config.yaml'), resume: true }, resumed)).toBe(3);
  expect(resumed.out()).toMatch(
    /^This run was stopped, because the model collapsed after step 3: the log-prob .*\. The last model before it is in .*\/run\/model\. Train again/,
  );
});

test('stop_on_collapse without a checkpoint saves no model, and says what to do', async () => {
  const folder = temporaryFolder();
  const terminal = capture();
  const set = [...destructive, 'stop_on_collapse=true'];
  expect(await trainFrom({ config: goldenConfig(folder), set }, terminal)).toBe(3);
  expect(existsSync(join(folder, 'run', 'model'))).toBe(false);
  expect(terminal.out()).toContain(
    'so there is no model to keep. Train again with a lower learning_rate or a higher beta.',
  );
});

/** The fixture's model as a run saves it. */
async function savedInitialModel(): Promise<string> {
  const folder = temporaryFolder();
  const set = ['learning_rate=1e-300', 'max_steps=1'];
  await trainFrom({ config: goldenConfig(folder), set }, capture());
  return join(folder, 'run', 'model');
}

test('load_best_model_at_end saves the model of the best evaluation, and keeps its checkpoint', async () => {
  const folder = temporaryFolder();
  const terminal = capture();
  const set = [
    'eval_split=8',
    'learning_rate=0.02',
    'eval_steps=1',
    'save_steps=1',
    'save_total_limit=1',
    'load_best_model_at_end=true',
    'metric_for_best_model=logps/chosen',
  ];
  expect(await trainFrom({ config: goldenConfig(folder), set }, terminal)).toBe(0);
  const run = join(folder, 'run');
  const evaluations = readMetrics(run).filter((row) => row.eval_loss !== undefined && row.step! > 0);
  const best = evaluations.reduce((a, b) => (b['eval_logps/chosen']! > a['eval_logps/chosen']! ? b : a));
  expect(best.step, 'this run gets worse before its end').toBeLessThan(evaluations.at(-1)!.step!);
  expect(terminal.out()).toContain(`(of checkpoint-${best.step}, the best)`);
  expect(terminal.out()).toContain(`after step ${best.step}\n`);
  expect(
    readdirSync(run)
      .filter((name) => name.startsWith('checkpoint-'))
      .sort(),
  ).toEqual([`checkpoint-${best.step}`, `checkpoint-${evaluations.at(-1)!.step}`].sort());
  expect(await hashFiles([join(run, 'model', 'model.safetensors')])).toBe(
    await hashFiles([join(run, `checkpoint-${best.step}`, 'model.safetensors')]),
  );
});

test('files without usable pairs are an error, and equal answers are reported', async () => {
  const folder = temporaryFolder();
  const write = (name: string, rows: object[]) => {
    writeFileSync(join(folder, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    return join(folder, name);
  };
  const empty = write('empty.jsonl', [{ prompt: 'x' }]);
  const config = goldenConfig(folder);
  const set = ['max_steps=1', 'on_bad_row=skip'];
  await expect(trainFrom({ config, set: [...set, `eval_file=${empty}`] }, capture())).rejects.toThrow(
    `${empty}: expected at least one preference pair, found none. The only row was skipped: ${empty}:1: `,
  );
  await expect(trainFrom({ config, set: [...set, `train_file=${empty}`] }, capture())).rejects.toThrow(empty);
  const ties = write('ties.jsonl', [{ prompt: 'Why?', chosen: 'So.', rejected: 'So.' }]);
  const terminal = capture();
  expect(await trainFrom({ config, set: [...set, `train_file=${ties}`] }, terminal)).toBe(0);
  expect(terminal.err()).toContain('1 of 1 pair has equal chosen and rejected answers');
});
