import { fc, test as property } from '@fast-check/vitest';
import { expect, test } from 'vitest';
import {
  type JudgeRequest,
  judgeMessages,
  judgeOutputs,
  judgePrompt,
  type ModelOutput,
  pairOutputs,
  parseJudgePrompt,
  preferenceFromLogprobs,
  preferenceFromVerdict,
} from '../src/index';

test('preferenceFromLogprobs is 2 − p(m) / (p(m) + p(M))', () => {
  const logprobs = (m: number, M: number) => [
    { token: 'M', logprob: Math.log(M) },
    { token: 'The', logprob: -3 },
    { token: 'm', logprob: Math.log(m) },
  ];
  expect(preferenceFromLogprobs(logprobs(0.6, 0.2))).toBeCloseTo(1.25, 12);
  expect(preferenceFromLogprobs(logprobs(0.01, 0.03))).toBeCloseTo(1.75, 12);
  // log-probs of a judgement that alpaca_eval published
  const published = [
    { token: 'M', logprob: -2.26039e-5 },
    { token: 'm', logprob: -10.765648 },
  ];
  expect(preferenceFromLogprobs(published)).toBeCloseTo(2 - 0.0000211125, 9);
});

test('a missing name has probability 0; if both are missing, the preference is null', () => {
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
  ['[[m]]', 1],
  ['<think>Perhaps m.</think>\n\nM', 2],
  ['Perhaps m.</think>M', 2],
  ['<think>m', null],
  ['m or M', null],
  ['not m', null],
  ['!m', null],
  ['m?', null],
  ['m = M', null],
  ['≠ m', null],
  ['1. m', null],
  ['Model M', null],
  ['mM', null],
  ['', null],
  ['I cannot say.', null],
])('the verdict %j is the preference %j', (text, preference) => {
  expect(preferenceFromVerdict(text)).toBe(preference);
});

const texts = fc.record({ instruction: fc.string(), output_1: fc.string(), output_2: fc.string() });

property.prop([texts])(
  'judgeMessages inserts every text verbatim, replacement patterns such as $& included',
  (given) => {
    const asked = judgeMessages(judgePrompt, given).at(-1)!.content;
    expect(asked).toContain(`<request>\n${given.instruction}\n</request>`);
    expect(asked).toContain(`<answer name="m">\n${given.output_1}\n</answer>`);
    expect(asked).toContain(`<answer name="M">\n${given.output_2}\n</answer>`);
  },
);

test('judgeMessages does not replace placeholders inside an answer', () => {
  const texts = { instruction: 'Why {output_1}?', output_1: '$& {output_2} $1', output_2: 'No.' };
  expect(judgeMessages(parseJudgePrompt('{instruction}|{output_1}|{output_2}'), texts)).toEqual([
    { role: 'user', content: 'Why {output_1}?|$& {output_2} $1|No.' },
  ]);
});

test('parseJudgePrompt reads the turns of a prompt in the format of alpaca_eval', () => {
  const text =
    '<|im_start|>system\nJudge.\n<|im_end|>\n<|im_start|>user\n{instruction}\n{output_1}\n{output_2}\n\n## Best\n<|im_end|>';
  expect(parseJudgePrompt(text)).toEqual([
    { role: 'system', content: 'Judge.' },
    { role: 'user', content: '{instruction}\n{output_1}\n{output_2}\n\n## Best' },
  ]);
  expect(() => parseJudgePrompt('{instruction} {output_1}')).toThrow('found no {output_2}');
});

const output = (instruction: string, text: string, generator: string, dataset?: string): ModelOutput => ({
  instruction,
  output: text,
  generator,
  ...(dataset === undefined ? {} : { dataset }),
});

const baseline = [output('a', 'A1', 'base', 'koala'), output('b', 'B1', 'base'), output('a', 'A2', 'base')];
const model = [output('b', 'B', 'mine', 'vicuna'), output('c', 'C', 'mine'), output('a', 'A', 'mine')];

