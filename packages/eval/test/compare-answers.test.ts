import { fc, test } from '@fast-check/vitest';
import { expect, it } from 'vitest';
import { type Comparison, compareAnswers, scoresFromVerdicts, type Verdict } from '../src/index';

const answer = (prompt_id: string, seed: number) => ({
  prompt_id,
  prompt: 'p',
  completion: `${seed}`,
  source: 'm',
  seed,
});
const answers = [answer('a', 1), answer('b', 1), answer('a', 2), answer('a', 3), answer('b', 2), answer('c', 1)];

const verdictsOf = async (compare: (comparison: Comparison) => number, given = answers) => {
  const verdicts: Verdict[] = [];
  for await (const verdict of compareAnswers({ answers: given, compare })) verdicts.push(verdict);
  return verdicts;
};
const scores = (verdicts: readonly Verdict[], given = answers) =>
  [...scoresFromVerdicts(given, verdicts)].map(({ prompt_id, seed, score }) => [prompt_id, seed, score]);

it('each two answers to a prompt are compared in both orders, and with no others', async () => {
  const seen: string[] = [];
  await verdictsOf(({ prompt_id, first, second }) => {
    seen.push(`${prompt_id}: ${first.completion} ${second.completion}`);
    return 1;
  });
  expect(seen).toEqual(['a: 1 2', 'a: 1 3', 'a: 2 1', 'a: 2 3', 'a: 3 1', 'a: 3 2', 'b: 1 2', 'b: 2 1']);
});

it('an answer scores the share of its comparisons that it won, and the only one to a prompt has no score', async () => {
  // the judge likes a later seed better, and cannot tell 1 from 2
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

it('a judge that takes whatever stands first gives all the same score', async () => {
  expect(scores(await verdictsOf(() => 1)).map(([, , score]) => score)).toEqual([0.5, 0.5, 0.5, 0.5, 0.5]);
});

it('an answer whose comparisons are not all there has no score yet', async () => {
  const verdicts = await verdictsOf(() => 1);
  const missing = verdicts.filter(({ first, second }) => !(first.includes('1') && second.includes('2')));
  expect(scores(missing)).toEqual([['a', 3, 0.5]]);
});

it('comparisons that were made are not made again', async () => {
  const done = ({ first, second }: Comparison) => first.seed! < second.seed!;
  let asked = 0;
  for await (const _ of compareAnswers({ answers, compare: () => ++asked && 1, done }));
  expect(asked).toBe(4);
});

it('a preference outside 0 to 1 is refused', async () => {
  await expect(verdictsOf(() => 2)).rejects.toThrow('prompt "a": found the preference 2, wanted 0 to 1.');
});

test.prop([fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 6, maxLength: 6 })])(
  'the scores of a prompt’s answers have the mean one half',
  async (preferences) => {
    const three = answers.filter(({ prompt_id }) => prompt_id === 'a');
    let next = 0;
    const found = scores(await verdictsOf(() => preferences[next++]!, three), three);
    expect(found.reduce((sum, [, , score]) => sum + Number(score), 0) / 3).toBeCloseTo(0.5, 12);
  },
);
