// `node scripts/weight-pictures.mjs`: draws the pictures of docs/wpo.md with Observable Plot in Chromium: docs/weight-of-a-pair.svg from the
// formula in @wpo/loss, docs/weights-of-the-demo.svg from `wpo weigh` on the demo's model and pairs.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { wpoWeights } from '../packages/loss/dist/scalar.js';
import { root } from './setup.mjs';

const require = createRequire(join(root, 'packages/report/package.json'));
const folder = mkdtempSync(join(tmpdir(), 'wpo-pictures-'));

/** A pair of answers of one token each, whose scores are 0 (a typical sample of the policy) and `score`. */
const weight = (score, temperature) => {
  const answer = (logp) => ({ logps: [logp], logSumSquares: [0] });
  return wpoWeights({ chosen: answer(0), rejected: answer(score) }, { temperature });
};
const curve = [1, 2, 5].flatMap((temperature) =>
  Array.from({ length: 101 }, (_, i) => ({
    score: -i / 20,
    temperature: `τ = ${temperature}`,
    weight: weight(-i / 20, temperature),
  })),
);

const file = join(folder, 'weights.jsonl');
const weigh = ['weigh', '--model', 'demo/model', '--pairs', 'demo/data/train.jsonl', '--out', file];
execFileSync(process.execPath, ['packages/cli/bin/wpo.mjs', ...weigh], {
  cwd: root,
  stdio: ['ignore', 'ignore', 'inherit'],
});
const weights = readFileSync(file, 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line).weight);

const { outputFiles } = await require('esbuild').build({
  stdin: { contents: "export * from '@observablehq/plot'", resolveDir: join(root, 'packages/report') },
  ...{ bundle: true, write: false, format: 'iife', globalName: 'Plot' },
});
const { chromium } = require('playwright-core');
const browser = await chromium.launch({
  executablePath: process.env.WPO_CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox'],
});
const page = await browser.newPage();
await page.addScriptTag({ content: outputFiles[0].text });
const [formula, demo] = await page.evaluate(
  ([curve, weights]) => {
    const { Plot } = globalThis;
    const draw = (options) => {
      const svg = Plot.plot({ width: 680, height: 320, marginLeft: 56, marginBottom: 42, grid: true, ...options });
      svg.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
      svg.style.background = 'white'; // in dark mode too
      return svg.outerHTML;
    };
    const score = { label: 's(chosen) + s(rejected) →' };
    return [
      draw({
        ...{ x: score, y: { label: '↑ weight', domain: [0, 1] } },
        marks: [
          Plot.line(curve, { x: 'score', y: 'weight', stroke: 'temperature', strokeWidth: 2 }),
          Plot.text(
            curve,
            Plot.selectMinX({ x: 'score', y: 'weight', z: 'temperature', text: 'temperature', dx: 24, dy: -14 }),
          ),
        ],
      }),
      draw({
        ...{ x: { label: 'weight →', type: 'log', tickFormat: '~g' }, y: { label: '↑ pairs' } },
        marks: [
          Plot.rectY(
            weights,
            Plot.binX(
              { y: 'count' },
              {
                x: {
                  value: (weight) => weight,
                  thresholds: Array.from({ length: 13 }, (_, i) => 10 ** (-3.25 + i / 4)),
                },
                fill: '#4269d0',
              },
            ),
          ),
          Plot.ruleY([0]),
        ],
      }),
    ];
  },
  [curve, weights],
);
await browser.close();
rmSync(folder, { recursive: true });
writeFileSync(join(root, 'docs/weight-of-a-pair.svg'), `${formula}\n`);
writeFileSync(join(root, 'docs/weights-of-the-demo.svg'), `${demo}\n`);
