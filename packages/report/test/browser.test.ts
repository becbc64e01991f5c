import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { BrowserContextOptions } from 'playwright-core';
import { describe, expect, it } from 'vitest';
import { type Run, reportPage, runReport } from '../src';
import { executablePath, expectHarmless, HOSTILE_SHOWN, overflow, useChromium } from './chromium';
import { hostileRun } from './hostile-run';

describe.skipIf(executablePath === null)('a page in headless Chromium', () => {
  const { open: openPage, newPage } = useChromium();
  const open = (runs: readonly Run[], options?: BrowserContextOptions) =>
    openPage(reportPage(runs.map(runReport)), options);

  it('shows hostile text as text, runs none of it, and asks for nothing', async () => {
    const opened = await open([hostileRun('run')]);
    await expectHarmless(opened);
    const { page } = opened;
    expect(await page.locator('h1').textContent()).toBe(`run ${HOSTILE_SHOWN}`);
    expect(await page.locator('#samples blockquote').first().textContent()).toBe(HOSTILE_SHOWN);
    expect(await page.locator('#samples h4').allTextContents()).toEqual([
      ...['Prompt', 'Before training', 'After step 4', 'After step 20'],
    ]);
    expect(await page.locator('.tokens span').first().textContent()).toBe(HOSTILE_SHOWN);
    await page.close();
  });

  it('draws every chart, with a name and a table of its numbers', async () => {
    const { page } = await open([hostileRun('run')]);
    const titles = await page.locator('figure h3').allTextContents();
    expect(titles).toEqual([
      ...['Loss', 'Reward margin', 'Reward accuracy', 'Gradient norm', 'Learning rate', 'Speed', 'Memory'],
      ...['Weights over time', 'Distribution of weights', 'Weights by source'],
      ...['Weight against length', 'Weight against margin'],
    ]);
    expect(await page.locator('figure .chart > svg[role=img][aria-label]').count()).toBe(titles.length);
    const loss = page.locator('figure').first();
    await loss.locator('summary').click();
    await loss.locator('tbody tr').first().waitFor(); // the table is filled once it is open
    expect(await loss.locator('tbody tr').first().locator('th, td').allTextContents()).toEqual(['0', '–', '0.7']);
    expect(await loss.locator('tbody tr').nth(1).locator('th, td').allTextContents()).toEqual(['1', '0.7', '–']);
    await page.close();
  });

  it('goes from token to token with the arrow keys', async () => {
    const { page } = await open([hostileRun('run')]);
    const answer = page.locator('.tokens').first();
    await answer.focus();
    await page.keyboard.press('End');
    await page.keyboard.press('ArrowLeft');
    const status = page.locator('.pair .status').first();
    expect(await status.textContent()).toBe('“ river”: log-prob −1.5, alignment term −1, difference −0.5');
    await page.keyboard.press('Tab');
    expect(await page.evaluate('document.activeElement.getAttribute("aria-label")')).toContain('Rejected answer');
    await page.close();
  });

  it.each(['light', 'dark'] as const)('fits a screen of 360 pixels in %s colours', async (colorScheme) => {
    const viewport = { width: 360, height: 800 };
    const { page } = await open([hostileRun('a'), hostileRun('b')], { viewport, colorScheme });
    expect(await overflow(page)).toBe(0);
    const widths = await page
      .locator('.chart svg')
      .evaluateAll((all) => all.map((svg) => svg.getBoundingClientRect().width));
    expect(Math.max(...widths)).toBeLessThan(340);
    const background = () => page.evaluate('getComputedStyle(document.body).backgroundColor');
    const [light, dark] = ['rgb(246, 247, 249)', 'rgb(16, 19, 23)'];
    expect(await background()).toBe(colorScheme === 'light' ? light : dark);
    const button = page.getByRole('button');
    await button.press('Enter');
    expect(await background()).toBe(light);
    await button.press('Enter');
    expect(await background()).toBe(dark);
    await page.close();
  });

  it('follows a run that trains: it draws new data, keeps the colours, and says when the server is gone', async () => {
    let runs = [hostileRun('run')].map(runReport);
    let problem: string | undefined;
    const server = createServer((request, response) => {
      if (problem !== undefined) return void response.writeHead(500).end(problem);
      response.end(
        request.url === '/data' ? JSON.stringify({ runs }) : reportPage(runs, { data: '/data', every: 0.1 }),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const page = await newPage();
    const problems: string[] = [];
    page.on('pageerror', ({ message }) => problems.push(message));
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    expect(await page.locator('[role=status]').first().textContent()).toBe('Live: this page follows the run.');
    await page.getByRole('button').press('Enter');
    const { metrics, ...rest } = hostileRun('run');
    const steps = page.locator('.tiles dd').first();
    const loss = page.locator('figure').first();
    await loss.locator('summary').click();
    runs = [runReport({ ...rest, metrics: [...metrics, { step: 21, loss: 0.01 }] })];
    await expect.poll(() => steps.textContent()).toBe('21');
    await expect.poll(() => loss.locator('tbody tr').last().textContent()).toBe('210.01–'); // still open
    expect(await page.locator('details[open]').count()).toBe(1);
    expect(await page.locator('main > section').count()).toBe(await page.locator('section[id]').count());
    expect(await page.getByRole('button').textContent()).toBe('Colours: light');
    const state = page.locator('[role=status]').first();
    problem = 'metrics.jsonl: no space';
    await expect.poll(() => state.textContent()).toBe('The report cannot be read: metrics.jsonl: no space');
    problem = undefined;
    await expect.poll(() => state.textContent()).toBe('Live: this page follows the run.');
    server.close();
    server.closeAllConnections();
    await expect.poll(() => state.textContent()).toContain('The run has ended');
    expect(await steps.textContent()).toBe('21');
    expect(problems).toEqual([]);
    expect(await page.evaluate('window.isAttacked')).toBeUndefined();
    await page.close();
  });

  it('compares runs: settings that differ, and the details of the run that is chosen', async () => {
    const { page, problems } = await open([hostileRun('first'), hostileRun('second', '5e-7')]);
    expect(await page.locator('h1').textContent()).toBe('2 runs compared');
    const cells = await page.locator('#settings').first().locator('tbody tr').allTextContents();
    expect(cells).toEqual(['learning_rate1e-65e-7']);
    expect(await page.locator('#metrics figure').count()).toBeGreaterThan(5);
    expect(await page.locator('#metrics .legend').first().locator('li').count()).toBe(3); // the runs and the dots
    expect(await page.locator('#metrics h3').allTextContents()).not.toContain('Rewards');
    await page.selectOption('select', '1');
    expect(await page.locator('#settings').nth(1).textContent()).toContain('5e-7');
    expect(problems).toEqual([]);
    await page.close();
  });
});
