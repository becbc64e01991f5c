import * as Plot from '@observablehq/plot';
import { h, table, visible } from './dom';

export interface FigureOptions {
  readonly title: string;
  /** What is shown, in a sentence; also the chart's name for screen readers. */
  readonly caption: string;
  /** The chart, but its size and style. Called again when the width changes. */
  readonly plot: (width: number) => Plot.PlotOptions;
  /** What is shown beside the pointer; an image leaves it out. */
  readonly tip: () => Plot.Tip;
  /** The names of the colours. */
  readonly legend?: readonly LegendEntry[];
  /** The same numbers as text. */
  readonly numbers: () => { readonly head: readonly string[]; readonly rows: readonly (readonly string[])[] };
  readonly isWide?: boolean;
}

export interface LegendEntry {
  readonly label: string;
  /** A CSS colour. */
  readonly color: string;
  readonly kind: 'line' | 'dot' | 'area';
}

/** A chart with its title, caption, legend, and a table of its numbers that opens below it. */
export function figure(options: FigureOptions): HTMLElement {
  const { title, caption, legend = [], numbers, isWide } = options;
  const canvas = h('div', { class: 'chart' });
  const details = h('details', {}, h('summary', {}, 'Numbers'));
  details.addEventListener('toggle', () => {
    if (!details.open || details.childElementCount > 1) return;
    const { head, rows } = numbers();
    details.append(table(title, head, rows));
  });
  const draw = () => {
    const width = canvas.clientWidth;
    if (width === 0) return;
    canvas.replaceChildren(chartOf(options, { width, tip: options.tip() }));
  };
  let drawnAt = 0;
  new ResizeObserver(() => {
    if (canvas.clientWidth === drawnAt) return;
    drawnAt = canvas.clientWidth;
    draw();
  }).observe(canvas);
  const entries = legend.map(({ label, color, kind }) =>
    h('li', {}, h('span', { class: `key ${kind}`, style: `--key: ${color}` }), visible(label)),
  );
  return h(
    'figure',
    { class: isWide ? 'wide' : undefined },
    h('figcaption', {}, h('h3', {}, title), h('p', {}, caption)),
    entries.length > 0 && h('ul', { class: 'legend' }, ...entries),
    canvas,
    details,
  );
}

interface ChartOptions {
  readonly width: number;
  readonly tip?: Plot.Tip;
  /** Where the chart is made. Default: the page. */
  readonly document?: Document;
}

/** The chart of a figure. */
export function chartOf({ title, caption, plot }: FigureOptions, { width, tip, document }: ChartOptions) {
  const { marks = [], ...options } = plot(width);
  const chart = Plot.plot({
    ...{ width, height: Math.round(Math.min(260, Math.max(190, width * 0.5))), document },
    ...{ marginLeft: 52, marginTop: 14, marginRight: 14, marginBottom: 44, ariaLabel: `${title}. ${caption}` },
    ...options,
    marks: [...marks, tip],
  });
  chart.setAttribute('role', 'img');
  return chart;
}

/** Colours of series, in order. */
export const COLORS = ['var(--s1)', 'var(--s2)', 'var(--s3)', 'var(--s4)', 'var(--s5)', 'var(--s6)'];
export const colorOf = (i: number): string => COLORS[i % COLORS.length]!;
