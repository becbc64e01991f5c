import { expect, test } from 'vitest';
import { addHeldOutPairs, addTrainingPairs, collapseBetween, collapseOf, healthyStart } from '../src/collapse';
import type { PairResult } from '../src/pair-loss';

/** `count` pairs with chosen answers of 10 tokens. */
const pairs = (count: number, dropPerToken: number, wpoWeight = 0.5): PairResult[] =>
  Array.from({ length: count }, (_, i) => ({
    id: `pair-${i}`,
    loss: 0,
    weight: wpoWeight,
    wpoWeight,
    chosenReward: 0,
    rejectedReward: 0,
    chosenLogps: 0,
    rejectedLogps: 0,
    chosenDrop: 10 * dropPerToken,
    chosenTokens: 10,
    tokens: 40,
  }));

const train = (state = healthyStart, ...steps: PairResult[][]) =>
  steps.reduce((before, step) => addTrainingPairs(before, step, true).state, state);

test('a chosen answer that loses 1 nat per token, or a weight that falls to a fiftieth, is a collapse', () => {
  const group = (drop: number, weight: number) => ({ pairs: 8, tokens: 80, chosenDrop: 80 * drop, weight: 8 * weight });
  const start = group(0, 0.5);
  expect(collapseBetween(start, group(0.6, 0.1))).toBeNull();
  expect(collapseBetween(start, group(-3, 0.9))).toBeNull();
  expect(collapseBetween(start, group(12.34, 0.5))).toBe(
    'the log-prob of the chosen answers fell by 12.3 per token (limit 1)',
  );
  expect(collapseBetween(start, group(0.5, 0.005))).toBe(
    'the mean WPO weight fell to 1.0 % of its first value (limit 2 %)',
  );
  expect(collapseBetween(group(0, 0), group(0, 0)), 'pairs whose data gives them weight 0').toBeNull();
});

test('training pairs are judged eight at a time, against the first step', () => {
  const first = addTrainingPairs(healthyStart, pairs(1, 0), true);
  expect(first.judged).toBe(false);
  const seven = train(first.state, pairs(4, 5), pairs(3, 5));
  expect(collapseOf(seven)).toBeNull();
  const whole = addTrainingPairs(seven, pairs(2, 5), true);
  expect(whole.judged).toBe(true);
  expect(collapseOf(whole.state)).toContain('fell by 5.0 per token');
  expect(collapseOf(train(whole.state, pairs(8, 0.1)))).toBeNull();
});

test('a reference that is more likely than the policy from the start is no collapse', () => {
  expect(collapseOf(train(healthyStart, pairs(8, 3), pairs(8, 3.5), pairs(8, 3.9)))).toBeNull();
});

test('without a reference, the first eight pairs are the start', () => {
  let state = healthyStart;
  for (const drop of [0.5, 4, 1, 2, 3, 0.5, 2, 3]) state = addTrainingPairs(state, pairs(1, drop), false).state;
  expect(state.start).toMatchObject({ pairs: 8, tokens: 80 });
  expect(collapseOf(addTrainingPairs(state, pairs(8, 2.9), false).state)).toBeNull();
  expect(collapseOf(addTrainingPairs(state, pairs(8, 3.1), false).state)).toContain('fell by 1.1 per token');
});

test('held-out pairs are compared with their first evaluation; fewer than eight are not judged', () => {
  const start = addHeldOutPairs(healthyStart, pairs(8, 2));
  expect(collapseOf(addHeldOutPairs(start, pairs(8, 2.9)))).toBeNull();
  const collapsed = addHeldOutPairs(start, pairs(8, 3.1));
  expect(collapseOf(collapsed)).toContain('fell by 1.1 per token');
  expect(collapseOf(train(collapsed, pairs(8, 0), pairs(8, 0))), 'training pairs do not outvote it').not.toBeNull();
  expect(addHeldOutPairs(healthyStart, pairs(7, 9))).toEqual(healthyStart);
});
