import '@wpo/tensorflow';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs-core';
import { gemma2_9b } from '@wpo/gemma';
import { storedBytes } from '@wpo/tensorflow/kernels';
import { beforeAll, expect, test } from 'vitest';
import { codeBlocks } from '../../../../e2e/support';
import { modelFolder, pairsFile, temporaryFolder } from '../golden';
import { sparseModel } from '../sparse-model';
import { wpo } from '../wpo';

const publishedRecipe = fileURLToPath(new URL('../../../../recipes/gemma-2-9b-it-wpo-hb.yaml', import.meta.url));

let folder: string;
let nine: string;
beforeAll(() => {
  folder = temporaryFolder();
  nine = sparseModel(gemma2_9b);
});

function yaml(model: string, settings: Record<string, unknown> = {}): string {
  const file = join(folder, 'run.yaml');
  const keys = { model_name_or_path: model, train_file: pairsFile, output_dir: join(folder, 'run'), ...settings };
  writeFileSync(
    file,
    Object.entries(keys)
      .map(([key, value]) => `${key}: ${value}\n`)
      .join(''),
  );
  return file;
}

interface Plan {
  readonly parameters: number;
  readonly trained_parameters: number;
  readonly longest_pass: { readonly pairs: number; readonly micro_batches: number; readonly tokens: number };
  readonly memory: readonly { readonly name: string; readonly where: string; readonly bytes: number }[];
  readonly needed: { readonly host: number; readonly device: number };
  readonly available: { readonly host: number; readonly device: number | null };
  readonly mapped_bytes: number;
  readonly fits: boolean;
  readonly time: {
    readonly steps: number;
    readonly seconds_per_step: number;
    readonly update_seconds: number;
    readonly reference_seconds: number;
    readonly answers: { readonly count: number; readonly seconds: number };
    readonly calibration: { readonly layers: number; readonly tokens: number; readonly seconds: number };
  } | null;
  readonly settings_that_fit: readonly {
    readonly settings: Record<string, unknown>;
    readonly needed: Plan['needed'];
  }[];
}

async function plan(...args: string[]) {
  const { status, out, err } = await wpo('plan', ...args, '--json');
  expect(err).toBe('');
  const found = JSON.parse(out) as Plan;
  expect(status).toBe(found.fits ? 0 : 1);
  return found;
}

const bytesOf = ({ memory }: Plan, name: string) => memory.find((row) => row.name === name)?.bytes;

// Gemma 2 report (arXiv 2408.00118), table 2: embedding and other parameters
const parameters9b = 917_504_000 + 8_324_201_984;

test('weights, gradients and both moments of 9B take 4 bytes per parameter each', async () => {
  const found = await plan(
    yaml(nine, { gradient_accumulation_steps: 4 }),
    '--device-memory',
    '180GB',
    '--host-memory',
    '64GiB',
  );
  expect(found).toMatchObject({
    parameters: parameters9b,
    trained_parameters: parameters9b,
    fits: true,
    mapped_bytes: 0,
  });
  expect(found.available).toEqual({ device: 180e9, host: 64 * 2 ** 30 });
  for (const name of ['weights', 'gradients']) expect(bytesOf(found, name), name).toBe(4 * parameters9b);
  expect(bytesOf(found, 'state')).toBe(8 * parameters9b);
  const onDevice = found.memory.filter(({ where }) => where === 'device');
  expect(found.needed.device).toBe(onDevice.reduce((sum, { bytes }) => sum + bytes, 0));
  expect(found.memory.filter(({ where }) => where === 'host').map(({ name }) => name)).toEqual(['program']);
  expect(existsSync(join(folder, 'run'))).toBe(false);
});

test('settings with which a run fits are found, and fit', async () => {
  const file = yaml(nine, { per_device_train_batch_size: 2 });
  const sizes = ['--device-memory', '40GB', '--host-memory', '64GB'];
  const found = await plan(file, ...sizes);
  expect(found.fits).toBe(false);
  const [first] = found.settings_that_fit;
  expect(first!.settings).toMatchObject({ use_peft: true });
  const set = Object.entries(first!.settings).flatMap(([key, value]) => ['--set', `${key}=${value}`]);
  const other = await plan(file, ...sizes, ...set);
  expect(other.fits).toBe(true);
  expect(other.needed.device).toBe(first!.needed.device);
  expect(other.trained_parameters).toBeLessThan(1e8);
});

