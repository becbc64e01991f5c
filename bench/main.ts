import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { HELP, type MeasureName, parseFlags } from './flags';
import { runGpu } from './gpu';
import { ensureModel } from './inputs';
import { measureData } from './measures/data';
import { measureGenerate, measureLoad } from './measures/inference';
import { measureLora } from './measures/lora';
import { type Bench, join as joinMeasured, type Measure, type Measured } from './measures/measure';
import { measureMemory, measureReference, measureStep } from './measures/training';
import type { FactsAnswer } from './ours/worker';
import { formatReport, type Machine, type Report } from './report';
import { open, ours } from './turns';

const measures: Readonly<Record<MeasureName, Measure>> = {
  step: measureStep,
  lora: measureLora,
  reference: measureReference,
  generate: measureGenerate,
  load: measureLoad,
  data: measureData,
  memory: measureMemory,
};

/**
 * Runs the benchmark and prints its report.
 *
 * @param root the repository's folder
 * @throws Error where a flag is wrong or a side fails
 */
export async function main(args: readonly string[], root: string): Promise<void> {
  const flags = parseFlags(args, root);
  process.env.BENCH_PRECISION = flags.precision; // the workers inherit it
  if (flags.help) return void process.stdout.write(HELP);
  const small = join(root, 'packages/gemma/test/fixtures/golden/tiny');
  const script = join(root, 'bench/peer/peer.py');
  const peer = flags.peer === undefined ? undefined : { python: flags.peer, script };
  makeTemporaryFolder();
  const versions = peer && peerVersions(peer.python, script);
  const cache = join(root, 'node_modules/.cache/wpo');
  const texts = [flags.pairs, flags.long, ...['train', 'eval'].map((name) => join(root, `demo/data/${name}.jsonl`))];
  const machine = await machineFacts();
  const bench = { flags, small, peer, texts, say };
  const { rows, turns, notes } = flags.gpu ? await onGpu(bench, cache, machine) : await runMeasures(bench, cache);
  if (process.stderr.isTTY) say('');
  const report: Report = { machine, ...(versions ? { peer: versions } : {}), rows, turns, notes };
  process.stdout.write(flags.json ? `${JSON.stringify(report, null, 1)}\n` : formatReport(report));
  if (flags.gpu) process.exit(); // ends the processes of a part that took too long
}

async function runMeasures(bench: Omit<Bench, 'model'>, cache: string): Promise<Measured & { notes: string[] }> {
  const { flags, small, say } = bench;
  const model = flags.model ?? (await ensureModel(flags.preset, { cache, tokenizerFrom: small, say }));
  const found: Measured[] = [];
  for (const name of flags.only) found.push(await measures[name]({ ...bench, model }));
  const notes =
    flags.precision === 'float32' ? [] : ['Our products and activations are bfloat16, our weights float32.'];
  return { ...joinMeasured(found), notes };
}

/** @throws Error where TensorFlow finds no GPU, except with `--dry` */
async function onGpu(bench: Omit<Bench, 'model'>, cache: string, { device }: Machine) {
  if (device !== 'gpu' && !bench.flags.dry) {
    throw new Error(
      '--gpu: expected an NVIDIA GPU, found that TensorFlow computes on the CPU: `npm run -s wpo -- doctor` says why. --dry runs the ' +
        'script on tiny models here.',
    );
  }
  const { measured, notRun, wrong } = await runGpu(bench, cache);
  if (wrong.length > 0) process.exitCode = 1;
  const list = (title: string, lines: readonly string[]) => (lines.length === 0 ? [] : [`${title}:`, ...lines]);
  return { ...measured, notes: [...list('Wrong', wrong), ...list('Not run', notRun)] };
}

/** Shows progress: on a terminal in a single line, elsewhere one line each. */
function say(line: string): void {
  process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${line}` : `${line}\n`);
}

/** Gives this process and those it starts a temporary folder, which is removed at exit. */
function makeTemporaryFolder(): void {
  const folder = mkdtempSync(join(tmpdir(), 'wpo-bench-'));
  process.env.TMPDIR = folder;
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1));
}

/** @throws Error with what to install, where the Python lacks a package */
function peerVersions(python: string, script: string): Record<string, string> {
  const { status, stdout, stderr, error } = spawnSync(python, [script, 'versions'], { encoding: 'utf8' });
  const line = stdout?.split('\n').find((text) => text.startsWith('@'));
  if (status === 0 && line) return JSON.parse(line.slice(1));
  throw new Error(
    `--peer ${python}: expected a Python with torch, transformers, trl and datasets, found: ` +
      `${error?.message ?? stderr.trim().split('\n').at(-1)}. Install them: pip install torch transformers trl datasets`,
  );
}

async function machineFacts(): Promise<Machine> {
  const worker = await open(ours('facts', {}));
  const { tensorflow, device, native } = await worker.ask<FactsAnswer>({});
  await worker.close();
  return {
    cpu: cpus()[0]?.model ?? 'unknown CPU',
    cores: availableParallelism(),
    memoryGb: Math.round(totalmem() / 1e9),
    node: process.versions.node,
    tensorflow,
    device,
    native,
  };
}
