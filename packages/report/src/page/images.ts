import { DOMImplementation, XMLSerializer } from '@xmldom/xmldom';
import type { RunReport } from '../run-report';
import { chartOf, type FigureOptions, type LegendEntry } from './figure';
import { metricFigure } from './metrics';
import { withLightColors } from './palette';
import { weightHistogram } from './weights';

/** A chart of the report as an image, for a page that shows files, such as a model card. */
export interface RunFigure {
  /** What it shows, for the name of a file. */
  readonly name: 'loss' | 'margins' | 'weights';
  readonly title: string;
  /** What is shown, and what lines and dots are, in sentences. */
  readonly caption: string;
  /** An SVG document in light colours on white, 640 × 260, without scripts and links. */
  readonly svg: string;
}

const WIDTH = 640;

/**
 * Draws the loss and the reward margin by step, and the distribution of the pairs' weights, with the charts of the report's page and
 * without a browser. Figures without data are left out, and that of the weights if all are equal.
 */
export function runFigures(report: RunReport): RunFigure[] {
  const { weights } = report;
  const isSpread = weights?.points.some(({ weight }) => weight !== weights.points[0]!.weight);
  const figures = {
    loss: metricFigure(report, 'loss'),
    margins: metricFigure(report, 'rewards/margins'),
    weights: weights && isSpread ? weightHistogram(weights) : undefined,
  };
  return Object.entries(figures).flatMap(([name, options]) =>
    options === undefined ? [] : [draw(name as RunFigure['name'], options)],
  );
}

function draw(name: RunFigure['name'], options: FigureOptions): RunFigure {
  const { title, caption, legend = [] } = options;
  const document = new DOMImplementation().createDocument('http://www.w3.org/1999/xhtml', 'html');
  const chart = chartOf(options, { width: WIDTH, document: document as unknown as Document });
  chart.setAttribute('color', 'var(--text)');
  chart.setAttribute('style', 'background: var(--surface)');
  const svg = new XMLSerializer().serializeToString(chart as unknown as typeof document);
  return { name, title, caption: [caption, ...legend.map(describe)].join(' '), svg: `${withLightColors(svg)}\n` };
}

const KINDS: Readonly<Record<LegendEntry['kind'], string>> = { line: 'Line', dot: 'Dots', area: 'Area' };

const describe = ({ label, kind }: LegendEntry) => `${KINDS[kind]}: ${label}.`;
