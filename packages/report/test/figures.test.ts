import { DOMParser } from '@xmldom/xmldom';
import { describe, expect, test } from 'vitest';
import { runReport } from '../src';
import { runFigures } from '../src/figures';
import { executablePath, useChromium } from './chromium';
import { hostileRun } from './hostile-run';

const run = hostileRun('run');
const figures = runFigures(runReport(run));

/** An SVG document, whose parser stops at the first mistake. */
function parse(svg: string) {
  const stop = (level: string, message: string) => {
    throw new Error(`${level}: ${message}`);
  };
  return new DOMParser({ onError: stop }).parseFromString(svg, 'image/svg+xml').documentElement!;
}

/** The elements of a kind in the part of a chart with this label. */
const marksOf = (svg: string, label: string, tag: string) =>
  Array.from(parse(svg).getElementsByTagName('g'))
    .filter((group) => group.getAttribute('aria-label') === label)
    .flatMap((group) => Array.from(group.getElementsByTagName(tag)));

test('a run has images of its loss, its margins and its weights', () => {
  expect(figures.map(({ name, title, caption }) => [name, title, caption])).toEqual([
    ['loss', 'Loss', 'Mean over pairs, with their weights. Line: training. Dots: held-out pairs.'],
    [
      'margins',
      'Reward margin',
      'Reward of the chosen answer minus that of the rejected one. Line: training. Dots: held-out pairs.',
    ],
    ['weights', 'Distribution of weights', 'The last weight of each of 20 pairs, on a logarithmic scale.'],
  ]);
  const [loss, , weights] = figures.map(({ svg }) => svg);
  const [training, evaluation] = marksOf(loss!, 'line', 'path').map((path) => path.getAttribute('d')!);
  expect(training!.match(/[ML]/g)).toHaveLength(20); // steps
  expect(evaluation!.match(/[ML]/g)).toHaveLength(2);
  expect(marksOf(loss!, 'dot', 'circle')).toHaveLength(2);
  // 20 weights of 1/2, 1/4, … in 24 bins of equal ratio: each has a bin of its own
  expect(marksOf(weights!, 'rect', 'rect').filter((bar) => Number(bar.getAttribute('height')) > 0)).toHaveLength(20);
});

test('images have no text of the data, no scripts, no links, and no colours that only a page knows', () => {
  for (const { svg, title } of figures) {
    const root = parse(svg);
    expect(root.getAttribute('xmlns')).toBe('http://www.w3.org/2000/svg');
    expect(root.getAttribute('aria-label')).toContain(title);
    expect(svg).not.toMatch(/attacked|evil|<script|href|url\(|var\(--(?!plot-background)|\bon\w+=/);
  }
});

test('metrics that a run lacks and weights that are all equal have no image', () => {
  const metrics = [{ step: 1, loss: 0.7 }];
  const pair = { step: 1, weight: 1, margin: 0, chosen_tokens: 1, rejected_tokens: 1 };
  const report = runReport({ ...run, metrics, pairs: ['a', 'b'].map((id) => ({ ...pair, id })) });
  expect(runFigures(report).map(({ name }) => name)).toEqual(['loss']);
  expect(runFigures(runReport({ ...run, metrics: [], pairs: [] }))).toEqual([]);
});

describe.skipIf(executablePath === null)('in headless Chromium', () => {
  const { open } = useChromium();

  test('the images are shown at their size', async () => {
    const images = figures.map(
      ({ svg }) => `<img src="data:image/svg+xml;base64,${Buffer.from(svg).toString('base64')}">`,
    );
    const { page, problems } = await open(`<!doctype html>${images.join('')}`);
    await page.waitForFunction('[...document.images].every((image) => image.complete)');
    const sizes = await page.evaluate('[...document.images].map((image) => [image.naturalWidth, image.naturalHeight])');
    expect(sizes).toEqual(figures.map(() => [640, 260]));
    expect(problems.filter((problem) => !problem.startsWith('data:'))).toEqual([]);
    await page.close();
  });
});
