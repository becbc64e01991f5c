import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { HELP, type MeasureName, parseFlags } from './flags';
import { ensureModel } from './make-model';
import { measureData } from './measures/data';
import { measureGenerate } from './measures/generate';
import { measureLoad } from './measures/load';
import type { Bench, Measure } from './measures/measure';
import { measureMemory } from './measures/memory';
import { measureReference } from './measures/reference';
import { measureStep } from './measures/step';
import type { FactsAnswer } from './ours/facts';
import { formatReport, type Machine, type Report } from './report';
import { ours } from './sides';
import { open } from './turns';

const measures: Readonly<Record<MeasureName, Measure>> = {
  step: measureStep,
  reference: measureReference,
  generate: measureGenerate,
  load: measureLoad,
  data: measureData,
  memory: measureMemory,
};

/**
 * Runs the benchmark and prints what it found.
 *
 * @param root the repository
 * @throws Error where a flag is wrong, or a side ends unasked
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

  const report: Report = {
    machine: await machineFacts(),
    ...(versions ? { peer: versions } : {}),
    rows: [],
    turns: [],
  };
  const rows = [];
  const turns = [];
  for (const name of flags.only) {
    const found = await measures[name](bench);
    rows.push(...found.rows);
    turns.push(...found.turns);
  }
  if (process.stderr.isTTY) say('');
  const whole = { ...report, rows, turns };
  process.stdout.write(flags.json ? `${JSON.stringify(whole, null, 1)}\n` : formatReport(whole));
}

/** Shows what is being done: on a terminal in one line, elsewhere line by line. */
function say(line: string): void {
  process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${line}` : `${line}\n`);
}

/** Lets this process and all that it starts keep their files in a folder that goes when it ends. */
function makeTemporaryFolder(): void {
  const folder = mkdtempSync(join(tmpdir(), 'wpo-bench-'));
  process.env.TMPDIR = folder;
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1));
}

/** @throws Error saying what to install, where the Python lacks it */
function peerVersions(python: string, script: string): Record<string, string> {
  const { status, stdout, stderr, error } = spawnSync(python, [script, 'versions'], { encoding: 'utf8' });
  const line = stdout?.split('\n').find((text) => text.startsWith('@'));
  if (status === 0 && line) return JSON.parse(line.slice(1));
  throw new Error(
    `--peer ${python}: wanted a Python with torch, transformers, trl and datasets, found ` +
      `${error?.message ?? stderr.trim().split('\n').at(-1)}. Install them: pip install torch transformers trl datasets`,
  );
}

async function machineFacts(): Promise<Machine> {
  const worker = await open(ours('facts', {}));
  const { tensorflow, device, fused } = await worker.ask<FactsAnswer>({});
  await worker.close();
  return {
    processor: cpus()[0]?.model ?? 'unknown processor',
    cores: availableParallelism(),
    memoryGb: Math.round(totalmem() / 1e9),
    node: process.versions.node,
    tensorflow,
    device,
    fused,
  };
}
