import { expect, test } from 'vitest';
import { parseAnnotation, parseModelOutput, readAlpacaFrom } from '../src/index';
import { chunked } from './fixtures';

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
])('outputs are read from %s', async (_, text) => {
  expect(await readAlpacaFrom(chunked(text), 'x.json', parseModelOutput)).toEqual([output, output]);
});

test('annotations are read with what the rates need; a judgement that is missing is null', async () => {
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
  [`${JSON.stringify(output)}\n{"instruction": `, /^x.json:2: expected one JSON object, found text that is not JSON/],
  ['[]', /^x.json:1: expected a JSON array of objects, or one a line, found no rows/],
])('outputs as %j are told by file and line', async (text, message) => {
  await expect(readAlpacaFrom(chunked(text), 'x.json', parseModelOutput)).rejects.toThrow(message);
});

test('a preference that is no number is told', () => {
  const at = { file: 'x.json', line: 7 };
  expect(() => parseAnnotation({ ...annotation, preference: '2' }, at)).toThrow(
    /^x.json:7: preference: expected a number from 1 .*, found "2"/,
  );
  const { preference: _, ...without } = annotation;
  expect(() => parseAnnotation(without, at)).toThrow('"preference": found nothing');
});
