import type { MetricsRow } from '@wpo/trainer';
import { expect, test } from 'vitest';
import { formatSummary, summarize } from '../../src/training/summary';

/** The means of a row; every metric has another value. */
const means = (prefix: string, loss: number): MetricsRow =>
  Object.fromEntries(
    [
      'loss',
      'rewards/accuracies',
      'rewards/margins',
      'rewards/chosen',
      'rewards/rejected',
      'logps/chosen',
      'logps/rejected',
      'wpo/weight',
    ].map((name, i) => [prefix + name, loss + i]),
  );
const trained = (step: number, loss: number, tokens: number, more: MetricsRow = {}): MetricsRow => ({
  step,
  epoch: step / 4,
  num_tokens: tokens,
  tokens_per_second: 200,
  ...means('', loss),
  ...more,
});
const rows: MetricsRow[] = [
  { step: 0, epoch: 0, ...means('eval_', 0.69) },
  trained(2, 0.7, 600),
  trained(3, 0.6, 1000, { tokens_per_second: 400 }),
  { step: 3, epoch: 0.75, ...means('eval_', 0.5) },
  trained(5, 0.4, 1200),
  { step: 5, epoch: 1.25, ...means('eval_', 0.6) },
];
const run = { pairs: 1200, skipped: 3, evalPairs: 64, folder: 'runs/a', model: 'runs/a/model' };

test('a summary has the speed of the steps, and the held-out pairs before and after', () => {
  expect(summarize(rows)).toEqual({
    steps: 5,
    tokens: 1200,
    tokensPerSecond: 240, // 600 at 200, 400 at 400 and 200 at 200 per second
    skippedSteps: 0,
    isHeldOut: true,
    before: { means: means('', 0.69), steps: [0] },
    after: { means: means('', 0.6), steps: [5] },
  });
});

test('the numbers after training are those of the saved model', () => {
  expect(summarize(rows, 3).after).toEqual({ means: means('', 0.5), steps: [3] });
  expect(summarize(rows, 4).after.steps, 'the last evaluation up to it').toEqual([3]);
});

test('a model that was evaluated only before training has one column', () => {
  expect(formatSummary(summarize(rows, 2), run)).toMatch(/ {2}64 held-out pairs +before\n {2}loss +0\.6900\n/);
});

test('without held-out pairs, the first row is compared with the rows of as many steps at the end', () => {
  const training = [trained(4, 0.7, 400), trained(8, 0.6, 800), trained(12, 0.5, 1200), trained(13, 0.3, 1300)];
  const { isHeldOut, before, after } = summarize(training);
  expect(isHeldOut).toBe(false);
  expect(before).toEqual({ means: means('', 0.7), steps: [1, 4] });
  expect(after.steps).toEqual([9, 13]);
  expect(after.means.loss).toBeCloseTo((4 * 0.5 + 0.3) / 5, 12);
  const text = formatSummary(summarize(training), run);
  expect(text).toMatch(/ {2}training pairs +steps 1–4 +steps 9–13\n {2}loss +0.7000 +0.4600\n/);
  expect(text).toContain('Set eval_split or eval_file to compare the same ones.');
});

test('skipped steps have no means and are counted', () => {
  const skipped = { step: 2, epoch: 0.5, learning_rate: 1, num_tokens: 400, skipped_steps: 1 };
  const summary = summarize([trained(1, 0.7, 400), skipped, trained(3, 0.6, 800, { skipped_steps: 1 })]);
  expect(summary).toMatchObject({ steps: 3, skippedSteps: 1, tokensPerSecond: 200 });
  expect(formatSummary(summary, run)).toContain('steps          3 (1 skipped: not finite)');
});

test('a summary is printed as the run and a table of its changes', () => {
  expect(formatSummary(summarize(rows), run)).toBe(
    [
      '  pairs          1,200 (3 rows skipped)',
      '  steps          5',
      '  tokens         1,200, 240 per second',
      '  model          runs/a/model',
      '  run directory  runs/a',
      '',
      '  64 held-out pairs  before  after step 5',
      '  loss               0.6900        0.6000',
      '  reward accuracy     1.690         1.600',
      '  reward margin       2.690         2.600',
      '  chosen reward       3.690         3.600',
      '  rejected reward     4.690         4.600',
      '  chosen log-prob      5.69          5.60',
      '  rejected log-prob    6.69          6.60',
      '  weight             7.6900        7.6000',
    ].join('\n'),
  );
});
