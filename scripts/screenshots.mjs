// `npm run screenshots`: takes the pictures of docs/images: the demo's run in a terminal, its report, and examples/browser. It needs Chromium
// (WPO_CHROMIUM names another one than /usr/bin/chromium) and `script` of util-linux, which runs a command in a terminal.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';
import { createServer } from 'vite';
import { root, setUpOrExit } from './setup.mjs';

/** The size of the terminal, in characters. */
const [COLUMNS, ROWS] = [108, 11];
const RECIPE = 'recipes/demo.yaml';

await setUpOrExit();
const folder = mkdtempSync(join(tmpdir(), 'wpo-screenshots-'));
const run = join(folder, 'demo');
const pictures = join(root, 'docs/images');
mkdirSync(pictures, { recursive: true });

// WebGL in software, where there is no GPU
const args = ['--no-sandbox', '--enable-unsafe-swiftshader', '--use-angle=swiftshader', '--ignore-gpu-blocklist'];
const browser = await chromium.launch({ executablePath: process.env.WPO_CHROMIUM ?? '/usr/bin/chromium', args });
const newPage = (width, height) => browser.newPage({ viewport: { width, height }, colorScheme: 'light' });
try {
  await terminalPicture(trainInTerminal());
  await reportPictures();
  await browserPicture();
} finally {
  await browser.close();
  rmSync(folder, { recursive: true });
}

/** Trains the demo's model. Returns what the terminal received, up to the last quarter of the run. */
function trainInTerminal() {
  const wpo = `'${process.execPath}' packages/cli/bin/wpo.mjs train ${RECIPE} --set 'output_dir=${run}'`;
  const log = join(folder, 'terminal');
  const env = { ...process.env, TERM: 'xterm-256color', SHELL: '/bin/sh' };
  execFileSync('script', ['-qec', `stty cols ${COLUMNS} rows ${ROWS}; exec ${wpo}`, log], {
    ...{ cwd: root, env, stdio: ['ignore', 'ignore', 'inherit'] },
  });
  const text = readFileSync(log, 'utf8').replace(/^Script started.*\n/, '');
  const shown = text.slice(0, text.indexOf('32/42')).replace(/[^\n\r]*$/, '');
  return shown.replaceAll(`${root}/`, '').replaceAll(run, 'runs/demo'); // no paths of the machine that takes the picture
}

/** Shows text in a terminal as a browser draws it. */
async function terminalPicture(text) {
  const page = await newPage(1100, 700);
  await page.setContent('<div id="terminal" style="display: inline-block; padding: 12px; background: #1e1e1e"></div>');
  const xterm = createRequire(import.meta.url).resolve('@xterm/xterm');
  await page.addScriptTag({ path: xterm });
  await page.addStyleTag({ path: join(xterm, '../../css/xterm.css') });
  await page.evaluate(
    ([cols, rows, text]) =>
      new Promise((done) => {
        const terminal = new globalThis.Terminal({
          cols,
          rows,
          fontSize: 14,
          lineHeight: 1.2,
          theme: { background: '#1e1e1e' },
        });
        terminal.open(document.getElementById('terminal'));
        terminal.write(text, done);
      }),
    [COLUMNS, ROWS, `$ npx wpo train ${RECIPE}\r\n${text}`],
  );
  await page.locator('#terminal').screenshot({ path: join(pictures, 'terminal.png') });
  await page.close();
}

/** The top of the run's report, its charts of weights, and its pair of lowest weight. */
async function reportPictures() {
  const page = await newPage(1200, 1000);
  await page.goto(pathToFileURL(join(run, 'report.html')).href);
  await page.waitForFunction('!document.querySelector("figure .chart:not(:has(> svg))")'); // they are drawn once they have a width
  await page.screenshot({ path: join(pictures, 'report.png') });
  await page.locator('#weights').screenshot({ path: join(pictures, 'report-weights.png') });
  await page
    .locator('#pairs article')
    .first()
    .screenshot({ path: join(pictures, 'report-pair.png') });
  await page.close();
}

/** The example after some training steps, on a server of this machine. */
async function browserPicture() {
  const server = await createServer({
    ...{ configFile: join(root, 'examples/browser/vite.config.js'), logLevel: 'error' },
    server: { port: 0, host: '127.0.0.1' },
  });
  try {
    await server.listen();
    const page = await newPage(1000, 545);
    await page.goto(`${server.resolvedUrls.local[0]}?backend=webgl`);
    await page.waitForSelector('#train:enabled', { timeout: 300_000 });
    await page.fill('#steps', '3');
    await page.click('#train');
    await page.waitForFunction('document.getElementById("log").textContent.includes("step 3/3")', null, {
      timeout: 300_000,
    });
    await page.waitForSelector('#train:enabled', { timeout: 300_000 });
    await page.screenshot({ path: join(pictures, 'browser.png') });
    await page.close();
  } finally {
    await server.close();
  }
}