test('pairOutputs pairs answers by instruction in the baseline’s order, and leaves out those without a partner', () => {
  expect(pairOutputs(baseline, model)).toEqual([
    { instruction: 'a', dataset: 'koala', output_1: 'A1', generator_1: 'base', output_2: 'A', generator_2: 'mine' },
    { instruction: 'b', dataset: 'vicuna', output_1: 'B1', generator_1: 'base', output_2: 'B', generator_2: 'mine' },
  ]);
});

test('pairOutputs pairs repeated instructions in order', () => {
  const twice = pairOutputs(baseline, [output('a', 'X', 'mine'), output('a', 'Y', 'mine')]);
  expect(twice.map(({ output_1, output_2 }) => [output_1, output_2])).toEqual([
    ['A1', 'X'],
    ['A2', 'Y'],
  ]);
});

const pairs = ['p', 'q', 'r', 's'].map((name) => ({
  instruction: name,
  output_1: `${name} base`,
  generator_1: 'base',
  output_2: `${name} mine`,
  generator_2: 'mine',
}));

test('judgeOutputs asks in both orders and takes the mean', async () => {
  const asked: JudgeRequest[] = [];
  const judge = async (request: JudgeRequest) => {
    asked.push(request);
    // prefers the model's answer with 0.9 in second position, and with 0.6 in first position
    return request.output_2.endsWith('mine') ? { preference: 1.9, text: 'M' } : { preference: 1.4, text: 'm' };
  };
  const [row] = await judgeOutputs({ pairs: pairs.slice(0, 1), judge, annotator: 'wise' });
  expect(asked).toEqual([
    { instruction: 'p', output_1: 'p base', output_2: 'p mine' },
    { instruction: 'p', output_1: 'p mine', output_2: 'p base' },
  ]);
  expect(row).toEqual({
    ...pairs[0],
    annotator: 'wise',
    preference: expect.closeTo(1.75, 12),
    raw_completion: ['M', 'm'],
  });
});

test('a judge that always prefers the first position gives draws', async () => {
  const rows = await judgeOutputs({ pairs, judge: async () => ({ preference: 1, text: 'm' }), annotator: 'lazy' });
  expect(rows.map(({ preference }) => preference)).toEqual([1.5, 1.5, 1.5, 1.5]);
});

test('equal answers are a draw without a request; if one reply names no answer, the preference is null', async () => {
  const same = { ...pairs[0]!, output_2: pairs[0]!.output_1 };
  let asked = 0;
  const judge = async () => ({ preference: ++asked === 1 ? 2 : null, text: '' });
  const rows = await judgeOutputs({ pairs: [same, pairs[1]!], judge, annotator: 'shy' });
  expect(rows.map(({ preference }) => preference)).toEqual([1.5, null]);
  expect(asked).toBe(2);
});

test('rows come in the order of the pairs under concurrency, and progress counts each', async () => {
  const counts: number[] = [];
  const judge = async ({ instruction }: JudgeRequest) => {
    await new Promise((resolve) => setTimeout(resolve, instruction === 'p' ? 20 : 1));
    return { preference: 2, text: 'M' };
  };
  const onProgress = (done: number) => void counts.push(done);
  const rows = await judgeOutputs({ pairs, judge, annotator: 'slow', concurrency: 3, onProgress });
  expect(rows.map(({ instruction }) => instruction)).toEqual(['p', 'q', 'r', 's']);
  expect(counts).toEqual([1, 2, 3, 4]);
});

test('a failed request ends the run; with onError only its pair is left out', async () => {
  const judge = async ({ instruction }: JudgeRequest) => {
    if (instruction === 'q') throw new Error('no judge');
    return { preference: 2, text: 'M' };
  };
  await expect(judgeOutputs({ pairs, judge, annotator: 'x' })).rejects.toThrow('no judge');
  const failed: string[] = [];
  const onError = (_: unknown, { instruction }: { instruction: string }) => void failed.push(instruction);
  const rows = await judgeOutputs({ pairs, judge, annotator: 'x', onError });
  expect(rows.map(({ instruction }) => instruction)).toEqual(['p', 'r', 's']);
  expect(failed).toEqual(['q']);
});
