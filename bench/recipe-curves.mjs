// node bench/recipe-curves.mjs [--folder DIR] [PRECISION …]
//
// Trains eight steps with the settings of recipes/gemma-2-9b-it-wpo-hb.yaml on a model with random weights in the widths and vocabulary
// of Gemma-2-2B, in float32 and in bfloat16. The weight of the last norm is lowered, so that predictions are as uncertain as a trained
// model's: else the random model predicts its own last token, and WPO's weights are about 1e-12. Kills each run (SIGKILL) at step 6 and
// resumes it from the checkpoint of step 4. Prints the metrics of both beside each other. Data: of demo/data/text.jsonl, the 140 shortest
// prompts with two answers, in the order of the file; these pairs are no preferences, but real text. Takes 16 GB of memory, 16 GB of disk
// and about 40 minutes on two cores with AVX2. Uses the built packages.
import { spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const PAIRS = 140;
const STEPS = 8;
const SAVED = 4;
const KILLED = 6;
/** What differs from the recipe, which is for one GPU with 80 GB. */
const SETTINGS = {
  float32: ['precision=float32', 'dtype=float32', 'master_weights=null', 'offload_optimizer=null'],
  bfloat16: ['offload_optimizer=null'],
};
const METRICS = {
  loss: (row) => row.loss.toFixed(5),
  'WPO weight': (row) => row['wpo/weight'].toFixed(5),
  'reward margin': (row) => row['rewards/margins'].toExponential(3),
  'gradient norm': (row) => row.grad_norm.toFixed(4),
};

const root = fileURLToPath(new URL('..', import.meta.url));
const wpo = join(root, 'packages/cli/bin/wpo.mjs');
const { values, positionals } = parseArgs({ options: { folder: { type: 'string' } }, allowPositionals: true });
const folder = values.folder ?? mkdtempSync(join(tmpdir(), 'wpo-recipe-curves-'));
const precisions = positionals.length > 0 ? positionals : Object.keys(SETTINGS);
const model = join(folder, 'model');
const data = join(folder, 'pairs.jsonl');

try {
  if (!existsSync(model)) run(['init', '--preset', '2b-wide', '--tokenizer', join(root, 'demo/model'), '--out', model]);
  lowerLastNorm(join(model, 'model.safetensors'));
  writeFileSync(
    data,
    shortestPairs()
      .map((pair) => `${JSON.stringify(pair)}\n`)
      .join(''),
  );
  const curves = [];
  for (const precision of precisions) curves.push(await curveOf(precision));
  print(curves);
} finally {
  if (!values.folder) rmSync(folder, { recursive: true });
}

function shortestPairs() {
  const rows = readFileSync(join(root, 'demo/data/text.jsonl'), 'utf8').trim().split('\n').map(JSON.parse);
  const pairs = rows
    .filter(({ answers: [first, second] }) => second !== undefined && first !== second)
    .map(({ prompt, answers: [chosen, rejected] }) => ({ prompt, chosen, rejected }));
  const lengthOf = ({ prompt, chosen, rejected }) => prompt.length + chosen.length + rejected.length;
  const kept = new Set([...pairs].sort((a, b) => lengthOf(a) - lengthOf(b)).slice(0, PAIRS));
  return pairs.filter((pair) => kept.has(pair));
}

/** Sets the last norm's weight, which Gemma adds to 1, to -0.87 in bfloat16. */
function lowerLastNorm(file) {
  const handle = openSync(file, 'r+');
  const size = Buffer.alloc(8);
  readSync(handle, size, 0, 8, 0);
  const header = Buffer.alloc(Number(size.readBigUInt64LE()));
  readSync(handle, header, 0, header.length, 8);
  const [start, end] = JSON.parse(header.toString())['model.norm.weight'].data_offsets;
  const values = Buffer.alloc(end - start);
  for (let at = 0; at < values.length; at += 2) values.writeUInt16LE(0xbf5f, at);
  writeSync(handle, values, 0, values.length, 8 + header.length + start);
  closeSync(handle);
}

/** The rows of metrics of a run that is killed once and resumed. */
async function curveOf(precision) {
  const output = join(folder, precision);
  const settings = [
    `model_name_or_path=${model}`,
    `train_file=${data}`,
    `output_dir=${output}`,
    `max_steps=${STEPS}`,
    `save_steps=${SAVED}`,
    'logging_steps=1',
    ...SETTINGS[precision],
  ];
  const args = ['train', join(root, 'recipes/gemma-2-9b-it-wpo-hb.yaml'), ...settings.flatMap((s) => ['--set', s])];
  const metrics = join(output, 'metrics.jsonl');
  if (!existsSync(metrics)) await killAt(KILLED, args, () => stepsIn(metrics));
  console.error(`${precision}: killed after step ${stepsIn(metrics).length}`);
  run([...args, '--resume']);
  return stepsIn(metrics);
}

function stepsIn(metrics) {
  if (!existsSync(metrics)) return [];
  const whole = readFileSync(metrics, 'utf8').split('\n').slice(0, -1);
  return whole.map((line) => JSON.parse(line)).filter((row) => row.grad_norm !== undefined);
}

async function killAt(step, args, steps) {
  const child = spawn(process.execPath, [wpo, ...args], { stdio: ['ignore', 'inherit', 'inherit'] });
  const ended = new Promise((resolve) => child.on('exit', resolve));
  const watch = setInterval(() => steps().length >= step && child.kill('SIGKILL'), 200);
  const status = await ended;
  clearInterval(watch);
  if (status !== null) throw new Error(`wpo train ended with status ${status} before step ${step}`);
}

function run(args) {
  const { status } = spawnSync(process.execPath, [wpo, ...args], { stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) throw new Error(`wpo ${args[0]} failed`);
}

function print(curves) {
  const cell = (text) => String(text).padEnd(16);
  for (const [name, show] of Object.entries(METRICS)) {
    console.log(`\n| ${cell(name)} | ${precisions.map(cell).join(' | ')} |`);
    console.log(`| ${[cell(''), ...precisions].map(() => '-'.repeat(16)).join(' | ')} |`);
    for (let step = 0; step < STEPS; step++)
      console.log(`| ${cell(`step ${step + 1}`)} | ${curves.map((rows) => cell(show(rows[step]))).join(' | ')} |`);
  }
}
