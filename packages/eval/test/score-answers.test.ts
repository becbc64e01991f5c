import { fc, test as property } from '@fast-check/vitest';
import { expect, test } from 'vitest';
import {
  answerKey,
  type Comparison,
  compareAnswers,
  promptText,
  scoreAnswers,
  scoresFromVerdicts,
  type Verdict,
} from '../src/index';

const answer = (prompt_id: string, seed: number, completion = prompt_id) => ({
  prompt_id,
  prompt: 'p',
  completion,
  source: 'gemma',
  seed,
});

async function* many(count: number, onRead = () => {}) {
  for (let i = 0; i < count; i++) {
    onRead();
    yield answer('a', i, 'x'.repeat(i));
  }
}

test('each answer keeps its fields and gets its score', async () => {
  const rows = [];
  const one = { ...answer('a', 1, 'long'), temperature: 0.8 };
  for await (const row of scoreAnswers({ answers: [one], score: ({ completion }) => completion.length }))
    rows.push(row);
  expect(rows).toEqual([{ ...one, score: 4 }]);
});

test('answers that are done are not scored again', async () => {
  const asked: number[] = [];
  const score = ({ seed }: { seed?: number }) => asked.push(seed!);
  for await (const _ of scoreAnswers({ answers: many(6), score, isDone: ({ seed }) => seed! % 2 === 0 }));
  expect(asked).toEqual([1, 3, 5]);
});

test('reads answers as they are needed, even if the consumer is slow', async () => {
  let read = 0;
  let scored = 0;
  const answers = many(100, () => {
    read += 1;
  });
  for await (const _ of scoreAnswers({ answers, score: async () => 1, concurrency: 3 })) {
    scored += 1;
    for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate); // like a slow disk
    expect(read - scored).toBeLessThanOrEqual(6); // running requests, and results that are not taken yet
  }
  expect(scored).toBe(100);
});

test('a score of NaN is reported to onError', async () => {
  const reported: string[] = [];
  const rows: (number | null)[] = [];
  const options = {
    answers: many(3),
    score: ({ seed }: { seed?: number }) => (seed === 1 ? Number.NaN : seed!),
    onError: (error: unknown) => reported.push((error as Error).message),
  };
  for await (const { score } of scoreAnswers(options)) rows.push(score);
  expect(rows).toEqual([0, 2]);
  expect(reported).toEqual(['prompt "a": score: expected a finite number, found NaN.']);
});

test('answerKey combines prompt, source and seed', () => {
  expect(answerKey(answer('a', 1))).toBe('["a","gemma",1]');
  expect(answerKey({ prompt_id: 'a', source: 'gpt' })).toBe('["a","gpt",null]');
});

test('promptText keeps a single turn as it is and names the roles of several', () => {
  const turn = (role: string, content: string) => ({ role, content });
  expect(promptText('Hi')).toBe('Hi');
  expect(promptText([turn('user', 'Hi')])).toBe('Hi');
  expect(promptText([turn('user', 'Hi'), turn('assistant', 'Ho')])).toBe('user: Hi\n\nassistant: Ho');
});

const answers = (['a1', 'b1', 'a2', 'a3', 'b2', 'c1'] as const).map((name) =>
  answer(name[0]!, Number(name[1]), name[1]!),
);

const verdictsOf = async (compare: (comparison: Comparison) => number, given = answers) => {
  const verdicts: Verdict[] = [];
  for await (const verdict of compareAnswers({ answers: given, compare })) verdicts.push(verdict);
  return verdicts;
};
const scores = (verdicts: readonly Verdict[], given = answers) =>
  [...scoresFromVerdicts(given, verdicts)].map(({ prompt_id, seed, score }) => [prompt_id, seed, score]);

test('compares every two answers to a prompt in both orders, and no answers to different prompts', async () => {
  const seen: string[] = [];
  await verdictsOf(({ prompt_id, first, second }) => {
    seen.push(`${prompt_id}: ${first.completion} ${second.completion}`);
    return 1;
  });
  expect(seen).toEqual(['a: 1 2', 'a: 1 3', 'a: 2 1', 'a: 2 3', 'a: 3 1', 'a: 3 2', 'b: 1 2', 'b: 2 1']);
});

test('scores an answer by the share of comparisons that it won, and skips the only answer to a prompt', async () => {
  // the judge prefers the later seed, and calls 1 and 2 a draw
  const verdicts = await verdictsOf(({ first, second }) => {
    const [a, b] = [first.seed!, second.seed!];
    return Math.max(a, b) === 2 ? 0.5 : a > b ? 1 : 0;
  });
  expect(scores(verdicts)).toEqual([
    ['a', 1, 0.25],
    ['a', 2, 0.25],
    ['a', 3, 1],
    ['b', 1, 0.5],
    ['b', 2, 0.5],
  ]);
});

test('gives all answers the same score if the judge always prefers the first position', async () => {
  expect(scores(await verdictsOf(() => 1)).map(([, , score]) => score)).toEqual([0.5, 0.5, 0.5, 0.5, 0.5]);
});

test('gives no score to an answer that lacks a verdict', async () => {
  const verdicts = await verdictsOf(() => 1);
  const missing = verdicts.filter(({ first, second }) => !(first.includes('1') && second.includes('2')));
  expect(scores(missing)).toEqual([['a', 3, 0.5]]);
});

test('skips comparisons that are done', async () => {
  const isDone = ({ first, second }: Comparison) => first.seed! < second.seed!;
  let asked = 0;
  for await (const _ of compareAnswers({ answers, compare: () => ++asked && 1, isDone }));
  expect(asked).toBe(4);
});

test('rejects a preference outside 0 to 1', async () => {
  await expect(verdictsOf(() => 2)).rejects.toThrow('prompt "a": preference: expected a number from 0 to 1, found 2.');
});

property.prop([fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 6, maxLength: 6 })])(
  'the mean score of the answers to a prompt is one half',
  async (preferences) => {
    const three = answers.filter(({ prompt_id }) => prompt_id === 'a');
    let next = 0;
    const found = scores(await verdictsOf(() => preferences[next++]!, three), three);
    expect(found.reduce((sum, [, , score]) => sum + Number(score), 0) / 3).toBeCloseTo(0.5, 12);
  },
);
