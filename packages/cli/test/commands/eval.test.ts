import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { main } from '../../src/main';
import { temporaryFolder } from '../golden';
import { capture } from '../wpo';

type Case = { readonly expected: Record<string, number>; readonly rows: [number, number, number | null][] };

const cases: Record<string, Case> = JSON.parse(
  readFileSync(fileURLToPath(new URL('../../../eval/test/fixtures/alpaca-eval.json', import.meta.url)), 'utf8'),
);

const KEYS = [
  'win_rate',
  'standard_error',
  'n_wins',
  'n_wins_base',
  'n_draws',
  'n_total',
  'discrete_win_rate',
  'length_controlled_winrate',
  'avg_length',
];

function annotationsFile(rows: readonly object[]): string {
  const file = join(temporaryFolder(), 'annotations.json');
  writeFileSync(file, JSON.stringify(rows, null, 2));
  return file;
}

const annotation = (i: number, length1: number, length2: number, preference: number | null) => ({
  instruction: `question ${i}`,
  output_1: 'a'.repeat(length1),
  generator_1: 'base',
  dataset: i % 2 === 0 ? 'koala' : 'vicuna',
  output_2: 'b'.repeat(length2),
  generator_2: 'mine',
  annotator: 'judge',
  preference,
});

async function evaluated(...args: string[]) {
  const terminal = capture();
  const status = await main(['eval', ...args], terminal);
  return { status, out: terminal.out(), err: terminal.err() };
}

test('--json prints what alpaca_eval prints, under its names', async () => {
  const { expected, rows } = cases['a weak model']!;
  const file = annotationsFile(rows.map(([a, b, preference], i) => annotation(i, a, b, preference)));
  const { status, out, err } = await evaluated('--annotations', file, '--json');
  expect(status, err).toBe(0);
  const found = JSON.parse(out) as Record<string, number>;
  expect(Object.keys(found)).toEqual(KEYS);
  for (const name of KEYS) expect(Math.abs(found[name]! - expected[name]!), name).toBeLessThan(0.1);
});

test('without --json it prints a table, also by data set', async () => {
  const rows = [2, 1, 1.5, 1.75, 2, 1.25].map((preference, i) => annotation(i, 10 + i, 26 - i * i, preference));
  const { out } = await evaluated('--annotations', annotationsFile(rows));
  expect(out).toMatch(/win rate +58\.33 % ± 16\.67 %/);
  expect(out).toContain('3 won, 2 lost, 1 drawn of 6');
  expect(out).toMatch(/length-controlled +\d+\.\d\d % {2}\(alpaca_eval’s length_controlled_minimal/);
  expect(out).toMatch(/koala +3 +83\.33 % +16\.67 % +83\.33 % +19/);
  expect(out).toMatch(/vicuna +3 +33\.33 %/);
});

test('NaN is null in JSON and a dash in the table', async () => {
  const file = annotationsFile([annotation(0, 3, 4, 2)]);
  const { out } = await evaluated('--annotations', file, '--json');
  expect(JSON.parse(out)).toMatchObject({ win_rate: 100, standard_error: null, length_controlled_winrate: null });
  expect((await evaluated('--annotations', file)).out).toMatch(/win rate +100\.00 % ± – /);
});

test('null preferences are ignored silently, and numbers outside 1 to 2 with a message', async () => {
  const file = annotationsFile([annotation(0, 3, 4, 2), annotation(1, 3, 4, null), annotation(2, 3, 4, 2.5)]);
  const { out, err } = await evaluated('--annotations', file, '--json');
  expect(JSON.parse(out)).toMatchObject({ n_total: 1 });
  expect(err).toBe(`${file}: ignored 1 preferences that are not from 1 to 2.\n`);
});

test.each([
  [
    ['--annotations', '/nowhere.json'],
    /^\/nowhere\.json: expected a JSONL, JSON, CSV, TSV, Parquet or Arrow file, found no such file\. Check the path\./,
  ],
  [[], /^--baseline: expected exactly one of --annotations, --pairs, --baseline, found none of them\.$/m],
  [
    ['--annotations', 'a', '--pairs', 'b'],
    /^--annotations: expected exactly one of .*, found --annotations and --pairs\./,
  ],
  [['--pairs', 'a'], /^--pairs: expected --model with it, found no --model\.$/m],
  [
    ['--baseline', 'a', '--model', 'b'],
    /^--baseline: expected --judge and --out with it, found no --judge and no --out\.$/m,
  ],
  [['--nonsense'], /^--nonsense: unknown flag\./],
])('%j is an error without a stack', async (args, message) => {
  const { status, err } = await evaluated(...args);
  expect(status).toBe(1);
  expect(err).toMatch(message);
  expect(err).not.toContain('    at ');
});
