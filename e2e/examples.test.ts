import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { built, LONG } from './support';

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'wpo-examples-'));

beforeAll(built, LONG); // examples run on the built packages
afterAll(() => rmSync(folder, { recursive: true }));

function run(example: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, [at(`../examples/${example}`), ...args], {
    cwd: folder,
    encoding: 'utf8',
  });
  expect(status, stderr).toBe(0);
  return stdout;
}

test('loss-only: a pair that the policy would write has weight 1, a pair far from it a weight near 0', () => {
  const output = run('loss-only/index.mjs');
  const [near, far] = JSON.parse(output.match(/^weights +(\[.*\])$/m)![1]!) as [number, number];
  // s = (−0.2 − 0.9 − 0.1 + 1.3) / 3 + (−1.1 + 1.1) / 2 > 0, and (−6.9 + 0.9) / 2 + (−4.2 + 1.6) / 2 = −4.3
  expect(near).toBe(1);
  expect(far).toBeCloseTo(Math.exp(-4.3), 4);
});

test(
  'hybrid: runs from prompts to a win rate, and skips every stage the second time',
  () => {
    const output = run('hybrid/index.mjs', 'hybrid');
    const [, failed] = output.match(/^The server answered \d+ requests and failed (\d+)\.$/m)!;
    expect(Number(failed)).toBeGreaterThan(10);
    // 16 prompts, each with three answers of the model and one of another model
    expect(output).toContain('answers.jsonl has all 48 answers.');
    expect(output).toContain('scored.jsonl has all 64 scores.');
    expect(output).toContain('Requests sent: 0');
    expect(output.match(/^\w+ +skipped/gm)).toHaveLength(6);
    expect(output).toMatch(/^Win rate \d+\.\d %, length-controlled \d+\.\d %, from a stand-in judge\.$/m);
  },
  LONG,
);

test('tiny-gemma: trains, answers differently after training, and saves the model', () => {
  const fixtures = at('../packages/gemma/test/fixtures/golden');
  const output = run('tiny-gemma/index.mjs', `${fixtures}/tiny`, `${fixtures}/pairs.jsonl`, 'trained');
  const [, before] = output.match(/^before: (.+)$/m)!;
  const [, after] = output.match(/^after: (.+)$/m)!;
  expect(after).not.toBe(before);
  expect(output.match(/^step .*$/gm)).toHaveLength(8);
  // before training every implicit reward is 0, so that the first step's loss is its mean weight times log 2
  expect(output).toContain('step 1/8  loss 0.6126  weight 0.88  margin 0.0000');
  expect(Object.keys(JSON.parse(readFileSync(join(folder, 'trained/config.json'), 'utf8')))).toContain('model_type');
});
