// The data of a report: small whatever the length of the run, and plain JSON, because a page embeds it.

/** A row of metrics, under TRL's names. */
export type MetricsRow = Readonly<Record<string, number>>;

/** The results of one pair in one step, as a line of `pairs.jsonl`. */
export interface PairRow {
  readonly step: number;
  readonly id: string;
  readonly source_chosen?: string;
  readonly source_rejected?: string;
  readonly weight: number;
  readonly margin: number;
  readonly chosen_tokens: number;
  readonly rejected_tokens: number;
}

/** A token of an answer under the trained model, in nats. Tokens that form one character together count as one. */
export interface TokenScore {
  readonly text: string;
  /** log p. */
  readonly logp: number;
  /** The alignment term at its position. */
  readonly alignment: number;
}

/** A pair with both answers, token by token. */
export interface ScoredPair {
  readonly id: string;
  /** Whether it is one of the pairs with the lowest or the highest value of `by`. */
  readonly rank: 'lowest' | 'highest';
  /** `margin` if all weights are equal. */
  readonly by: 'weight' | 'margin';
  /** In the last step that logged the pair. */
  readonly step: number;
  readonly weight: number;
  readonly margin: number;
  readonly prompt: string;
  readonly chosen: readonly TokenScore[];
  readonly rejected: readonly TokenScore[];
  /** Tokens of the answers that are left out, because the answers are long. */
  readonly omitted: { readonly chosen: number; readonly rejected: number };
}

/** Answers to a prompt over time. */
export interface SampledAnswers {
  readonly prompt: string;
  /** By the model after a step, 0 for the model before training; in the order of the steps. */
  readonly answers: readonly { readonly step: number; readonly text: string }[];
}

/** A key of the configuration. */
export interface Setting {
  readonly key: string;
  readonly value: string;
  /** Whether the value is the default. */
  readonly isDefault: boolean;
}

/** What is known of a run. */
export interface Run {
  readonly name: string;
  /** E.g. `finished`. */
  readonly status: string;
  /** All rows of its metrics. */
  readonly metrics: readonly MetricsRow[];
  readonly pairs: readonly PairRow[];
  readonly scored?: readonly ScoredPair[];
  readonly samples?: readonly SampledAnswers[];
  readonly settings?: readonly Setting[];
  /** Names and values, e.g. `CPU`. */
  readonly environment?: readonly (readonly [string, string])[];
}

/** A run as a page shows it. */
export interface RunReport {
  readonly name: string;
  readonly status: string;
  /** At most 400 training rows, each the mean of rows that follow each other. */
  readonly training: readonly MetricsRow[];
  /** At most 400 rows of evaluations: the first, the last, and some between. */
  readonly evaluations: readonly MetricsRow[];
  /** Undefined if no pair was logged. */
  readonly weights?: WeightReport;
  readonly scored: readonly ScoredPair[];
  /** At most 20 answers to each prompt: the first, the last, and some between. */
  readonly samples: readonly SampledAnswers[];
  readonly settings: readonly Setting[];
  readonly environment: readonly (readonly [string, string])[];
}

/** Quantiles of weights. */
export interface Quantiles {
  readonly p5: number;
  readonly p25: number;
  readonly p50: number;
  readonly p75: number;
  readonly p95: number;
}

export interface WeightReport {
  /** Number of different pairs that were logged. */
  readonly pairs: number;
  /** The weights of at most 60 stretches of steps. */
  readonly overTime: readonly (Quantiles & { readonly from: number; readonly to: number })[];
  /** Each pair's last weight, by the sources of its answers; most pairs first. Empty if no pair has sources. */
  readonly bySource: readonly (Quantiles & { readonly source: string; readonly pairs: number })[];
  /** The numbers of pairs by their last weight. `low` belongs to the bin. */
  readonly histogram: readonly { readonly low: number; readonly high: number; readonly pairs: number }[];
  /** Whether the bins of the histogram grow by a factor. */
  readonly isLog: boolean;
  /** At most 1500 pairs in their last step. */
  readonly points: readonly WeightPoint[];
}

export interface WeightPoint {
  readonly id: string;
  readonly weight: number;
  readonly margin: number;
  /** Mean number of tokens of both answers. */
  readonly length: number;
  readonly source?: string;
}

const MAX_ROWS = 400;
const MAX_WINDOWS = 60;
const MAX_POINTS = 1500;
const MAX_SOURCES = 12;
const MAX_ANSWERS = 20;

/** Reduces a run to what a page shows. */
export function runReport(run: Run): RunReport {
  const { name, status, metrics, pairs, scored = [], samples = [], settings = [], environment = [] } = run;
  const training = metrics.filter((row) => row.loss !== undefined);
  const evaluations = metrics.filter((row) => row.eval_loss !== undefined);
  return {
    ...{ name, status },
    training: groups(training, MAX_ROWS).map(meanRow),
    evaluations: spread(evaluations, MAX_ROWS),
    ...(pairs.length > 0 && { weights: weightReport(pairs) }),
    samples: samples.map(({ prompt, answers }) => ({ prompt, answers: spread(answers, MAX_ANSWERS) })),
    ...{ scored, settings, environment },
  };
}

