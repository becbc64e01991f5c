import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { HELP, type MeasureName, parseFlags } from './flags';
import { ensureModel } from './inputs';
import { measureData } from './measures/data';
import { measureGenerate, measureLoad } from './measures/inference';
import type { Bench, Measure } from './measures/measure';
import { measureMemory, measureReference, measureStep } from './measures/training';
import type { FactsAnswer } from './ours/worker';
import { formatReport, type Machine, type Report } from './report';
import { open, ours } from './turns';

const measures: Readonly<Record<MeasureName, Measure>> = {
  step: measureStep,
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
  if (flags.help) return void process.stdout.write(HELP);
  const small = join(root, 'packages/gemma/test/fixtures/golden/tiny');
  const script = join(root, 'bench/peer/peer.py');
  const peer = flags.peer === undefined ? undefined : { python: flags.peer, script };
  makeTemporaryFolder();
  const versions = peer && peerVersions(peer.python, script);
  const model = flags.model ?? join(root, 'node_modules/.cache/wpo/bench-model');
  if (flags.model === undefined) await ensureModel(model, small, say);
  const texts = [flags.pairs, flags.long, ...['train', 'eval'].map((name) => join(root, `demo/data/${name}.jsonl`))];
  const bench: Bench = { flags, model, small, peer, texts, say };

  const machine = await machineFacts();
  const rows = [];
  const turns = [];
  for (const name of flags.only) {
    const found = await measures[name](bench);
    rows.push(...found.rows);
    turns.push(...found.turns);
  }
  if (process.stderr.isTTY) say('');
  const report: Report = { machine, ...(versions ? { peer: versions } : {}), rows, turns };
  process.stdout.write(flags.json ? `${JSON.stringify(report, null, 1)}\n` : formatReport(report));
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
