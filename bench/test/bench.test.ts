import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import type { Report } from '../report';

const at = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const fixtures = at('packages/gemma/test/fixtures/golden');
const folder = mkdtempSync(join(tmpdir(), 'wpo-bench-test-'));

afterAll(() => rmSync(folder, { recursive: true }));

function bench(...flags: string[]) {
  const { INIT_CWD: _, ...env } = process.env;
  return spawnSync(process.execPath, [at('scripts/bench.mjs'), ...flags], { encoding: 'utf8', env });
}

// with a small model and short pairs: checks that every measure runs and reports, not how fast anything is
test('runs every measure on a small model and prints JSON', () => {
  const pairs = join(folder, 'pairs.jsonl');
  writeFileSync(pairs, readFileSync(`${fixtures}/pairs.jsonl`, 'utf8').split('\n').slice(0, 2).join('\n'));
  const small = ['--rounds', '1', '--tokens', '2', '--rows', '40', '--steps', '4', '--pair-tokens', '100'];
  const { stdout, stderr, status } = bench(
    '--model',
    `${fixtures}/tiny`,
    '--pairs',
    pairs,
    '--long',
    pairs,
    ...small,
    '--json',
  );
  expect(status, stderr).toBe(0);
  const { machine, peer, rows, turns } = JSON.parse(stdout) as Report;
  expect(machine.tensorflow).toMatch(/^\d+\.\d+/);
  expect(peer).toBeUndefined();
  const found = new Map(rows.map(({ of, what, ours }) => [`${of}: ${what}`, ours]));
  for (const name of [
    'step, pairs.jsonl: s per pair',
    'step, pairs.jsonl: step time / that of its matrix products',
    'step, pairs.jsonl: matrix products, GFLOP/s',
    'step, pairs.jsonl, full checkpointing: time / that of auto',
    'LoRA step, r = 16, float32, 100 tokens: s per pair',
    'LoRA step, r = 16, float32, 100 tokens: peak GB without mapped files',
    'reference, pairs.jsonl: s per pair',
    'generate, float32, batch 1: tokens/s, prompts included',
    'generate, float32, batch 8: tokens/s, prompts included',
    'load: weights in memory, s',
    'data: rows/s',
    'memory, 4 steps: resident after step 2, GB',
  ]) {
    expect(found.get(name), name).toBeGreaterThan(0);
  }
  expect(found.get('memory, 4 steps: growth after step 2, MB')).toEqual(expect.any(Number));
  expect(found.get('load: checkpoint, GB')).toBeCloseTo(2 * 0.001335, 5); // both files of the fixture
  expect(rows.every((row) => row.peers.length === 0)).toBe(true);
  expect(new Set(turns.map((turn) => (turn as { measure: string }).measure.split(',')[0]))).toEqual(
    new Set(['step', 'LoRA step', 'reference', 'generate', 'load', 'data', 'memory']),
  );
});

test('--gpu --dry runs the whole script for a GPU on tiny models, and says what was not run', () => {
  const { stdout, stderr, status } = bench('--gpu', '--dry', '--rounds', '1', '--tokens', '2', '--json');
  expect(status, stderr).toBe(0);
  const { rows, notes } = JSON.parse(stdout) as Report;
  const found = new Map(rows.map(({ of, what, ours }) => [`${of}: ${what}`, ours]));
  for (const side of ['float32', 'bfloat16']) {
    for (const [what, allowed] of [
      ['log-probs', 1e-5],
      ['losses', 1e-5],
      ['gradient norms', 1e-4],
    ] as const) {
      const name = `tiny, check, 128 tokens, ${side}: ${what}: relative difference from CPU`;
      expect(found.get(name), name).toBeLessThan(allowed);
    }
  }
  expect(found.get('tiny, LoRA step, r = 16, bfloat16, 256 tokens: tokens/s')).toBeGreaterThan(0);
  expect(found.get('tiny, generate, bfloat16, batch 1: tokens/s after the first token')).toBeGreaterThan(0);
  expect(notes).toEqual(['Not run:', 'TRL + PEFT: no --peer was given']);
});

test('--gpu needs a GPU', () => {
  const { stderr, status } = bench('--gpu');
  expect(status).toBe(1);
  expect(stderr).toContain('--gpu: expected an NVIDIA GPU, found that TensorFlow computes on the CPU');
});

test('reports a peer without the needed packages before it measures anything', () => {
  const { stderr, status } = bench('--model', `${fixtures}/tiny`, '--peer', process.execPath);
  expect(status).toBe(1);
  expect(stderr).toContain('expected a Python with torch, transformers, trl and datasets');
});