test('where the moments of AdamW do not fit, those of 8 bits are found', async () => {
  const file = yaml(nine);
  const sizes = ['--device-memory', '110GB', '--host-memory', '64GB'];
  const found = await plan(file, ...sizes);
  expect(found.fits).toBe(false);
  expect(found.settings_that_fit[0]!.settings).toEqual({ optim: 'adamw_bnb_8bit' });
  const other = await plan(file, ...sizes, '--set', 'optim=adamw_bnb_8bit');
  expect(other.fits).toBe(true);
  expect(bytesOf(found, 'state')! / bytesOf(other, 'state')!).toBeCloseTo(73.93 / 21.51, 2);
});

test('with optimizer_in_bwd, gradients of the embedding and a layer are held, and all batches of a step run in one pass', async () => {
  const file = yaml(nine, { gradient_accumulation_steps: 4, max_grad_norm: 0 });
  const sizes = ['--device-memory', '180GB', '--host-memory', '64GiB', '--set', 'activation_checkpointing=always'];
  const [plain, inBackward] = [
    await plan(file, ...sizes),
    await plan(file, ...sizes, '--set', 'optimizer_in_bwd=true'),
  ];
  const { vocabSize: V, hiddenSize: H, intermediateSize: F } = gemma2_9b;
  const layer = 2 * 16 * 256 * H + 2 * 8 * 256 * H + 3 * F * H + 4 * H;
  expect(bytesOf(inBackward, 'gradients')).toBe(4 * (V * H + layer));
  expect(plain.longest_pass).toMatchObject({ micro_batches: 1 });
  expect(inBackward.longest_pass).toMatchObject({ micro_batches: 4, pairs: 4 * plain.longest_pass.pairs });
  // of the three pairs more: the inputs of layers, and less than four other values of a layer
  const tokens = inBackward.longest_pass.tokens - plain.longest_pass.tokens;
  const more = bytesOf(inBackward, 'activations')! - bytesOf(plain, 'activations')!;
  expect(more / (4 * tokens * H)).toBeGreaterThan(gemma2_9b.numHiddenLayers);
  expect(more / (4 * tokens * H)).toBeLessThan(gemma2_9b.numHiddenLayers + 4);
});

test('with offload_optimizer the moments are in memory of the host, and parts of them on the GPU', async () => {
  const file = yaml(nine);
  const sizes = ['--device-memory', '100GB', '--host-memory', '128GB'];
  const [resident, offloaded] = [
    await plan(file, ...sizes),
    await plan(file, ...sizes, '--set', 'offload_optimizer=cpu'),
  ];
  expect(resident.fits).toBe(false);
  expect(resident.settings_that_fit.map(({ settings }) => settings)).toContainEqual({ offload_optimizer: 'cpu' });
  expect(offloaded.fits).toBe(true);
  const row = ({ memory }: Plan, name: string) => memory.find((one) => one.name === name);
  expect(row(resident, 'state')).toEqual({ name: 'state', where: 'device', bytes: 8 * parameters9b });
  expect(row(offloaded, 'state')).toEqual({ name: 'state', where: 'host', bytes: 8 * parameters9b });
  expect(row(offloaded, 'stateParts')).toEqual({ name: 'stateParts', where: 'device', bytes: 2 * 8 * 2 ** 24 });
});

test('with offload_gradients all gradients are in memory of the host, and those of two layers on the GPU', async () => {
  const sizes = ['--device-memory', '100GB', '--host-memory', '128GB'];
  const set = ['--set', 'offload_gradients=cpu', '--set', 'gradient_accumulation_steps=4'];
  const offloaded = await plan(yaml(nine), ...sizes, ...set);
  const { vocabSize: V, hiddenSize: H, intermediateSize: F } = gemma2_9b;
  const layer = 2 * 16 * 256 * H + 2 * 8 * 256 * H + 3 * F * H + 4 * H;
  const row = (name: string) => offloaded.memory.find((one) => one.name === name);
  expect(row('gradients')).toEqual({ name: 'gradients', where: 'host', bytes: 4 * parameters9b });
  const onGpu = 4 * (V * H + 2 * layer) + 2 * 4 * 2 ** 24; // and two parts that are updated
  expect(row('gradientParts')).toEqual({ name: 'gradientParts', where: 'device', bytes: onGpu });
  expect(offloaded.longest_pass).toMatchObject({ micro_batches: 4 });
});

