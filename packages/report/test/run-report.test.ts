import { expect, test } from 'vitest';
import { type PairRow, type Run, reportPage, runReport } from '../src';

const run = (more: Partial<Run> = {}): Run => ({ name: 'run', status: 'finished', metrics: [], pairs: [], ...more });
const row = (step: number, id: string, weight: number, more: Partial<PairRow> = {}): PairRow => ({
  ...{ step, id, weight, margin: 0.5, chosen_tokens: 10, rejected_tokens: 30 },
  ...more,
});

test('training rows of a long run become 400 means of rows that follow each other', () => {
  const metrics = Array.from({ length: 1000 }, (_, i) => ({ step: i + 1, loss: i, num_tokens: 10 * i }));
  const { training, evaluations } = runReport(run({ metrics }));
  expect(training).toHaveLength(400);
  expect(training[0]).toEqual({ step: 2, loss: 0.5, num_tokens: 10 }); // rows 1 and 2
  expect(training.at(-1)).toEqual({ step: 1000, loss: 998, num_tokens: 9990 }); // rows 998 to 1000
  expect(evaluations).toEqual([]);
});

test('evaluations and training rows are separated, and skipped steps are left out', () => {
  const metrics: Run['metrics'] = [
    { step: 0, eval_loss: 1 },
    { step: 1, loss: 2 },
    { step: 2 },
    { step: 2, eval_loss: 0.5 },
  ];
  const { training, evaluations } = runReport(run({ metrics }));
  expect(training).toEqual([{ step: 1, loss: 2 }]);
  expect(evaluations.map(({ step }) => step)).toEqual([0, 2]);
});

test('quantiles over time are those of numpy, and the other charts take the last weight of each pair', () => {
  const pairs = [row(1, 'a', 0.2), row(1, 'b', 0.4), row(1, 'c', 0.6), row(2, 'a', 1)];
  const { weights } = runReport(run({ pairs }));
  expect(weights!.overTime).toHaveLength(2);
  // numpy.quantile([0.2, 0.4, 0.6], [0.05, 0.25, 0.5, 0.75, 0.95])
  const expected = { from: 1, to: 1, p5: 0.22, p25: 0.3, p50: 0.4, p75: 0.5, p95: 0.58 };
  for (const [name, value] of Object.entries(expected))
    expect(weights!.overTime[0]![name as 'p5']).toBeCloseTo(value, 12);
  expect(weights!.pairs).toBe(3);
  expect(weights!.points.map(({ id, weight, length }) => [id, weight, length])).toEqual([
    ['a', 1, 20],
    ['b', 0.4, 20],
    ['c', 0.6, 20],
  ]);
});

test('weights are grouped by the sources of both answers', () => {
  const sources = (source_chosen: string, source_rejected: string) => ({ source_chosen, source_rejected });
  const pairs = [
    row(1, 'a', 0.2, sources('policy', 'policy')),
    row(1, 'b', 0.4, sources('other', 'policy')),
    row(1, 'c', 0.8, sources('policy', 'policy')),
    row(1, 'd', 0.8),
  ];
  const { bySource } = runReport(run({ pairs })).weights!;
  expect(bySource.map(({ source, pairs, p50 }) => [source, pairs, p50])).toEqual([
    ['policy', 2, 0.5],
    ['other over policy', 1, 0.4],
  ]);
});

test.each([
  { name: 'of equal width', weights: [0.5, 0.6, 0.7, 0.8, 0.98], isLog: false },
  { name: 'of equal ratio for weights of different sizes', weights: [1e-5, 1e-4, 1e-3, 0.01, 0.1], isLog: true },
  { name: 'of weights that are all 0', weights: [0, 0], isLog: false },
  { name: 'of weights of which some are 0', weights: [0, 0, 0.5, 1], isLog: true },
  { name: 'of equal weights', weights: [1, 1, 1], isLog: false },
])('a histogram has bins $name, which hold every pair', ({ weights, isLog }) => {
  const pairs = weights.map((weight, i) => row(1, String(i), weight));
  const report = runReport(run({ pairs })).weights!;
  expect(report.isLog).toBe(isLog);
  expect(report.histogram).toHaveLength(24);
  expect(report.histogram.reduce((sum, bin) => sum + bin.pairs, 0)).toBe(weights.length);
  for (const { low, high } of report.histogram) expect(high).toBeGreaterThan(low);
});

test('the report of a long run stays small', () => {
  const pairs = Array.from({ length: 100_000 }, (_, i) => row(Math.floor(i / 10) + 1, `pair ${i}`, (i % 100) / 100));
  const { weights } = runReport(run({ pairs }));
  expect(weights!.overTime).toHaveLength(60);
  expect(weights!.points).toHaveLength(1500);
  expect(JSON.stringify(weights).length).toBeLessThan(200_000);
});

test('text of the data cannot end the element that embeds it', () => {
  const name = '</script><script>alert(1)</script><!--<script>';
  const page = reportPage([runReport(run({ name }))]);
  const json = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(page)![1]!;
  expect(json).not.toContain('<');
  expect(JSON.parse(json).runs[0].name).toBe(name);
  expect(page.match(/<\/script/g)).toHaveLength(2);
});
