import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PairSummary } from '@wpo/data/pairing';
import { expect, test } from 'vitest';
import { main } from '../../src/main';
import { temporaryFolder } from '../golden';
import { capture } from '../wpo';

const answer = (prompt: string, completion: string, score: number | null, source = 'gemma') => ({
  prompt_id: prompt,
  prompt: `Tell me all that you know of the river ${prompt} and of its many bridges.`,
  completion,
  source,
  score,
});

const OWN = [answer('a', 'Good.', 8), answer('a', 'Bad.', 2), answer('b', 'Fair.', 5), answer('b', '', 1)];
const OFF_POLICY = [answer('b', 'Best.', 9, 'gpt-4-turbo'), answer('a', 'Middling.', 5, 'gpt-4-turbo')];

const jsonl = (rows: object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

async function run(args: string[], files: Record<string, string> = {}) {
  const folder = temporaryFolder();
  const paths = { 'own.jsonl': jsonl(OWN), 'off-policy.jsonl': jsonl(OFF_POLICY), ...files };
  for (const [name, text] of Object.entries(paths)) writeFileSync(join(folder, name), text);
  const out = join(folder, 'pairs.jsonl');
  const terminal = capture();
  const inFolder = args.map((arg) => (arg in paths ? join(folder, arg) : arg));
  const status = await main(['pair', '--out', out, ...inFolder], terminal);
  const rows = existsSync(out) ? readFileSync(out, 'utf8').trimEnd().split('\n') : undefined;
  return { status, out: terminal.out(), err: terminal.err(), rows: rows?.map((row) => JSON.parse(row)) };
}

const BOTH = ['--answers', 'own.jsonl', 'off-policy.jsonl'];

test('pairs the best answer with the worst, and reports what was left out and the sources', async () => {
  const { status, out, rows } = await run(BOTH);
  expect(status).toBe(0);
  expect(
    rows!.map(({ chosen, rejected, score_chosen, source_chosen }) => [chosen, rejected, score_chosen, source_chosen]),
  ).toEqual([
    ['Good.', 'Bad.', 8, 'gemma'],
    ['Best.', 'Fair.', 9, 'gpt-4-turbo'],
  ]);
  expect(out).toMatch(/answers +6\n +left out: empty +1\n +prompts +2\n +pairs +2\n +mean margin +5\.000\n/);
  expect(out).toMatch(/gemma +4 +1 \(50\.0 %\) +2 \(100\.0 %\)/);
  expect(out).toMatch(/gpt-4-turbo +2 +1 \(50\.0 %\) +0 \(0\.0 %\)/);
});

test('answers with the same text are counted, with the cause that different seeds had no effect', async () => {
  const again = { ...answer('a', 'Good.', 8), seed: 21 };
  const { out } = await run(['--answers', 'own.jsonl'], { 'own.jsonl': jsonl([...OWN, again]) });
  expect(out).toMatch(/ left out: same text as another +1\n/);
  expect(out).toContain(
    '1 answer has the same text as another answer to the same prompt. If their seeds differ, the seeds had no effect: ' +
      'sample at a higher temperature, or from a server that accepts `seed`.\n',
  );
});

test('--strategy margin rejects the best answer that is low enough', async () => {
  const { rows } = await run([...BOTH, '--strategy', 'margin', '--min-margin', '3']);
  expect(rows!.map(({ chosen, rejected }) => [chosen, rejected])).toEqual([
    ['Good.', 'Middling.'],
    ['Best.', 'Fair.'],
  ]);
});

test('--hybrid 0 uses no off-policy answers; --json prints the summary', async () => {
  const { out, rows } = await run([...BOTH, '--off-policy', 'gpt-4-turbo', '--hybrid', '0', '--json']);
  expect(rows).toHaveLength(1);
  expect(JSON.parse(out) as PairSummary).toMatchObject({
    answersLeftOut: { offPolicy: 2, empty: 1 },
    promptsLeftOut: { tooFewAnswers: 1 },
    offPolicy: { prompts: 0, pairs: 0 },
  });
});

test('--against reports pairs that overlap with an evaluation set, and --drop-overlaps leaves them out', async () => {
  const evaluation = [{ instruction: OWN[2]!.prompt, output: 'x', generator: 'y', dataset: 'z' }];
  const files = { 'eval.json': JSON.stringify(evaluation) };
  const reported = await run([...BOTH, '--against', 'eval.json'], files);
  expect(reported.rows).toHaveLength(2);
  expect(reported.out).toContain(
    '1 pair shares 13 consecutive words with 1 text of the evaluation set: 1 in the prompt',
  );
  const dropped = await run([...BOTH, '--against', 'eval.json', '--drop-overlaps'], files);
  expect(dropped.rows!.map(({ prompt_id }) => prompt_id)).toEqual(['a']);
  expect(dropped.out).toMatch(/left out: overlaps with the evaluation set +1/);
  const nearly = [{ instruction: 'Tell me all that you know of the river Danube, its fish and its birds.' }];
  const none = await run([...BOTH, '--against', 'eval.json'], { 'eval.json': JSON.stringify(nearly) });
  expect(none.out).toContain('No pair shares 13 consecutive words with the evaluation set.');
});

test.each([
  [['--strategy', 'margin'], '--min-margin: expected a number above 0 with --strategy margin'],
  [['--hybrid', '0.5'], '--hybrid: expected --off-policy'],
  [['--drop-overlaps'], '--drop-overlaps: expected --against'],
  [['--off-policy', 'gpt-4-turb'], 'Did you mean gpt-4-turbo?'],
  [['--min-margin', '20'], 'expected at least one pair, found none:'],
])('%j is an error, and no file is written', async (args, message) => {
  const { status, err, rows } = await run([...BOTH, ...args]);
  expect(status).toBe(1);
  expect(err).toContain(message);
  expect(err).not.toContain('    at ');
  expect(rows).toBeUndefined();
});

test('a bad row is an error with file and line, or is skipped and named', async () => {
  const files = { 'bad.jsonl': `${jsonl(OWN)}{"prompt": "x", "completion": "y", "score": 1}\n` };
  const refused = await run(['--answers', 'bad.jsonl'], files);
  expect(refused.err).toMatch(/bad\.jsonl:5: source: expected text, found nothing/);
  expect(refused.rows).toBeUndefined();
  const skipped = await run(['--answers', 'bad.jsonl', '--on-bad-row', 'skip'], files);
  expect(skipped.rows).toHaveLength(1);
  expect(skipped.err).toMatch(/bad\.jsonl: skipped 1 row that cannot be used:\n.*bad\.jsonl:5/);
});
