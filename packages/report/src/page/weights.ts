import * as Plot from '@observablehq/plot';
import type { WeightPoint, WeightReport } from '../run-report';
import { short, stepTick, visible } from './dom';
import type { FigureOptions } from './figure';

/** Charts of the weights of a run's pairs. */
export const weightFigures = (weights: WeightReport): FigureOptions[] => [
  overTime(weights),
  weightHistogram(weights),
  ...(weights.bySource.length > 0 ? [bySource(weights)] : []),
  scatter(weights, 'length', 'Weight against length', 'tokens', 'Mean length of both answers, in tokens.'),
  scatter(weights, 'margin', 'Weight against margin', 'reward margin', 'Reward margin in the pair’s last step.'),
];

const weightScale = ({ isLog }: WeightReport): Plot.ScaleOptions => ({
  ...{ label: null, grid: true, tickFormat: (value: number) => short(value) },
  ...(isLog ? { type: 'log', ticks: 4 } : { ticks: 5, nice: true }),
});

/** A logarithmic scale has no place for 0. */
const clamped = ({ isLog, histogram: bins }: WeightReport, value: number) =>
  isLog ? Math.max(value, bins[0]!.low) : value;

function overTime(weights: WeightReport): FigureOptions {
  const { overTime: rows } = weights;
  const y = (name: 'p5' | 'p25' | 'p50' | 'p75' | 'p95') => (row: (typeof rows)[number]) => clamped(weights, row[name]);
  const x = (row: (typeof rows)[number]) => (row.from + row.to) / 2;
  return {
    title: 'Weights over time',
    caption: 'Median, middle half and middle nine tenths of the pairs of each stretch of steps.',
    legend: [
      { label: 'median', color: 'var(--s1)', kind: 'line' },
      { label: '25–75 %', color: 'color-mix(in srgb, var(--s1) 40%, transparent)', kind: 'area' },
      { label: '5–95 %', color: 'color-mix(in srgb, var(--s1) 18%, transparent)', kind: 'area' },
    ],
    plot: () => ({
      x: { label: 'step', labelOffset: 38, ticks: 5, tickFormat: stepTick },
      y: weightScale(weights),
      marks: [
        Plot.areaY(rows, { x, y1: y('p5'), y2: y('p95'), fill: 'var(--s1)', fillOpacity: 0.18 }),
        Plot.areaY(rows, { x, y1: y('p25'), y2: y('p75'), fill: 'var(--s1)', fillOpacity: 0.28 }),
        Plot.lineY(rows, { x, y: y('p50'), stroke: 'var(--s1)', strokeWidth: 2 }),
      ],
    }),
    tip: () =>
      Plot.tip(
        rows,
        Plot.pointerX({
          ...{ x, y: y('p50') },
          title: (row: (typeof rows)[number]) =>
            `${steps(row)}\n95 %: ${short(row.p95)}\n75 %: ${short(row.p75)}\nmedian: ${short(row.p50)}\n` +
            `25 %: ${short(row.p25)}\n5 %: ${short(row.p5)}`,
        }),
      ),
    numbers: () => ({
      head: ['steps', '5 %', '25 %', 'median', '75 %', '95 %'],
      rows: rows.map((row) => [steps(row), ...[row.p5, row.p25, row.p50, row.p75, row.p95].map(short)]),
    }),
  };
}

const steps = ({ from, to }: { from: number; to: number }) => (from === to ? `step ${from}` : `steps ${from}–${to}`);

/** The distribution of the weights. */
export function weightHistogram(weights: WeightReport): FigureOptions {
  const { histogram: bins, isLog, pairs } = weights;
  const range = ({ low, high }: (typeof bins)[number]) => `${short(low)} to ${short(high)}`;
  return {
    title: 'Distribution of weights',
    caption: `The last weight of each of ${pairs.toLocaleString('en-US')} pairs${isLog ? ', on a logarithmic scale' : ''}.`,
    plot: (width) => ({
      x: {
        ...{ label: 'weight', labelOffset: 38, tickFormat: (value: number) => short(value) },
        ...(isLog ? { type: 'log', ticks: Math.max(2, Math.floor(width / 110)) } : { ticks: Math.floor(width / 80) }),
      },
      y: { label: 'pairs', grid: true, ticks: 5 },
      marginTop: 28,
      marks: [Plot.rectY(bins, { x1: 'low', x2: 'high', y: 'pairs', fill: 'var(--s1)', inset: 0.5 }), Plot.ruleY([0])],
    }),
    tip: () =>
      Plot.tip(
        bins,
        Plot.pointerX({
          ...{ x1: 'low', x2: 'high', y: 'pairs' },
          title: (bin: (typeof bins)[number]) => `${range(bin)}\n${bin.pairs} pairs`,
        }),
      ),
    numbers: () => ({ head: ['weight', 'pairs'], rows: bins.map((bin) => [range(bin), String(bin.pairs)]) }),
  };
}

