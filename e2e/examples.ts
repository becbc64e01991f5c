import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findChromium } from '../packages/loss/test/browser/find-chromium';
import { readJson, run } from './project';
import { LONG } from './support';

const root = fileURLToPath(new URL('..', import.meta.url));
const fixtures = join(root, 'packages/gemma/test/fixtures/golden');
const model = join(fixtures, 'tiny');
const pairs = join(fixtures, 'pairs.jsonl');
const EXAMPLES = readdirSync(join(root, 'examples'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);

const dependenciesOf = (example: string) =>
  Object.entries((readJson(join(root, 'examples', example, 'package.json')) as Manifest).dependencies);
interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>;
}

/** The packages of others that the examples import, as `name@version`. */
export const examplePackages = (): string[] => [
  ...new Set(
    EXAMPLES.flatMap(dependenciesOf)
      .filter(([name]) => !name.startsWith('@wpo/'))
      .map((dependency) => dependency.join('@')),
  ),
];

/** Tests of the examples as copies in a project that has the packages, and no workspace around it. */
export function testExamples(project: () => string): void {
  describe('the examples', () => {
    const at = (path: string) => join(project(), path);
    const node = (file: string, ...args: string[]) =>
      run(process.execPath, [at(`examples/${file}`), ...args], project());
    beforeAll(() => {
      for (const folder of ['examples', 'demo']) {
        cpSync(join(root, folder), at(folder), { recursive: true, filter: (path) => !/node_modules|dist$/.test(path) });
      }
    });

    test('import only what their package.json names', () => {
      for (const example of EXAMPLES) {
        const names = dependenciesOf(example).map(([name]) => name);
        for (const name of names) expect(existsSync(at(`node_modules/${name}`)), `${example}: ${name}`).toBe(true);
        for (const file of readdirSync(join(root, 'examples', example)).filter((name) => /\.m?js$/.test(name))) {
          const code = readFileSync(join(root, 'examples', example, file), 'utf8');
          for (const [, name] of code.matchAll(/^import .*?'((?:@[\w-]+\/)?[\w-]+)[^']*'/gm)) {
            if (name !== 'node') expect(names, `${example}/${file}`).toContain(name);
          }
        }
      }
    });

    test('loss-only: a pair that the policy would write has weight 1, a pair far from it a weight near 0', () => {
      const output = node('loss-only/index.mjs');
      const [near, far] = JSON.parse(output.match(/^weights +(\[.*\])$/m)![1]!) as [number, number];
      // s = (−0.2 − 0.9 − 0.1 + 1.3) / 3 + (−1.1 + 1.1) / 2 > 0, and (−6.9 + 0.9) / 2 + (−4.2 + 1.6) / 2 = −4.3
      expect(near).toBe(1);
      expect(far).toBeCloseTo(Math.exp(-4.3), 4);
    });

    test('loss-only: the loss falls in a loop of one’s own', () => {
      const losses = [...node('loss-only/train.mjs').matchAll(/^step +\d+ +loss (\S+)/gm)].map(([, x]) => Number(x));
      expect(losses).toHaveLength(5);
      expect(losses.toSorted((a, b) => b - a)).toEqual(losses);
      // the first step's loss is log 2 times the mean weight, of 0.21 and 0.34
      expect(losses[0]).toBeCloseTo(0.1844, 3);
    });

    test('hybrid: runs from prompts to a win rate, and skips every stage the second time', () => {
      const output = node('hybrid/index.mjs', 'hybrid');
      const [, failed] = output.match(/^The server answered \d+ requests and failed (\d+)\.$/m)!;
      expect(Number(failed)).toBeGreaterThan(10);
      // 16 prompts, each with three answers of the model and one of another model
      expect(output).toContain('answers.jsonl has all 48 answers.');
      expect(output).toContain('scored.jsonl has all 64 scores.');
      expect(output).toContain('Requests sent: 0');
      expect(output.match(/^\w+ +skipped/gm)).toHaveLength(6);
      expect(output).toMatch(/^Win rate \d+\.\d %, length-controlled \d+\.\d %, from a stand-in judge\.$/m);
    });

    test('tiny-gemma: trains, answers differently after training, and saves the model', () => {
      const output = node('tiny-gemma/index.mjs', model, pairs, 'trained');
      const [, before] = output.match(/^before: (.+)$/m)!;
      const [, after] = output.match(/^after: (.+)$/m)!;
      expect(after).not.toBe(before);
      expect(output.match(/^step .*$/gm)).toHaveLength(8);
      // before training every implicit reward is 0, so that the first step's loss is its mean weight times log 2
      expect(output).toContain('step 1/8  loss 0.6126  weight 0.88  margin 0.0000');
      expect(Object.keys(readJson(at('trained/config.json')) as object)).toContain('model_type');
    });

    test('weigh-first: leaves out the pairs of lowest weight, and writes a run that can be planned', () => {
      const output = node('weigh-first/index.mjs', 'demo/model', 'demo/data/eval.jsonl', 'weighed');
      const [, low, all, share] = output.match(/^(\d+) of (\d+) pairs have (\S+) % of all weight/m)!.map(Number);
      expect([low, all]).toEqual([6, 64]);
      expect(share).toBeLessThan((100 * low!) / all!);
      expect(readFileSync(at('weighed/kept.jsonl'), 'utf8').trim().split('\n')).toHaveLength(58);
      expect(output).toContain('wpo train weighed/run.yaml');
      expect(run('npx', ['wpo', 'plan', 'weighed/run.yaml', '--no-time'], project())).toContain('It fits.');
    });

    test('lora: trains an adapter, and merges it into its model', () => {
      const output = node('lora/index.mjs', 'tiny', at('demo/data/eval.jsonl'), 'lora-run');
      expect(output).toMatch(/^The adapter, of rank 8 and alpha 16, has [\d.]+ MB; the model has 0\.51 MB\.$/m);
      expect(existsSync(at('lora-run/merged/model.safetensors'))).toBe(true);
      const adapter = readFileSync(at('lora-run/run/model/adapter_model.safetensors'));
      expect(adapter.length).toBeGreaterThan(10_000);
    });

    testBrowser(at, project);
  });
}