test('with offload_activations inputs of layers are in memory of the host, and two on the GPU', async () => {
  const sizes = ['--device-memory', '300GB', '--host-memory', '128GB'];
  const set = ['--set', 'activation_checkpointing=always', '--set', 'gradient_accumulation_steps=4'];
  const file = yaml(nine, { optimizer_in_bwd: true, max_grad_norm: 0 });
  const resident = await plan(file, ...sizes, ...set);
  const offloaded = await plan(file, ...sizes, ...set, '--set', 'offload_activations=cpu');
  const bytes = ({ memory }: Plan, name: string) => memory.find((one) => one.name === name)?.bytes ?? 0;
  const { hiddenSize: H, numHiddenLayers: L } = gemma2_9b;
  expect(bytes(offloaded, 'layerInputs')).toBe(4 * H * L * offloaded.longest_pass.tokens);
  expect(offloaded.memory.find(({ name }) => name === 'layerInputs')).toMatchObject({ where: 'host' });
  expect(bytes(offloaded, 'layerInputParts')).toBeLessThan(bytes(offloaded, 'layerInputs') / 10);
  const saved = bytes(resident, 'activations') - bytes(offloaded, 'activations');
  expect(saved / bytes(offloaded, 'layerInputs')).toBeGreaterThan(0.9);
});

test('the recipe of the published run fits a GPU with 80 GB, as docs/one-gpu.md shows it for the longest pairs of its limits', async () => {
  const answer = 'b '.repeat(1980);
  const row = JSON.stringify({ prompt: 'a '.repeat(30), chosen: answer, rejected: `${answer}a` });
  const train = join(folder, 'pairs.jsonl');
  writeFileSync(train, `${row}\n`.repeat(16));
  const paths = { model_name_or_path: nine, train_file: train, output_dir: join(folder, 'run') };
  const set = Object.entries(paths).flatMap(([key, value]) => ['--set', `${key}=${value}`]);
  const { status, out } = await wpo(
    'plan',
    publishedRecipe,
    ...set,
    '--device-memory',
    '80GB',
    '--host-memory',
    '128GB',
  );
  expect(status).toBe(0);
  const [shown] = codeBlocks(fileURLToPath(new URL('../../../../docs/one-gpu.md', import.meta.url))).filter(
    ({ language }) => language === '',
  );
  // of this process, and so of the host, the memory differs a little
  const comparable = (text: string) => text.replaceAll(/^( {2}(?:Node|sum).*?) +[\d.]+$/gm, '$1');
  expect(comparable(out)).toBe(comparable(shown!.code));
});

test.each(['offload_optimizer', 'offload_gradients', 'offload_activations'])(
  '%s without a GPU is an error',
  async (key) => {
    const { status, err } = await wpo('plan', yaml(modelFolder), '--set', `${key}=cpu`);
    expect(status).toBe(1);
    expect(err).toContain(`${key}: expected none, since no GPU computes with the native operations`);
  },
);

test('a smaller batch is enough where it is', async () => {
  const file = yaml(modelFolder, { per_device_train_batch_size: 3, activation_checkpointing: 'never' });
  const whole = await plan(file, '--device-memory', '10GB');
  const one = await plan(
    file,
    '--device-memory',
    '10GB',
    '--set',
    'per_device_train_batch_size=1',
    '--set',
    'gradient_accumulation_steps=3',
  );
  expect(whole.longest_pass.pairs).toBe(3);
  expect(one.longest_pass).toMatchObject({ pairs: 1 });
  const megabytes = (whole.needed.device + one.needed.device) / 2e6;
  const tight = await plan(file, '--device-memory', `${megabytes}MB`);
  expect(tight.fits).toBe(false);
  expect(tight.settings_that_fit.map(({ settings }) => settings)).toContainEqual({
    per_device_train_batch_size: 1,
    gradient_accumulation_steps: 3,
  });
});

test('the table has a row for each part, and the sum', async () => {
  const { status, out, err } = await wpo('plan', yaml(modelFolder), '--host-memory', '8GB');
  expect(err).toBe('');
  expect(out).toMatch(
    /^0\.\d million parameters, all trained\. The longest micro-batch has \d+ tokens, \d+ of them in answers\.\n\n/,
  );
  for (const row of [
    'weights, float32',
    'gradients, float32',
    'the optimizer’s state \\(optim: adamw_torch\\)',
    'activations \\(activation_checkpointing: auto\\)',
    'sum',
    'memory',
  ]) {
    expect(out).toMatch(new RegExp(`^  ${row} +\\d+\\.\\d+$`, 'm'));
  }
  expect(out).toMatch(/\n\nIt fits\.\n$/);
  expect(status).toBe(0);
});