function bySource(weights: WeightReport): FigureOptions {
  const { bySource: rows } = weights;
  const x = (name: 'p5' | 'p25' | 'p50' | 'p75' | 'p95') => (row: (typeof rows)[number]) => clamped(weights, row[name]);
  return {
    title: 'Weights by source',
    caption: 'Of the pairs of each source: median, middle half, and middle nine tenths.',
    plot: (width) => {
      const room = Math.round(Math.min(190, width * 0.4));
      const label = (source: string) => shortened(visible(source), Math.floor(room / 7));
      return {
        ...{ marginLeft: room, marginTop: 8, height: 64 + 30 * rows.length },
        x: {
          ...weightScale(weights),
          label: 'weight',
          labelOffset: 38,
          ...(weights.isLog ? { ticks: 3 } : { ticks: 4 }),
        },
        y: { label: null, domain: rows.map(({ source }) => source), tickFormat: label, tickSize: 0 },
        marks: [
          Plot.ruleY(rows, { y: 'source', x1: x('p5'), x2: x('p95'), stroke: 'var(--s1)', strokeOpacity: 0.5 }),
          Plot.ruleY(rows, {
            ...{ y: 'source', x1: x('p25'), x2: x('p75'), stroke: 'var(--s1)', strokeWidth: 9, strokeOpacity: 0.45 },
          }),
          Plot.dot(rows, {
            ...{ y: 'source', x: x('p50'), fill: 'var(--s1)', r: 5, stroke: 'var(--surface)' },
          }),
        ],
      };
    },
    tip: () =>
      Plot.tip(
        rows,
        Plot.pointer({
          ...{ y: 'source', x: x('p50') },
          title: (row: (typeof rows)[number]) =>
            `${visible(row.source)}\n${row.pairs} pairs\nmedian ${short(row.p50)}, 25–75 %: ${short(row.p25)}–${short(row.p75)}`,
        }),
      ),
    numbers: () => ({
      head: ['source', 'pairs', '5 %', '25 %', 'median', '75 %', '95 %'],
      rows: rows.map((row) => [
        row.source,
        String(row.pairs),
        ...[row.p5, row.p25, row.p50, row.p75, row.p95].map(short),
      ]),
    }),
  };
}

const shortened = (text: string, length: number) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

function scatter(
  weights: WeightReport,
  key: 'length' | 'margin',
  title: string,
  label: string,
  caption: string,
): FigureOptions {
  const { points, pairs } = weights;
  const shown = points.length < pairs ? ` ${points.length.toLocaleString('en-US')} of the pairs.` : '';
  const source = (point: WeightPoint) => (point.source === undefined ? '' : `\n${visible(point.source)}`);
  const at = { x: key, y: ({ weight }: WeightPoint) => clamped(weights, weight) };
  return {
    title,
    caption: `${caption}${shown}`,
    plot: (width) => ({
      x: {
        label,
        labelOffset: 38,
        ticks: Math.max(3, Math.floor(width / 90)),
        tickFormat: (value: number) => short(value),
      },
      y: weightScale(weights),
      marks: [
        Plot.dot(points, {
          ...at,
          ...{ fill: 'var(--s1)', fillOpacity: points.length > 300 ? 0.35 : 0.6, r: points.length > 300 ? 2.5 : 3.5 },
        }),
      ],
    }),
    tip: () =>
      Plot.tip(
        points,
        Plot.pointer({
          ...at,
          title: (point: WeightPoint) =>
            `${shortened(visible(point.id), 40)}${source(point)}\nweight ${short(point.weight)}\n${label} ${short(point[key])}`,
        }),
      ),
    numbers: () => ({
      head: ['pair', 'weight', label],
      rows: points.slice(0, 100).map((point) => [point.id, short(point.weight), short(point[key])]),
    }),
  };
}
