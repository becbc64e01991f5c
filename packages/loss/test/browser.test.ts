import '@tensorflow/tfjs';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { build } from 'esbuild';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { differentiate, EVERY_LOSS } from './browser/differentiate';
import { findChromium } from './browser/find-chromium';
import { type Trained, train } from './browser/train';
import { buildPublished, root } from './published';

const executablePath = findChromium();
const test = describe.skipIf(executablePath === null);

/** Software rendering in place of a GPU: WebGL through ANGLE, WebGPU through Vulkan. */
const FLAGS = [
  '--no-sandbox',
  '--enable-unsafe-swiftshader',
  '--use-angle=swiftshader',
  '--ignore-gpu-blocklist',
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan',
];

/** A script for a page, bundled from a file in test/browser or from code. */
async function bundle(what: { readonly file: string } | { readonly code: string }, format: 'iife' | 'esm') {
  const folder = join(root, 'test/browser');
  const entry =
    'file' in what
      ? { entryPoints: [join(folder, what.file)] }
      : { stdin: { contents: what.code, resolveDir: folder } };
  const { outputFiles } = await build({ ...entry, bundle: true, write: false, format, minify: true });
  return outputFiles![0]!.text;
}

/** A page that serves `files` from http://localhost. */
async function open(browser: Browser, files: Readonly<Record<string, string>>): Promise<Page> {
  const page = await browser.newPage();
  await page.route('http://localhost/**', (route) => {
    const path = new URL(route.request().url()).pathname;
    const body = files[path];
    if (body === undefined) return route.fulfill({ status: 404 });
    return route.fulfill({ body, contentType: path.endsWith('.js') ? 'text/javascript' : 'text/html' });
  });
  await page.goto('http://localhost/');
  return page;
}

/** Compares two backends in float32: their exponentials differ in the last digits. */
function expectAlike(found: readonly number[], expected: readonly number[], what: string, bound = 1e-4) {
  expect(found, what).toHaveLength(expected.length);
  for (const [i, x] of found.entries()) {
    const close = x === expected[i] || Math.abs(x - expected[i]!) <= bound * Math.max(1, Math.abs(expected[i]!));
    if (!close) throw new Error(`${what}[${i}]: expected ${expected[i]}, found ${x}`);
  }
}

test('a page in headless Chromium', () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: executablePath!, args: FLAGS });
  });
  afterAll(() => browser.close());

  describe('bundled', () => {
    let page: Page;
    // as text, because the test runner transforms functions before they could be passed to the page
    const ask = (name: string, ...args: unknown[]) =>
      page.evaluate(`${name}(...${JSON.stringify(args)})`) as Promise<unknown>;
    beforeAll(async () => {
      page = await open(browser, {
        '/': '<!doctype html><script src="/page.js"></script>',
        '/page.js': await bundle({ file: 'page.ts' }, 'iife'),
      });
    });

    it.for(['cpu', 'webgl', 'webgpu'])(
      'trains a toy policy with WPO on %s to the same numbers as in Node',
      async (backend, { skip }) => {
        skip(backend === 'webgpu' && !(await ask('hasWebGPU')), 'this Chromium has no WebGPU');
        const node = await train('cpu');
        const found = (await ask('train', backend)) as Trained;
        expect(found.backend).toBe(backend);
        expect(node.losses.at(-1)).toBeLessThan(node.losses[0]!);
        for (const name of ['losses', 'weights', 'metrics', 'table'] as const)
          expectAlike(found[name], node[name], name);
      },
    );

    it.for(['webgl', 'webgpu'])(
      'computes every loss and its gradients on %s to the same numbers as in Node',
      async (backend, { skip }) => {
        skip(backend === 'webgpu' && !(await ask('hasWebGPU')), 'this Chromium has no WebGPU');
        await tf.setBackend('cpu');
        await ask('setBackend', backend);
        for (const options of EVERY_LOSS) {
          const expected = await differentiate(options);
          const found = (await ask('differentiate', options)) as number[][];
          for (const [i, numbers] of found.entries()) {
            expectAlike(
              numbers,
              expected[i]!,
              `${JSON.stringify(options)}: ${['losses', 'd/d chosen', 'd/d rejected'][i]}`,
            );
          }
        }
      },
    );
  });

  describe('by <script type="module">', () => {
    let published: ReturnType<typeof buildPublished>;
    beforeAll(async () => {
      published = buildPublished();
    });
    afterAll(() => published.remove());
    const file = (name: string) => readFileSync(join(published.folder, name), 'utf8');

    it('loads the published losses over numbers without an import map', async () => {
      const html = `<!doctype html><script type="module">
        import { wpoLoss } from '/scalar.js';
        const pair = { chosenLogps: -1, rejectedLogps: -3, refChosenLogps: -2, refRejectedLogps: -2, weights: 0.25 };
        document.title = wpoLoss(pair, { beta: 0.5 }).losses.toFixed(6);
      </script>`;
      const page = await open(browser, { '/': html, '/scalar.js': file('scalar.js') });
      await page.waitForFunction('document.title !== ""');
      expect(await page.title()).toBe('0.078315');
    });

    it('loads the published losses over tensors with tfjs-core in an import map', async () => {
      const html = `<!doctype html>
      <script type="importmap">{ "imports": { "@tensorflow/tfjs-core": "/tfjs.js", "@wpo/loss": "/index.js" } }</script>
      <script type="module">
        import * as tf from '@tensorflow/tfjs-core';
        import { dpoLoss } from '@wpo/loss';
        const [c, r, ref] = [-1, -3, -2].map((x) => tf.tensor1d([x]));
        const loss = (x) => dpoLoss({ chosenLogps: x, rejectedLogps: r, refChosenLogps: ref, refRejectedLogps: ref }, { beta: 0.5 }).losses;
        document.title = [loss(c), tf.grad(loss)(c)].map((x) => x.dataSync()[0].toFixed(6)).join(' ');
      </script>`;
      const core = "import '@tensorflow/tfjs-backend-cpu'; export * from '@tensorflow/tfjs-core';";
      const files = { '/': html, '/index.js': file('index.js'), '/tfjs.js': await bundle({ code: core }, 'esm') };
      const page = await open(browser, files);
      await page.waitForFunction('document.title !== ""');
      expect(await page.title()).toBe('0.313262 -0.134471');
    });
  });
});