/** The step, epoch and token count of the last row, and the means of all other columns. */
function meanRow(rows: readonly MetricsRow[]): MetricsRow {
  const last = rows.at(-1)!;
  const meanOf = (name: string) => {
    const values = rows.flatMap((row) => (Number.isFinite(row[name]) ? [row[name]!] : []));
    return values.reduce((sum, value) => sum + value, 0) / values.length;
  };
  const names = Object.keys(last).filter((name) => !LAST_VALUE.has(name));
  return { ...last, ...Object.fromEntries(names.map((name) => [name, meanOf(name)])) };
}

const LAST_VALUE = new Set(['step', 'epoch', 'num_tokens', 'skipped_steps']);

function weightReport(pairs: readonly PairRow[]): WeightReport {
  const last = [...new Map(pairs.map((row) => [row.id, row])).values()];
  const bySource = new Map<string, number[]>();
  for (const row of last) {
    const source = sourceOf(row);
    if (source === undefined) continue;
    const weights = bySource.get(source) ?? [];
    weights.push(row.weight);
    bySource.set(source, weights);
  }
  const steps = [...new Set(pairs.map(({ step }) => step))].sort((a, b) => a - b);
  const windowOf = new Map(groups(steps, MAX_WINDOWS).flatMap((some, i) => some.map((step) => [step, i] as const)));
  const windows: PairRow[][] = [];
  for (const row of pairs) {
    windows[windowOf.get(row.step)!] ??= [];
    windows[windowOf.get(row.step)!]!.push(row);
  }
  return {
    pairs: last.length,
    overTime: windows.map((rows) => ({
      from: Math.min(...new Set(rows.map(({ step }) => step))),
      to: Math.max(...new Set(rows.map(({ step }) => step))),
      ...quantiles(rows.map(({ weight }) => weight)),
    })),
    bySource: [...bySource]
      .map(([source, weights]) => ({ source, pairs: weights.length, ...quantiles(weights) }))
      .sort((a, b) => b.pairs - a.pairs)
      .slice(0, MAX_SOURCES),
    ...histogram(last.map(({ weight }) => weight)),
    points: spread(last, MAX_POINTS).map((row) => {
      const { id, weight, margin, chosen_tokens, rejected_tokens } = row;
      const source = sourceOf(row);
      const length = (chosen_tokens + rejected_tokens) / 2;
      return { id, weight, margin, length, ...(source === undefined ? {} : { source }) };
    }),
  };
}

/** One name if both answers have the same source. */
function sourceOf({ source_chosen: chosen, source_rejected: rejected }: PairRow): string | undefined {
  if (chosen === undefined || rejected === undefined) return undefined;
  return chosen === rejected ? chosen : `${chosen} over ${rejected}`;
}

/** As numpy's default: linear between the two values around a quantile. */
function quantiles(values: readonly number[]): Quantiles {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (q: number) => {
    const position = q * (sorted.length - 1);
    const below = Math.floor(position);
    const above = Math.min(below + 1, sorted.length - 1);
    return sorted[below]! + (position - below) * (sorted[above]! - sorted[below]!);
  };
  return { p5: at(0.05), p25: at(0.25), p50: at(0.5), p75: at(0.75), p95: at(0.95) };
}

const BINS = 24;
/** Below this share of the largest weight, logarithmic bins put all weights into the first. */
const SMALLEST = 1e-6;

/** Bins of equal width; or of equal ratio, if the largest of the middle nine tenths of the weights is more than 20 times the smallest. */
function histogram(weights: readonly number[]): Pick<WeightReport, 'histogram' | 'isLog'> {
  const { p5, p95 } = quantiles(weights);
  const high = weights.reduce((most, weight) => Math.max(most, weight), 0);
  const low = weights.reduce((least, weight) => Math.min(least, weight), high);
  const isLog = p95 > 20 * p5;
  const from = isLog ? Math.max(low, high * SMALLEST) : low === high ? 0 : low;
  const to = high > from ? high : from + 1;
  const border = (i: number) => (isLog ? from * (to / from) ** (i / BINS) : from + ((to - from) * i) / BINS);
  const counts = new Array<number>(BINS).fill(0);
  for (const weight of weights) {
    const share = isLog ? Math.log(Math.max(weight, from) / from) / Math.log(to / from) : (weight - from) / (to - from);
    counts[Math.max(0, Math.min(BINS - 1, Math.floor(share * BINS)))]! += 1;
  }
  return { isLog, histogram: counts.map((pairs, i) => ({ low: border(i), high: border(i + 1), pairs })) };
}

/** Items in order as at most `count` groups of nearly equal size. */
function groups<T>(items: readonly T[], count: number): T[][] {
  const number = Math.min(count, items.length);
  const border = (i: number) => Math.floor((i * items.length) / number);
  return Array.from({ length: number }, (_, i) => items.slice(border(i), border(i + 1)));
}

/** At most `count` items at equal distances, with the first and the last. */
function spread<T>(items: readonly T[], count: number): readonly T[] {
  if (items.length <= count) return items;
  return Array.from({ length: count }, (_, i) => items[Math.round((i * (items.length - 1)) / (count - 1))]!);
}
