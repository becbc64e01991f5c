import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { built, LONG } from './support';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'wpo-demo-'));
afterAll(() => rmSync(folder, { recursive: true }));
beforeAll(built, LONG); // runs the built command, as `npm run demo` does

test(
  '`npm run demo` compares WPO, DPO and no training, and names the report',
  () => {
    const output = join(folder, 'both');
    const { status, stdout, stderr } = spawnSync(process.execPath, ['scripts/demo.mjs', output], {
      cwd: root,
      encoding: 'utf8',
    });
    expect(status, stderr).toBe(0);
    expect(stdout).toMatch(/^Trains a Gemma-2 .* minute/);
    expect(stdout).toContain('weights of 64 pairs: mean');
    const numbers = (name: string) =>
      stdout
        .match(new RegExp(`^${name}.*?((?: +-?[\\d.]+){3})$`, 'm'))![1]!
        .trim()
        .split(/ +/);
    const [none, dpo, wpo] = numbers('accuracy').map(Number);
    expect(none).toBe(0);
    for (const trained of [dpo, wpo]) expect(trained).toBeGreaterThan(0.5);
    expect(stdout).toContain(`${output}/report.html`);
    expect(existsSync(join(output, 'report.html'))).toBe(true);
    expectBetter(output);
  },
  LONG,
);

test(
  'the demo with another seed ends with a model that is better on held-out pairs, too',
  () => {
    const output = join(folder, 'seed-1');
    const args = ['packages/cli/bin/wpo.mjs', 'train', 'recipes/demo.yaml'];
    const set = ['--set', 'seed=1', '--set', `output_dir=${output}`];
    const { status, stdout, stderr } = spawnSync(process.execPath, [...args, ...set], { cwd: root, encoding: 'utf8' });
    expect(status, stderr).toBe(0);
    expect(stdout).toContain('\nTrained.\n');
    expectBetter(output);
  },
  LONG,
);

/** Checks the evaluations of a run before and after training. */
function expectBetter(output: string): void {
  const rows = readFileSync(join(output, 'metrics.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, number>);
  const evaluations = rows.filter((row) => row.eval_loss !== undefined);
  const [before, after] = [evaluations[0]!, evaluations.at(-1)!];
  expect(after.eval_loss).toBeLessThan(before.eval_loss!);
  expect(after['eval_rewards/accuracies']).toBeGreaterThan(0.5);
  expect(after['eval_rewards/margins']).toBeGreaterThan(0);
  expect(after['eval_logps/chosen']).toBeGreaterThan(before['eval_logps/chosen']!);
  expect(rows.some((row) => row['wpo/collapsed'] === 1)).toBe(false);
}
