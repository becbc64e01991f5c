// node bench/memory-plan.mjs [CASE …]
//
// Compares `wpo plan` with `wpo train`. For each case it writes a model with random weights and pairs of one length, plans the run, and
// trains five steps. Prints the parts of the planned memory in MB, the peak resident memory (VmHWM) of the process that trained, and
// their difference; then the planned seconds of a step, the median of the last three steps, and their difference. Mapped weights count in
// planned memory and peak. Uses the built packages; runs on Linux.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const wpo = join(root, 'packages/cli/bin/wpo.mjs');
const { gemma2_2b } = await import(join(root, 'packages/gemma/dist/index.js'));
const { randomWeights, writeModelFolder } = await import(join(root, 'packages/gemma/dist/node.js'));

/** Hidden size, size of the MLP, layers, query heads, key-value heads, head dimension, vocabulary. */
const MODELS = {
  '16M': [256, 1024, 8, 4, 2, 64, 32_000],
  '56M': [512, 2048, 10, 8, 4, 64, 32_000],
  '155M': [768, 3072, 12, 8, 4, 96, 64_000],
  '155M, V 256,000': [512, 2048, 6, 4, 2, 128, 256_000],
  '286M': [1024, 4096, 14, 8, 4, 128, 64_000],
};

/** Updates in the backward pass, with only the inputs of layers kept: a step's pairs differ in them alone. */
const inBackward = (pairs) => ({
  ...{ optimizer_in_bwd: true, max_grad_norm: 0, activation_checkpointing: 'always' },
  gradient_accumulation_steps: pairs,
});

/** Model; characters of the prompt and of each answer, which are about as many tokens; pairs; keys of the YAML file. */
const CASES = {
  short: ['16M', [100, 60], 4, {}],
  long: ['56M', [600, 300], 4, {}],
  accumulated: ['155M', [200, 300], 4, { gradient_accumulation_steps: 2 }],
  recomputed: ['155M', [200, 300], 4, { activation_checkpointing: 'always' }],
  batch: ['155M', [60, 60], 8, { per_device_train_batch_size: 4 }],
  packed: ['56M', [100, 100], 8, { gradient_accumulation_steps: 4, max_tokens_per_pack: 800 }],
  vocabulary: ['155M, V 256,000', [100, 200], 4, {}],
  'in backward, 1': ['155M', [100, 100], 16, inBackward(1)],
  'in backward, 16': ['155M', [100, 100], 16, inBackward(16)],
  lion: ['155M', [100, 100], 4, { optim: 'lion_32bit' }],
  '8-bit AdamW': ['155M', [100, 100], 4, { optim: 'adamw_bnb_8bit' }],
  adapter: ['286M', [400, 200], 4, { use_peft: true, lora_target_modules: 'all-linear' }],
  'adapter, short': ['286M', [60, 40], 4, { use_peft: true }],
  'adapter, float32': ['155M', [100, 100], 4, { use_peft: true, dtype: 'float32' }],
  'adapter, DoRA': ['155M', [200, 200], 4, { use_peft: true, use_dora: true }],
};

const folder = mkdtempSync(join(tmpdir(), 'wpo-memory-plan-'));
const names = process.argv.length > 2 ? process.argv.slice(2) : ['demo', ...Object.keys(CASES)];
const columns = ['weights', 'gradients', 'state', 'activations', 'logits', 'unused', 'program', 'mapped'];
try {
  console.log(
    [
      'case'.padEnd(18),
      ...[...columns, 'sum', 'peak', '', 'planned s', 'step s', ''].map((name) => name.padStart(11)),
    ].join(' '),
  );
  for (const name of names) await compare(name, name === 'demo' ? demo() : await prepare(name));
} finally {
  rmSync(folder, { recursive: true });
}

/** The demo's run with five steps. */
function demo() {
  const set = [`output_dir=${join(folder, 'run')}`, 'max_steps=5', 'logging_steps=1'].flatMap((setting) => [
    '--set',
    setting,
  ]);
  return [join(root, 'recipes/demo.yaml'), ...set];
}

