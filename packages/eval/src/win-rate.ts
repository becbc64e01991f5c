/** From 1, the baseline's answer is better, to 2, the model's is; 1.5 a draw; null where there is no judgement. */
export type Preference = number | null;

/** How often a model beats its baseline; rates and their error from 0 to 100. */
export interface WinRate {
  /** Mean of the preferences: a judge who is 70 % sure of the model counts 0.7. NaN where there are none. */
  readonly win_rate: number;
  /** Standard error of that mean; NaN for fewer than two preferences. */
  readonly standard_error: number;
  /** Preferences above 1.5, below it, and equal to it. */
  readonly n_wins: number;
  readonly n_wins_base: number;
  readonly n_draws: number;
  readonly n_total: number;
  /** Share of wins, a draw counted half. NaN where there are no preferences. */
  readonly discrete_win_rate: number;
}

/**
 * The win rate of a model, in the names and by the definitions of the project alpaca_eval (`metrics/helpers.py`). Null and
 * what lies outside 1 to 2 is left out; 0, an older sign for a draw, is read as 1.5.
 */
export function winRate(preferences: readonly Preference[]): WinRate {
  const shares = preferences.map(shareOf).filter((share) => share !== undefined);
  const n_wins = shares.filter((share) => share > 0.5).length;
  const n_wins_base = shares.filter((share) => share < 0.5).length;
  const n_total = shares.length;
  const n_draws = n_total - n_wins - n_wins_base;
  return {
    win_rate: 100 * mean(shares),
    standard_error: 100 * standardError(shares),
    n_wins,
    n_wins_base,
    n_draws,
    n_total,
    discrete_win_rate: (100 * (n_wins + n_draws / 2)) / n_total,
  };
}

/** The model's share of a preference, from 0 to 1; undefined where the preference does not count. */
export function shareOf(preference: Preference): number | undefined {
  if (preference === 0) return 0.5;
  return preference !== null && preference >= 1 && preference <= 2 ? preference - 1 : undefined;
}

export const mean = (values: readonly number[]): number => values.reduce((sum, x) => sum + x, 0) / values.length;

/** Sample standard deviation, with n − 1; NaN for fewer than two values. */
export function deviation(values: readonly number[]): number {
  const middle = mean(values);
  return Math.sqrt(values.reduce((sum, x) => sum + (x - middle) ** 2, 0) / (values.length - 1));
}

const standardError = (values: readonly number[]) => deviation(values) / Math.sqrt(values.length);