/** Software rendering in place of a GPU. */
const FLAGS = ['--no-sandbox', '--enable-unsafe-swiftshader', '--use-angle=swiftshader', '--ignore-gpu-blocklist'];
const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
};

function testBrowser(at: (path: string) => string, project: () => string): void {
  const executablePath = findChromium();
  describe.skipIf(executablePath === null)('browser, in headless Chromium', () => {
    let browser: Browser;
    let expected: number[];
    beforeAll(async () => {
      const vite = join(root, 'node_modules/vite/bin/vite.js');
      run(process.execPath, [vite, 'build', at('examples/browser')], project(), { MODEL: model });
      const page = readFileSync(at('examples/browser/main.js'), 'utf8');
      const texts = [...page.matchAll(/^ {2}\['(.*)', '(.*)', '(.*)'\],$/gm)];
      const rows = texts.map(([, prompt, chosen, rejected]) => ({ prompt, chosen, rejected }));
      writeFileSync(at('page.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
      run('npx', ['wpo', 'weigh', '--model', model, '--pairs', 'page.jsonl', '--out', 'page-weights.jsonl'], project());
      const lines = readFileSync(at('page-weights.jsonl'), 'utf8').trim().split('\n');
      expected = lines.map((line) => (JSON.parse(line) as { weight: number }).weight);
      browser = await chromium.launch({ executablePath: executablePath!, args: FLAGS });
    }, LONG);
    afterAll(() => browser?.close());

    const weights = async (page: Page) => (await page.locator('output').allTextContents()).map(Number);

    /** The page, whose files come from the built example. */
    async function openPage(of: Browser, query: string) {
      const page = await of.newPage();
      const problems: string[] = [];
      page.on('pageerror', ({ message }) => problems.push(message));
      await page.route('http://localhost/**', (route) => {
        const { pathname } = new URL(route.request().url());
        const path = at(`examples/browser/dist${pathname === '/' ? '/index.html' : pathname}`);
        if (!existsSync(path)) return route.fulfill({ status: 404 });
        return route.fulfill({
          body: readFileSync(path),
          contentType: TYPES[extname(path)] ?? 'application/octet-stream',
        });
      });
      await page.goto(`http://localhost/${query}`);
      return { page, problems };
    }

    test('without a GPU, and without WebGL, it computes with WebAssembly', async () => {
      const args = ['--no-sandbox', '--disable-gpu', '--disable-software-rasterizer'];
      const plain = await chromium.launch({ executablePath: executablePath!, args });
      const { page, problems } = await openPage(plain, '');
      await page.getByText('parameters on TensorFlow.js’s wasm backend').waitFor();
      expect(problems).toEqual([]);
      await plain.close();
    });

    test.each(['cpu', 'wasm', 'webgl'])('shows weights as they are typed, and trains, on %s', async (backend) => {
      const { page, problems } = await openPage(browser, `?backend=${backend}`);
      await page.getByText(`parameters on TensorFlow.js’s ${backend} backend`).waitFor();
      const before = await weights(page);
      expect(before).toHaveLength(2);
      for (const [i, weight] of before.entries()) expect(weight / expected[i]! - 1, `pair ${i}`).toBeCloseTo(0, 2);

      await page.locator('textarea').nth(2).fill('Something else.');
      await page.waitForFunction(`document.querySelector('output').textContent !== '${before[0]}'`);
      await page.locator('textarea').nth(2).fill('');
      await page.getByText('rejected: expected').waitFor();
      await page.locator('textarea').nth(2).fill('Something else.');
      await page.locator('#steps').fill('3');
      await page.getByRole('button').click();
      await page.getByText('step 3/3').waitFor();
      const margins = [...(await page.locator('#log').textContent())!.matchAll(/margin (\S+)/g)].map(([, x]) =>
        Number(x),
      );
      expect(margins[0]).toBe(0);
      expect(margins.at(-1)).toBeGreaterThan(0);
      expect(problems).toEqual([]);
      await page.close();
    });
  });
}