/** Writes a case's model, pairs and configuration. Returns the arguments of `wpo plan` and `wpo train`. */
async function prepare(name) {
  const [model, [prompt, answer], pairs, keys] = CASES[name];
  const modelFolder = join(folder, 'model');
  rmSync(modelFolder, { recursive: true, force: true });
  const [H, F, layers, N, K, D, V] = MODELS[model];
  const config = {
    ...gemma2_2b,
    ...{ hiddenSize: H, intermediateSize: F, numHiddenLayers: layers, vocabSize: V },
    ...{ numAttentionHeads: N, numKeyValueHeads: K, headDim: D, queryPreAttnScalar: D },
    layerTypes: gemma2_2b.layerTypes.slice(0, layers),
  };
  const tensors = randomWeights(config, { seed: 0 });
  await writeModelFolder(modelFolder, { config, tensors, dtype: 'BF16', files: tokenizer() });
  const text = (length, shift) =>
    Array.from({ length }, (_, i) => String.fromCharCode(97 + ((7 * i + shift) % 26))).join('');
  const row = (i) => ({ prompt: text(prompt, i), chosen: text(answer, i + 1), rejected: text(answer, i + 2) });
  const data = join(folder, 'pairs.jsonl');
  writeFileSync(data, Array.from({ length: pairs }, (_, i) => `${JSON.stringify(row(i))}\n`).join(''));
  const run = {
    model_name_or_path: modelFolder,
    train_file: data,
    output_dir: join(folder, 'run'),
    max_steps: 5,
    logging_steps: 1,
  };
  const yaml = join(folder, 'run.yaml');
  const lines = Object.entries({ ...run, max_length: 4096, max_prompt_length: 2048, save_steps: 0, ...keys });
  writeFileSync(yaml, lines.map(([key, value]) => `${key}: ${value}\n`).join(''));
  return [yaml];
}

/** The files of the tokenizer that has a token for each byte. */
function tokenizer() {
  const tiny = join(folder, 'tiny');
  const { status, stderr } = spawnSync(process.execPath, [wpo, 'init', '--preset', 'tiny', '--out', tiny]);
  if (status !== 0) throw new Error(String(stderr));
  const files = ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'];
  const texts = Object.fromEntries(files.map((name) => [name, readFileSync(join(tiny, name), 'utf8')]));
  rmSync(tiny, { recursive: true });
  return texts;
}

async function compare(name, args) {
  const { stdout, stderr } = spawnSync(process.execPath, [wpo, 'plan', ...args, '--json'], { encoding: 'utf8' });
  if (!stdout.startsWith('{')) throw new Error(stderr);
  const { memory, needed, mapped_bytes: mapped, time } = JSON.parse(stdout);
  const peak = await train(args);
  const parts = { ...Object.fromEntries(memory.map(({ name, bytes }) => [name, bytes])), mapped };
  const sum = needed.host + mapped;
  const cells = [...columns.map((column) => parts[column] ?? 0), sum, peak].map((n) => (n / 1e6).toFixed(0));
  const seconds = stepSeconds();
  const planned = time.seconds_per_step;
  cells.push(difference(sum, peak), planned.toFixed(2), seconds.toFixed(2), difference(planned, seconds));
  console.log([name.padEnd(18), ...cells.map((cell) => cell.padStart(11))].join(' '));
}

function difference(planned, measured) {
  return `${planned > measured ? '+' : ''}${(100 * (planned / measured - 1)).toFixed(1)} %`;
}

/** The median of the last three steps of the run that has just ended: the first ones compile code and take memory of the system. */
function stepSeconds() {
  const rows = readFileSync(join(folder, 'run/metrics.jsonl'), 'utf8').trim().split('\n').map(JSON.parse);
  const seconds = rows.flatMap((row) => row.step_seconds ?? []);
  return seconds.slice(-3).sort((a, b) => a - b)[1];
}

/** Trains in a child process, and returns its peak memory in bytes. */
async function train(args) {
  rmSync(join(folder, 'run'), { recursive: true, force: true });
  const child = spawn(process.execPath, [wpo, 'train', ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  let [peak, errors] = [0, ''];
  child.stderr.on('data', (text) => {
    errors += text;
  });
  const timer = setInterval(() => {
    peak = Math.max(peak, peakBytes(child.pid));
  }, 20);
  const status = await new Promise((resolve) => child.on('exit', resolve));
  clearInterval(timer);
  if (status !== 0) throw new Error(errors);
  return peak;
}

function peakBytes(pid) {
  try {
    return 1024 * Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0; // the process has ended
  }
}
