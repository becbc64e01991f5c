import { fc, test as property } from '@fast-check/vitest';
import { expect, test } from 'vitest';
import { type LengthJudged, lengthControlledWinRate, winRate } from '../src/index';
import { fitL1Logistic } from '../src/logistic-regression';

const judged = (output_1: string, output_2: string, preference: number | null): LengthJudged => ({
  output_1,
  output_2,
  generator_1: 'base',
  generator_2: 'model',
  preference,
});

test('the weight of a constant feature is where the slope of the loss equals that of the penalty', () => {
  // Σ (σ(w) − p) = ∓1/c. With 10 rows at 0.8 and c = 1, σ(w) = 0.7; at 0.55 the penalty keeps w at 0
  const rows = (probability: number) => Array.from({ length: 10 }, () => ({ features: [1], probability }));
  expect(fitL1Logistic(rows(0.8), 1)[0]).toBeCloseTo(Math.log(0.7 / 0.3), 8);
  expect(fitL1Logistic(rows(0.2), 1)[0]).toBeCloseTo(Math.log(0.3 / 0.7), 8);
  expect(fitL1Logistic(rows(0.55), 1)).toEqual([0]);
});

const shares = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 5, maxLength: 30 });
const strength = fc.integer({ min: -3, max: 3 }).map((power) => 10 ** power);

property.prop([shares, fc.infiniteStream(fc.double({ min: -1, max: 1, noNaN: true })), strength])(
  'the fitted weights satisfy the optimality conditions of the L1 penalty',
  (probabilities, draws, c) => {
    const examples = probabilities.map((probability) => ({ features: [draws.next().value as number, 1], probability }));
    const weights = fitL1Logistic(examples, c);
    const slopes = weights.map((_, k) =>
      examples.reduce((sum, { features, probability }) => {
        const z = features.reduce((total, x, i) => total + x * weights[i]!, 0);
        return sum + c * (1 / (1 + Math.exp(-z)) - probability) * features[k]!;
      }, 0),
    );
    for (const [k, slope] of slopes.entries()) {
      if (Math.abs(weights[k]!) < 1e-6) expect(Math.abs(slope)).toBeLessThan(1 + 1e-4);
      else expect(slope).toBeCloseTo(-Math.sign(weights[k]!), 4);
    }
  },
);

property.prop([fc.array(fc.double({ min: 1, max: 2, noNaN: true }), { minLength: 40, maxLength: 80 })])(
  'with equal lengths, the rate is the win rate shrunk towards 50 by the penalty',
  (preferences) => {
    const [found, plain] = [
      lengthControlledWinRate(preferences.map((preference) => judged('same', 'size', preference))),
      winRate(preferences).win_rate,
    ];
    expect(Math.abs(found - 50)).toBeLessThanOrEqual(Math.abs(plain - 50) + 1e-6);
    expect((found - 50) * (plain - 50)).toBeGreaterThanOrEqual(-1e-6);
  },
);

test('a model that wins only by length gets 50', () => {
  const rows = Array.from({ length: 200 }, (_, i) => {
    const longer = i % 2 === 0;
    return judged('a'.repeat(longer ? 10 : 30), 'b'.repeat(longer ? 30 : 10), longer ? 1.9 : 1.1);
  });
  const all = [...rows, ...rows.filter(({ output_2 }) => output_2.length === 30)];
  expect(winRate(all.map(({ preference }) => preference)).win_rate).toBeGreaterThan(60);
  expect(Math.abs(lengthControlledWinRate(all) - 50)).toBeLessThan(1);
});

test('swapping the sides turns the rate into 100 minus the rate', () => {
  const rows = Array.from({ length: 50 }, (_, i) =>
    judged('a'.repeat((i * 7) % 23), 'b'.repeat((i * 5) % 31), 1 + ((i * 13) % 17) / 20),
  );
  const swapped = rows.map(({ output_1, output_2, preference }) => judged(output_2, output_1, 3 - preference!));
  expect(lengthControlledWinRate(swapped)).toBeCloseTo(100 - lengthControlledWinRate(rows), 6);
});

test('lengths are code points, as in Python', () => {
  const rows = (answer: (size: number) => string) =>
    Array.from({ length: 40 }, (_, i) => judged('x'.repeat(10), answer((i * 7) % 19), 1 + ((i * 11) % 13) / 13));
  expect(lengthControlledWinRate(rows((size) => '😀'.repeat(size)))).toBe(
    lengthControlledWinRate(rows((size) => 'b'.repeat(size))),
  );
});

test('gives 50 for a model against itself, and NaN for too few preferences or constant length differences', () => {
  const row = judged('short', 'a longer answer', 2);
  expect(lengthControlledWinRate([{ ...row, generator_2: 'base' }])).toBe(50);
  expect(lengthControlledWinRate(Array.from({ length: 4 }, () => row))).toBeNaN();
  expect(lengthControlledWinRate(Array.from({ length: 9 }, () => row))).toBeNaN();
  expect(lengthControlledWinRate([])).toBeNaN();
});