test('an adapter’s model is in a mapped file, and only the adapter has gradients and moments', async () => {
  const found = await plan(yaml(nine, { use_peft: true }), '--host-memory', '64GB');
  expect(found.mapped_bytes).toBe(2 * parameters9b);
  expect(bytesOf(found, 'weights')).toBe(4 * found.trained_parameters);
  expect(bytesOf(found, 'state')).toBe(8 * found.trained_parameters);
  const onGpu = await plan(yaml(nine, { use_peft: true }), '--device-memory', '80GB');
  expect(onGpu.mapped_bytes).toBe(0);
  expect(bytesOf(onGpu, 'weights')).toBe(2 * parameters9b + 4 * found.trained_parameters);
});

test('a size without a unit is refused', async () => {
  const { status, err } = await wpo('plan', yaml(modelFolder), '--device-memory', '80');
  expect(err).toContain('--device-memory: expected a number above 0 and a unit: GB, GiB, MB, MiB, found "80".');
  expect(status).toBe(1);
});

test('the time of a run is measured with three layers, on a pair of mean length', async () => {
  const before = { tensors: tf.memory().numTensors, stored: storedBytes().allocated };
  const rows = readFileSync(pairsFile, 'utf8').trim().split('\n').length;
  const prompts = { eval_prompts: '[Name a river., Name a lake.]', eval_steps: 3 };
  const settings = { gradient_accumulation_steps: 4, num_train_epochs: 2, ...prompts };
  const { time } = await plan(yaml(modelFolder, settings));
  expect(time!.steps).toBe(2 * Math.ceil(rows / 4));
  expect(time!.answers.count).toBe(2 * (1 + Math.ceil(time!.steps / 3))); // before training, every 3 steps and after the last
  expect(time!.answers.seconds).toBeGreaterThan(0);
  const { layers, tokens } = time!.calibration;
  expect(layers).toBe(3);
  expect(tokens).toBeGreaterThan(10);
  expect(time!.update_seconds).toBeGreaterThan(0);
  expect(time!.seconds_per_step).toBeGreaterThan(time!.update_seconds);
  expect(time!.reference_seconds).toBeGreaterThan(0);
  expect({ tensors: tf.memory().numTensors, stored: storedBytes().allocated }).toEqual(before);
});

test('answers to held-out prompts before and after training are counted, at their greatest length', async () => {
  const { out } = await wpo('plan', yaml(modelFolder, { eval_split: 4, report_samples: 2 }));
  expect(out).toMatch(
    /\n4 answers to prompts \(eval_prompts, report_samples\) take about [\d.e-]+ s in all if each has 96 tokens\.\n/,
  );
  const none = await plan(yaml(modelFolder, { eval_split: 4, report_samples: 0 }));
  expect(none.time!.answers).toEqual({ count: 0, seconds: 0 });
});

test('a loss without a reference has no reference pass, and a packed step runs as many pairs as fit', async () => {
  const { time } = await plan(yaml(modelFolder, { loss_type: 'simpo' }));
  expect(time!.reference_seconds).toBe(0);
  const settings = { gradient_accumulation_steps: 4, max_tokens_per_pack: 100_000 };
  const packed = await plan(yaml(modelFolder, settings));
  const one = await plan(yaml(modelFolder));
  expect(packed.time!.calibration.tokens).toBe(4 * one.time!.calibration.tokens);
});

test('the time is not measured for another machine, for a run that does not fit, and without a trained layer', async () => {
  expect((await plan(yaml(modelFolder), '--host-memory', '64GB')).time).toBeNull();
  expect((await plan(yaml(modelFolder), '--no-time')).time).toBeNull();
  const last = { use_peft: true, lora_target_modules: "'model\\.layers\\.3\\.mlp\\.up_proj'" };
  expect((await plan(yaml(modelFolder, last))).time).toBeNull();
  const adapter = await plan(yaml(modelFolder, { use_peft: true }));
  expect(adapter.time!.seconds_per_step).toBeGreaterThan(0);
});

test('the time follows the verdict', async () => {
  const { out } = await wpo('plan', yaml(modelFolder));
  expect(out).toMatch(
    /\nIt fits\.\n\nA step takes about [\d.e-]+ s \(the update [\d.e-]+ s\), and \d+ steps? about \d+s\.\nBefore them, the reference’s log-probs take about \d+s, unless they are cached\.\nMeasured in [\d.]+ s with 3 layers and \d+ tokens\. Evaluation and checkpoints are not counted\.\n$/,
  );
});
