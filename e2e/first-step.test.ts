import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { pythonHas } from '../packages/gemma/test/node/python';
import { LONG } from './support';

// scripts/check-first-step.py on a small model. The same commands compare the step of Gemma-2 9B's sizes in docs/performance.md.

const hasPeft = pythonHas('torch, transformers, peft, yaml', 'tests that compare the first step of a run with PEFT');
const folder = mkdtempSync(join(tmpdir(), 'wpo-first-step-'));
afterAll(() => rmSync(folder, { recursive: true }));

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

function run(program: string, ...args: string[]) {
  const { status, error, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (error) throw error;
  return { status, stdout, stderr };
}

function succeed(program: string, ...args: string[]): string {
  const { status, stdout, stderr } = run(program, ...args);
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} exited with ${status}:\n${stdout}${stderr}`);
  return stdout;
}

const wpo = (...args: string[]) => succeed(process.execPath, at('../packages/cli/bin/wpo.mjs'), ...args);
const python = process.env.WPO_PYTHON ?? 'python3';
const script = at('../scripts/check-first-step.py');

test.skipIf(!hasPeft)(
  'the first step of an adapter with a random B agrees with PEFT, which reads one layer at a time',
  () => {
    const [model, adapter, output] = ['model', 'adapter', 'run'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    wpo('init', '--preset', 'tiny', '--out', model);
    succeed(python, script, 'adapter', model, adapter, '--rank', '4');
    const config = {
      model_name_or_path: model,
      ref_model_name_or_path: model,
      adapter_name_or_path: adapter,
      use_peft: true,
      train_file: join(folder, 'pair.jsonl'),
      output_dir: output,
      completion: 'trl',
      max_steps: 1,
      logging_steps: 1,
    };
    // longer than the sliding window of 64 tokens
    const pair = {
      prompt: 'Write one sentence about the sea, and one about the ships that sail on it.',
      chosen: ' The sea is wide. Ships carry most of what the world trades.',
      rejected: ' I would rather talk about mountains.',
    };
    writeFileSync(config.train_file, `${JSON.stringify(pair)}\n`);
    const lines = Object.entries(config).map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`);
    writeFileSync(join(folder, 'run.yaml'), lines.join(''));
    wpo('train', join(folder, 'run.yaml'));
    expect(succeed(python, script, 'compare', output)).toMatch(/^grad_norm /m);

    const metrics = join(output, 'metrics.jsonl');
    const row = JSON.parse(readFileSync(metrics, 'utf8'));
    writeFileSync(metrics, JSON.stringify({ ...row, loss: row.loss * 1.0001, grad_norm: null }));
    const { status, stderr } = run(python, script, 'compare', output);
    expect(stderr).toMatch(/differs: loss, grad_norm$/m);
    expect(status).toBe(1);
  },
  LONG,
);
