// `node scripts/report-screenshot.mjs RUN FILE.png`: a screenshot of the top of a run's report, as docs/report.md has it.
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root } from './setup.mjs';

const [run, out] = process.argv.slice(2);
if (run === undefined || out === undefined) {
  console.error('Give the folder of a run with a report.html, and the file to write: RUN FILE.png');
  process.exit(1);
}
const { chromium } = createRequire(join(root, 'packages/report/package.json'))('playwright-core');
const executablePath = process.env.WPO_CHROMIUM ?? '/usr/bin/chromium';
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
const page = await browser.newPage({ viewport: { width: 1200, height: 1000 }, colorScheme: 'light' });
await page.goto(pathToFileURL(join(resolve(run), 'report.html')).href);
await page.waitForSelector('.chart svg');
await page.screenshot({ path: out });
await browser.close();
