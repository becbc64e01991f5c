import type { AlpacaMetrics, DatasetMetrics } from '@wpo/eval';
import { alignedRows, table } from '../terminal/format';

/** Formats rates as a few lines of text. */
export function formatMetrics(metrics: AlpacaMetrics): string {
  const { n_wins, n_wins_base, n_draws, n_total } = metrics;
  return alignedRows([
    [
      'win rate',
      `${percent(metrics.win_rate)} ± ${percent(metrics.standard_error)}  (mean preference, standard error)`,
    ],
    [
      'discrete',
      `${percent(metrics.discrete_win_rate)}  (${n_wins} won, ${n_wins_base} lost, ${n_draws} drawn of ${n_total})`,
    ],
    ['length-controlled', `${percent(metrics.length_controlled_winrate)}  (${LENGTH_CONTROLLED})`],
    ['average length', `${Number.isNaN(metrics.avg_length) ? '–' : metrics.avg_length} characters`],
  ]);
}

const LENGTH_CONTROLLED =
  'alpaca_eval’s length_controlled_minimal; the leaderboard’s number also uses the difficulty of each instruction';

/** Formats the rates of each data set as a table. */
export function formatDatasets(sets: readonly DatasetMetrics[]): string {
  const head = ['data set', 'answers', 'win rate', 'error', 'discrete', 'length'];
  const body = sets.map((set) => [
    set.dataset || '(none)',
    String(set.n_total),
    percent(set.win_rate),
    percent(set.standard_error),
    percent(set.discrete_win_rate),
    String(set.avg_length),
  ]);
  return table([head, ...body]);
}

const percent = (value: number) => (Number.isNaN(value) ? '–' : `${value.toFixed(2)} %`);
