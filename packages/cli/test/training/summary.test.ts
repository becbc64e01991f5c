import type { MetricsRow } from '@wpo/trainer';
import { expect, test } from 'vitest';
import { formatSummary, summarize } from '../../src/training/summary';

const rows: MetricsRow[] = [
  { step: 0, epoch: 0, eval_loss: 0.69, 'eval_rewards/accuracies': 0, 'eval_rewards/margins': 0 },
  { step: 2, epoch: 0.5, loss: 0.7, 'wpo/weight': 0.9, num_tokens: 600, step_seconds: 1.5 },
  { step: 3, epoch: 0.75, loss: 0.6, 'wpo/weight': 0.8, num_tokens: 1000, step_seconds: 2 },
  { step: 3, epoch: 0.75, eval_loss: 0.6, 'eval_rewards/accuracies': 0.75, 'eval_rewards/margins': 0.125 },
];

test('a run’s summary has tokens per time spent in steps, and weights and accuracy at both ends', () => {
  expect(summarize(rows)).toEqual({
    steps: 3,
    tokens: 1000,
    tokensPerSecond: 200, // 1000 / (2 · 1.5 + 1 · 2)
    weight: { before: 0.9, after: 0.8 },
    evaluation: { accuracy: { before: 0, after: 0.75 }, margin: { before: 0, after: 0.125 } },
  });
});

test('a run without held-out pairs has no accuracy in its summary', () => {
  const summary = summarize(rows.slice(1, 3));
  expect(summary.evaluation).toBeUndefined();
  expect(formatSummary(summary, run)).not.toContain('held-out');
});

test('a summary has the data, the speed, the changes and the paths', () => {
  expect(formatSummary(summarize(rows), run)).toBe(
    [
      '  pairs            1,200 (3 rows skipped)',
      '  steps            3',
      '  tokens           1,000, 200 per second',
      '  mean weight      0.900 → 0.800  (start → end)',
      '  held-out pairs   64',
      '  reward accuracy  0.000 → 0.750  (before → after; a tie counts as wrong)',
      '  reward margin    0.000 → 0.125  (before → after)',
      '  model            runs/a/model',
      '  run directory    runs/a',
    ].join('\n'),
  );
});

const run = { pairs: 1200, skipped: 3, evalPairs: 64, folder: 'runs/a', model: 'runs/a/model' };
