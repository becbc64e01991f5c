import * as Plot from '@observablehq/plot';
import type { MetricsRow, RunReport } from '../run-report';
import { short, stepTick, visible } from './dom';
import { colorOf, type FigureOptions, type LegendEntry } from './figure';

interface MetricChart {
  readonly title: string;
  readonly caption: string;
  /** Columns of a training row. A comparison of runs has a chart for each. */
  readonly columns: readonly { readonly name: string; readonly label: string }[];
  readonly domain?: readonly [number, number];
  /** Divides the values. */
  readonly unit?: number;
}

const CHARTS: readonly MetricChart[] = [
  { title: 'Loss', caption: 'Mean over pairs, with their weights.', columns: [{ name: 'loss', label: 'loss' }] },
  {
    title: 'Reward margin',
    caption: 'Reward of the chosen answer minus that of the rejected one.',
    columns: [{ name: 'rewards/margins', label: 'margin' }],
  },
  {
    title: 'Reward accuracy',
    caption: 'Share of pairs whose chosen answer has the higher reward.',
    columns: [{ name: 'rewards/accuracies', label: 'accuracy' }],
    domain: [0, 1],
  },
  {
    title: 'Rewards',
    caption: 'β (log π − log π_ref) of an answer.',
    columns: [
      { name: 'rewards/chosen', label: 'chosen' },
      { name: 'rewards/rejected', label: 'rejected' },
    ],
  },
  {
    title: 'Log-probs',
    caption: 'log π of an answer, in nats.',
    columns: [
      { name: 'logps/chosen', label: 'chosen' },
      { name: 'logps/rejected', label: 'rejected' },
    ],
  },
  {
    title: 'Gradient norm',
    caption: 'Of the last step of each interval, before clipping.',
    columns: [{ name: 'grad_norm', label: 'norm' }],
  },
  {
    title: 'Learning rate',
    caption: 'Of the last step of each interval.',
    columns: [{ name: 'learning_rate', label: 'learning rate' }],
  },
  {
    title: 'Speed',
    caption: 'Tokens per second in steps, without evaluation and saving.',
    columns: [{ name: 'tokens_per_second', label: 'tokens/s' }],
  },
  {
    title: 'Memory',
    caption: 'In use after a step, in GB.',
    columns: [{ name: 'memory_bytes', label: 'GB' }],
    unit: 1e9,
  },
];

interface Point {
  readonly step: number;
  readonly value: number;
  readonly series: string;
}

interface Series {
  readonly label: string;
  readonly isEvaluation: boolean;
  readonly color: string;
  readonly points: readonly Point[];
}

/** Charts of the metrics by step: training as lines, evaluations as dots. Metrics that no run has are left out. */
export const metricFigures = (runs: readonly RunReport[]): FigureOptions[] =>
  figuresOf(runs.length > 1 ? CHARTS.flatMap(chartPerColumn) : CHARTS, runs);

/** The chart of a run that has a metric, alone or with others; undefined if the run does not have it. */
export const metricFigure = (run: RunReport, metric: string): FigureOptions | undefined =>
  figuresOf(
    CHARTS.filter(({ columns }) => columns.some(({ name }) => name === metric)),
    [run],
  )[0];

const figuresOf = (charts: readonly MetricChart[], runs: readonly RunReport[]): FigureOptions[] =>
  charts.flatMap((chart) => {
    const series = runs.flatMap((run, i) => seriesOf(chart, run, runs.length > 1 ? i : undefined));
    if (series.length === 0) return [];
    return [lineChart(chart, series, runs.length > 1 ? comparisonLegend(runs, series) : legendOf(series))];
  });

/** A run has one colour in a comparison, so that a chart has room for one column. */
const chartPerColumn = (chart: MetricChart): MetricChart[] =>
  chart.columns.length === 1
    ? [chart]
    : chart.columns.map((column) => ({
        ...chart,
        title: `${chart.title} of ${column.label} answers`,
        columns: [column],
      }));

const legendOf = (series: readonly Series[]): LegendEntry[] =>
  series.length === 1
    ? []
    : series.map(({ label, color, isEvaluation }) => ({ label, color, kind: isEvaluation ? 'dot' : 'line' }));

/** The runs by their colours, and once what dots are. */
function comparisonLegend(runs: readonly RunReport[], series: readonly Series[]): LegendEntry[] {
  const entries = runs.map(({ name }, i): LegendEntry => ({ label: name, color: colorOf(i), kind: 'line' }));
  if (!series.some(({ isEvaluation }) => isEvaluation)) return entries;
  return [...entries, { label: 'held-out pairs', color: 'var(--quiet)', kind: 'dot' }];
}

