import { fc, test as property } from '@fast-check/vitest';
import { expect, test } from 'vitest';
import { winRate } from '../src/index';

test('win_rate is the mean preference, with its standard error; a draw is half a win in discrete_win_rate', () => {
  // probabilities 1, 0, 0.5, 0.7: mean 0.55, squared deviations 0.2025 + 0.3025 + 0.0025 + 0.0225 = 0.53; 0.53 / 3 / 4
  expect(winRate([2, 1, 1.5, 1.7])).toEqual({
    win_rate: expect.closeTo(55, 10),
    standard_error: expect.closeTo(100 * Math.sqrt(0.53 / 12), 10),
    n_wins: 2,
    n_wins_base: 1,
    n_draws: 1,
    n_total: 4,
    discrete_win_rate: 62.5,
  });
});

test('ignores values that are not preferences, and reads 0 as a draw', () => {
  expect(winRate([null, 2.4, 0.7, Number.NaN, 0, 2])).toMatchObject({ n_total: 2, n_draws: 1, win_rate: 75 });
});

test('rates are NaN without preferences, and the standard error is NaN for one', () => {
  expect(winRate([null])).toMatchObject({ n_total: 0, win_rate: Number.NaN, discrete_win_rate: Number.NaN });
  expect(winRate([1.2])).toMatchObject({ win_rate: expect.closeTo(20, 10), standard_error: Number.NaN });
});

const preferences = fc.array(fc.oneof(fc.double({ min: 1, max: 2, noNaN: true }), fc.constantFrom(1, 1.5, 2)), {
  minLength: 2,
  maxLength: 40,
});

property.prop([preferences])('swapping the sides turns each rate into 100 minus the rate', (given) => {
  const [found, swapped] = [winRate(given), winRate(given.map((preference) => 3 - preference))];
  expect(swapped.win_rate).toBeCloseTo(100 - found.win_rate, 9);
  expect(swapped.discrete_win_rate).toBeCloseTo(100 - found.discrete_win_rate, 9);
  expect(swapped.standard_error).toBeCloseTo(found.standard_error, 9);
  expect(swapped).toMatchObject({ n_wins: found.n_wins_base, n_wins_base: found.n_wins, n_draws: found.n_draws });
});

property.prop([preferences, fc.infiniteStream(fc.nat())])('the order of the rows does not matter', (given, keys) => {
  const shuffled = given
    .map((preference) => ({ preference, key: keys.next().value as number }))
    .sort((a, b) => a.key - b.key)
    .map(({ preference }) => preference);
  expect(winRate(shuffled).win_rate).toBeCloseTo(winRate(given).win_rate, 9);
});
