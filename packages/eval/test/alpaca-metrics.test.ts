import { expect, test } from 'vitest';
import { type Annotation, alpacaMetrics, metricsByDataset } from '../src/index';
import { readJson } from './fixtures';

type Case = { readonly expected: Record<string, number>; readonly rows: [number, number, number | null][] };

const annotations = (rows: Case['rows']): Annotation[] =>
  rows.map(([length1, length2, preference], i) => ({
    instruction: `question ${i}`,
    dataset: i % 3 === 0 ? 'b' : 'a',
    output_1: 'a'.repeat(length1),
    generator_1: 'base',
    output_2: 'b'.repeat(length2),
    generator_2: 'model',
    preference,
  }));

test.each(Object.entries(readJson<Record<string, Case>>('alpaca-eval.json')))(
  '%s: the rates are those of the package alpaca_eval',
  (_, { expected, rows }) => {
    const { length_controlled_winrate, ...found } = alpacaMetrics(annotations(rows));
    const { length_controlled_winrate: wanted, ...others } = expected;
    expect(Object.keys(found)).toEqual(Object.keys(others));
    for (const [name, value] of Object.entries(others)) {
      expect(Math.abs(found[name as keyof typeof found] - value), name).toBeLessThan(1e-9);
    }
    // liblinear stops within its tolerance of the least; here the least is found
    expect(Math.abs(length_controlled_winrate - wanted!)).toBeLessThan(0.1);
  },
);

test('each data set has rates of its own, in the order in which the sets appear', () => {
  const [b, a] = metricsByDataset(
    annotations([
      [3, 4, 2],
      [3, 5, 1],
      [3, 8, 1.25],
      [3, 9, 1.5],
    ]),
  );
  expect(b).toMatchObject({ dataset: 'b', n_total: 2, n_wins: 1, n_draws: 1, win_rate: 75, avg_length: 6 });
  expect(a).toMatchObject({ dataset: 'a', n_total: 2, n_wins_base: 2, win_rate: 12.5, avg_length: 6 });
});
