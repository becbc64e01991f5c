import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, expect } from 'vitest';
import { findChromium } from '../../loss/test/browser/find-chromium';

export const executablePath = findChromium();
/** Text that attacks, if it becomes markup, and hides its end. */
export const HOSTILE = `</script><script>attacked()</script><img src=x onerror="attacked()">"'&lt;\u202eevil<!--`;

/** How the page shows it. */
export const HOSTILE_SHOWN = HOSTILE.replace('\u202e', '\\u202e');

/** Opens all that is closed, and checks that no text became markup, ran, or asked for anything. */
export async function expectHarmless({
  page,
  problems,
}: {
  readonly page: Page;
  readonly problems: readonly string[];
}) {
  for (const summary of await page.locator('summary').all()) await summary.click();
  expect(problems).toEqual([]);
  expect(await page.evaluate('window.isAttacked')).toBeUndefined();
  expect(await page.locator('img').count()).toBe(0);
  expect(await page.locator('script').count()).toBe(2);
}

export const overflow = (page: Page) => page.evaluate('document.documentElement.scrollWidth - innerWidth');

/** A browser for the tests of a suite. */
export function useChromium() {
  const folder = mkdtempSync(join(tmpdir(), 'wpo-report-'));
  const file = join(folder, 'page.html');
  let browser: Browser;
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: executablePath!, args: ['--no-sandbox'] });
  });
  afterAll(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true });
  });
  const newPage = (options?: BrowserContextOptions) => browser.newPage(options);

  /** Opens a page from disk, as a user does. Returns it with its errors, its console and its requests. */
  async function open(html: string, options?: BrowserContextOptions) {
    writeFileSync(file, html);
    const page = await newPage(options);
    const problems: string[] = [];
    page.on('pageerror', ({ message }) => problems.push(message));
    page.on('console', (message) => problems.push(message.text()));
    page.on('request', (request) => request.url().startsWith('file:') || problems.push(request.url()));
    await page.addInitScript('window.attacked = () => { window.isAttacked = true; }');
    await page.goto(pathToFileURL(file).href);
    await page.waitForFunction('!document.querySelector("figure .chart:not(:has(> svg))")'); // they are drawn once they have a width
    return { page, problems };
  }
  return { open, newPage };
}