function seriesOf({ columns, unit = 1 }: MetricChart, run: RunReport, index: number | undefined): Series[] {
  const name = (text: string) => (index === undefined ? text : `${run.name}, ${text}`);
  return columns.flatMap((column, i) => {
    const color = colorOf(index ?? i);
    const pointsOf = (rows: readonly MetricsRow[], key: string, series: string) =>
      rows.flatMap((row): Point[] =>
        Number.isFinite(row[key]) ? [{ step: row.step!, value: row[key]! / unit, series }] : [],
      );
    const label = columns.length === 1 ? (index === undefined ? 'training' : run.name) : name(column.label);
    const heldOut = columns.length === 1 ? name('held-out pairs') : name(`${column.label}, held-out pairs`);
    return [
      { label, isEvaluation: false, color, points: pointsOf(run.training, column.name, label) },
      { label: heldOut, isEvaluation: true, color, points: pointsOf(run.evaluations, `eval_${column.name}`, heldOut) },
    ].filter(({ points }) => points.length > 0);
  });
}

function lineChart(
  { title, caption, domain }: MetricChart,
  series: readonly Series[],
  legend: readonly LegendEntry[],
): FigureOptions {
  const [lines, dots] = [false, true].map((is) => series.filter(({ isEvaluation }) => isEvaluation === is));
  const all = series.flatMap(({ points }) => points);
  return {
    ...{ title, caption, legend },
    plot: (width) => ({
      x: { label: 'step', labelOffset: 38, ticks: Math.max(3, Math.floor(width / 90)), tickFormat: stepTick },
      y: { label: null, grid: true, nice: true, ticks: 5, tickFormat: tickOf, ...(domain && { domain: [...domain] }) },
      marks: [
        ...lines!.map(({ points, color }) =>
          Plot.lineY(points, { x: 'step', y: 'value', stroke: color, strokeWidth: 1.75 }),
        ),
        // a line of one point has no length
        ...lines!
          .filter(({ points }) => points.length === 1)
          .map(({ points, color }) => Plot.dot(points, { x: 'step', y: 'value', fill: color, r: 2.5 })),
        ...dots!.flatMap(({ points, color }) => [
          Plot.lineY(points, { x: 'step', y: 'value', stroke: color, strokeDasharray: '2 4', strokeOpacity: 0.8 }),
          Plot.dot(points, { x: 'step', y: 'value', fill: 'var(--surface)', stroke: color, strokeWidth: 1.75, r: 4 }),
        ]),
      ],
    }),
    tip: () =>
      Plot.tip(
        all,
        Plot.pointer({
          ...{ x: 'step', y: 'value' },
          title: ({ series: name, step, value }: Point) => `${visible(name)}\nstep ${step}: ${short(value)}`,
        }),
      ),
    numbers: () => ({
      head: ['step', ...series.map(({ label }) => label)],
      rows: stepRows(series),
    }),
  };
}

const tickOf = (value: number) => short(value);

/** One row for each step that a series has, of at most 100. */
function stepRows(series: readonly Series[]): string[][] {
  const values = series.map(({ points }) => new Map(points.map(({ step, value }) => [step, value])));
  const steps = [...new Set(values.flatMap((some) => [...some.keys()]))].sort((a, b) => a - b);
  const every = Math.ceil(steps.length / 100);
  const shown = steps.filter((_, i) => i % every === 0 || i === steps.length - 1);
  return shown.map((step) => [String(step), ...values.map((some) => short(some.get(step)))]);
}

const COMPARED: readonly (readonly [label: string, metric: string])[] = [
  ['loss', 'loss'],
  ['reward accuracy', 'rewards/accuracies'],
  ['reward margin', 'rewards/margins'],
  ['chosen reward', 'rewards/chosen'],
  ['rejected reward', 'rewards/rejected'],
  ['chosen log-prob', 'logps/chosen'],
  ['rejected log-prob', 'logps/rejected'],
  ['weight', 'wpo/weight'],
];

export interface BeforeAfter {
  readonly isHeldOut: boolean;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** The first and the last evaluation; without evaluations, the first and the last training row. */
export function beforeAfter({ training, evaluations }: RunReport): BeforeAfter | undefined {
  const isHeldOut = evaluations.length > 0;
  const rows = isHeldOut ? evaluations : training;
  const [first, last] = [rows[0], rows.at(-1)];
  if (first === undefined || last === undefined) return undefined;
  const prefix = isHeldOut ? 'eval_' : '';
  const when = ({ step }: MetricsRow) => (step === 0 ? 'before training' : `step ${step}`);
  const shown = first === last ? [first] : [first, last];
  return {
    isHeldOut,
    head: [isHeldOut ? 'held-out pairs' : 'training pairs', ...shown.map(when)],
    rows: COMPARED.filter(([, metric]) => last[prefix + metric] !== undefined).map(([label, metric]) => [
      label,
      ...shown.map((row) => short(row[prefix + metric])),
    ]),
  };
}

/** The last evaluation of each run, or its last training row. */
export function finalNumbers(runs: readonly RunReport[]): Omit<BeforeAfter, 'isHeldOut'> {
  const columns = runs.map((run) => beforeAfter(run)?.rows ?? []);
  return {
    head: ['metric', ...runs.map(({ name }) => name)],
    rows: COMPARED.map(([label]) => [
      label,
      ...columns.map((rows) => rows.find(([name]) => name === label)?.at(-1) ?? '–'),
    ]).filter((row) => row.slice(1).some((cell) => cell !== '–')),
  };
}
