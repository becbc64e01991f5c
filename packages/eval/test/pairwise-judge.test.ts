import { fc, test as property } from '@fast-check/vitest';
import { expect, test } from 'vitest';
import {
  judgeMessages,
  judgePrompt,
  parseJudgePrompt,
  preferenceFromLogprobs,
  preferenceFromVerdict,
} from '../src/index';

test('the share of the first name’s probability among both is the first answer’s', () => {
  const logprobs = (m: number, M: number) => [
    { token: 'M', logprob: Math.log(M) },
    { token: 'The', logprob: -3 },
    { token: 'm', logprob: Math.log(m) },
  ];
  expect(preferenceFromLogprobs(logprobs(0.6, 0.2))).toBeCloseTo(1.25, 12);
  expect(preferenceFromLogprobs(logprobs(0.01, 0.03))).toBeCloseTo(1.75, 12);
  // values that alpaca_eval published for one of its judgements: log-probs −2.26039e-05 and −10.765648
  const published = [
    { token: 'M', logprob: -2.26039e-5 },
    { token: 'm', logprob: -10.765648 },
  ];
  expect(preferenceFromLogprobs(published)).toBeCloseTo(2 - 0.0000211125, 9);
});

test('a name that is missing has the probability 0; without either there is no preference', () => {
  expect(preferenceFromLogprobs([{ token: 'm', logprob: -5 }])).toBe(1);
  expect(preferenceFromLogprobs([{ token: 'M', logprob: -5 }])).toBe(2);
  expect(preferenceFromLogprobs([{ token: ' m', logprob: -0.1 }])).toBeNull();
  expect(preferenceFromLogprobs([])).toBeNull();
});

test.each([
  ['m', 1],
  ['M', 2],
  [' M.\n', 2],
  ['**m**', 1],
  ['"M"', 2],
  ['Model M', null],
  ['mM', null],
  ['', null],
  ['I cannot say.', null],
])('the verdict %j is the preference %j', (text, preference) => {
  expect(preferenceFromVerdict(text)).toBe(preference);
});

const texts = fc.record({ instruction: fc.string(), output_1: fc.string(), output_2: fc.string() });

property.prop([texts])('every text stands in the judge’s prompt as it is, signs of replacement included', (given) => {
  const asked = judgeMessages(judgePrompt, given).at(-1)!.content;
  expect(asked).toContain(`<request>\n${given.instruction}\n</request>`);
  expect(asked).toContain(`<answer name="m">\n${given.output_1}\n</answer>`);
  expect(asked).toContain(`<answer name="M">\n${given.output_2}\n</answer>`);
});

test('an answer that has a place’s name in it does not get the place', () => {
  const texts = { instruction: 'Why {output_1}?', output_1: '$& {output_2} $1', output_2: 'No.' };
  expect(judgeMessages(parseJudgePrompt('{instruction}|{output_1}|{output_2}'), texts)).toEqual([
    { role: 'user', content: 'Why {output_1}?|$& {output_2} $1|No.' },
  ]);
});

test('a prompt in alpaca_eval’s layout is read as its turns', () => {
  const text =
    '<|im_start|>system\nJudge.\n<|im_end|>\n<|im_start|>user\n{instruction}\n{output_1}\n{output_2}\n\n## Best\n<|im_end|>';
  expect(parseJudgePrompt(text)).toEqual([
    { role: 'system', content: 'Judge.' },
    { role: 'user', content: '{instruction}\n{output_1}\n{output_2}\n\n## Best' },
  ]);
  expect(() => parseJudgePrompt('{instruction} {output_1}')).toThrow('found no {output_2}');
});
