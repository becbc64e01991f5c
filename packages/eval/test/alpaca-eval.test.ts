import { expect, test } from 'vitest';
import {
  type Annotation,
  alpacaMetrics,
  metricsByDataset,
  parseAnnotation,
  parseModelOutput,
  readAlpacaFrom,
} from '../src/index';
import { chunked, readJson } from './fixtures';

const output = { instruction: 'Why?', output: 'Because.', generator: 'mine', dataset: 'koala' };
const annotation = {
  instruction: 'Why?',
  output_1: 'So.',
  generator_1: 'base',
  dataset: 'koala',
  output_2: 'Because.',
  generator_2: 'mine',
  annotator: 'judge',
  preference: 1.25,
};

test.each([
  ['a JSON array', JSON.stringify([output, output], null, 2)],
  ['JSON Lines', `${JSON.stringify(output)}\n${JSON.stringify({ ...output, datasplit: 'eval' })}\n`],
])('reads model outputs from %s', async (_, text) => {
  expect(await readAlpacaFrom(chunked(text), 'x.json', parseModelOutput)).toEqual([output, output]);
});

test('reads annotations with the columns that the rates need; a missing judgement is null', async () => {
  const published = { ...annotation, raw_completion: { text: 'm' }, price_per_example: 0.01, time_per_example: 0.2 };
  const text = JSON.stringify([published, { ...annotation, preference: null }]);
  expect(await readAlpacaFrom(chunked(text), 'x.json', parseAnnotation)).toEqual([
    annotation,
    { ...annotation, preference: null },
  ]);
});

test.each([
  ['[{"instruction": "a"}]', /^x.json:1: output: expected text, found nothing/],
  ['[{"instruction": "a", "output": 3}]', /^x.json:1: output: expected text, found 3/],
  [`${JSON.stringify(output)}\n["a"]`, /^x.json:2: expected an object, found \["a"\]/],
  [`${JSON.stringify(output)}\n{"instruction": `, /^x.json:2: expected .*, found JSON that is cut off/],
  ['[]', /^x.json:1: expected a JSON array of objects, or one object per line, found no rows/],
])('an error about %j names file and line', async (text, message) => {
  await expect(readAlpacaFrom(chunked(text), 'x.json', parseModelOutput)).rejects.toThrow(message);
});

test('rejects a preference that is not a number', () => {
  const at = { file: 'x.json', line: 7 };
  expect(() => parseAnnotation({ ...annotation, preference: '2' }, at)).toThrow(
    /^x.json:7: preference: expected a number from 1 .*, found "2"/,
  );
  const { preference: _, ...without } = annotation;
  expect(() => parseAnnotation(without, at)).toThrow(/preference: expected .*, found nothing/);
});

type Case = { readonly expected: Record<string, number>; readonly rows: [number, number, number | null][] };

const annotationsOf = (rows: Case['rows']): Annotation[] =>
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
  '%s: the rates are those of the alpaca_eval package',
  (_, { expected, rows }) => {
    const { length_controlled_winrate, ...found } = alpacaMetrics(annotationsOf(rows));
    const { length_controlled_winrate: expectedRate, ...others } = expected;
    expect(Object.keys(found)).toEqual(Object.keys(others));
    for (const [name, value] of Object.entries(others)) {
      expect(Math.abs(found[name as keyof typeof found] - value), name).toBeLessThan(1e-9);
    }
    // liblinear stops within its tolerance of the minimum; ours finds the minimum
    expect(Math.abs(length_controlled_winrate - expectedRate!)).toBeLessThan(0.1);
  },
);

test('metricsByDataset gives the rates of each data set in order of first appearance', () => {
  const [b, a] = metricsByDataset(
    annotationsOf([
      [3, 4, 2],
      [3, 5, 1],
      [3, 8, 1.25],
      [3, 9, 1.5],
    ]),
  );
  expect(b).toMatchObject({ dataset: 'b', n_total: 2, n_wins: 1, n_draws: 1, win_rate: 75, avg_length: 6 });
  expect(a).toMatchObject({ dataset: 'a', n_total: 2, n_wins_base: 2, win_rate: 12.5, avg_length: 6 });
});
