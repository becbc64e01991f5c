/**
 * A judge's preference between two answers: from 1, the first answer (the baseline's) is better, to 2, the second (the
 * model's) is better. 1.5 is a draw; null means that there is no judgement.
 */
export type Preference = number | null;

/** How often a model beats its baseline. Rates and the standard error go from 0 to 100. */
export interface WinRate {
  /** Mean preference: a judge that is 70 % sure of the model counts as 0.7. NaN without preferences. */
  readonly win_rate: number;
  /** Standard error of `win_rate`. NaN for fewer than two preferences. */
  readonly standard_error: number;
  /** Number of preferences above 1.5. */
  readonly n_wins: number;
  /** Number of preferences below 1.5. */
  readonly n_wins_base: number;
  /** Number of preferences equal to 1.5. */
  readonly n_draws: number;
  readonly n_total: number;
  /** Share of wins, where a draw counts as half a win. NaN without preferences. */
  readonly discrete_win_rate: number;
}

/**
 * The win rate of a model, with the names and definitions of alpaca_eval (`metrics/helpers.py`). Null and numbers outside
 * 1 to 2 are ignored, except 0, which older files use for a draw.
 */
export function winRate(preferences: readonly Preference[]): WinRate {
  const probabilities = preferences.map(winProbability).filter((probability) => probability !== undefined);
  const n_wins = probabilities.filter((probability) => probability > 0.5).length;
  const n_wins_base = probabilities.filter((probability) => probability < 0.5).length;
  const n_total = probabilities.length;
  const n_draws = n_total - n_wins - n_wins_base;
  return {
    win_rate: 100 * mean(probabilities),
    standard_error: (100 * standardDeviation(probabilities)) / Math.sqrt(n_total),
    n_wins,
    n_wins_base,
    n_draws,
    n_total,
    discrete_win_rate: (100 * (n_wins + n_draws / 2)) / n_total,
  };
}

/** The probability that the second answer is better, from 0 to 1; undefined for a preference that does not count. */
export function winProbability(preference: Preference): number | undefined {
  if (preference === 0) return 0.5;
  return preference !== null && preference >= 1 && preference <= 2 ? preference - 1 : undefined;
}

export const mean = (values: readonly number[]): number => values.reduce((sum, x) => sum + x, 0) / values.length;

/** Sample standard deviation (with n − 1). NaN for fewer than two values. */
export function standardDeviation(values: readonly number[]): number {
  const average = mean(values);
  return Math.sqrt(values.reduce((sum, x) => sum + (x - average) ** 2, 0) / (values.length - 1));
}
