import type { BrowserContextOptions } from 'playwright-core';
import { describe, expect, it } from 'vitest';
import { type InspectionReport, inspectionPage } from '../src';
import { executablePath, expectHarmless, HOSTILE, HOSTILE_SHOWN, overflow, useChromium } from './chromium';

const spread = (mean: number) => ({
  ...{ mean, min: 1, max: 900, count: 40 },
  percentiles: { 5: 2, 25: 8, 50: mean, 75: 40, 90: 60, 95: 70, 99: 80 },
});
const bins = Array.from({ length: 20 }, (_, i) => ({ low: 5 * i, high: 5 * i + 5, count: i * (20 - i) }));

/** An inspection whose every text is hostile. */
function hostile(file: string, more: Partial<InspectionReport> = {}): InspectionReport {
  const row = {
    id: HOSTILE,
    at: `f.jsonl:3 ${HOSTILE}`,
    value: -1,
    prompt: HOSTILE,
    chosen: HOSTILE,
    rejected: HOSTILE,
  };
  return {
    ...{ file: `${file} ${HOSTILE}`, pairs: 1330, badRows: 2, badRowErrors: [HOSTILE], unit: 'tokens' },
    limits: { maxLength: 50, maxPromptLength: 4000, truncation: 'paper' },
    lengths: { prompt: spread(20), chosen: spread(21), rejected: spread(22), longest: spread(43) },
    histograms: { prompt: bins, chosen: bins, rejected: bins, longest: bins, difference: bins },
    cuts: { pairs: 133, prompts: 0, chosen: 100, rejected: 40, promptTokens: 0, answerTokens: 12_345 },
    lengthBias: { chosenLonger: 665, equal: 0, rejectedLonger: 665, difference: { mean: -1 } },
    margins: { ...spread(0.5), count: 40 },
    sources: { [HOSTILE]: { chosen: 1000, rejected: 1330, meanLength: 20, meanScore: 0.5 }, toString: noScore },
    repeats: { prompts: 1, pairs: 0, ids: 0 },
    worst: { longest: [row], margin: [row, { ...row, value: 0.1 }], repeated: [] },
    verdict: {
      findings: [
        { rows: 2, text: `cannot be used ${HOSTILE}`, kind: 'badRows' },
        { rows: 1, text: 'whose rejected answer has the higher score', kind: 'margin' },
      ],
      next: `wpo plan ${HOSTILE}`,
    },
    ...more,
  };
}
const noScore = { chosen: 330, rejected: 0, meanLength: 20, meanScore: undefined };

describe.skipIf(executablePath === null)('the page of an inspection in headless Chromium', () => {
  const { open: openPage } = useChromium();
  const open = (inspections: readonly InspectionReport[], options?: BrowserContextOptions) =>
    openPage(inspectionPage(inspections), options);

  it('shows hostile text as text, runs none of it, and asks for nothing', async () => {
    const opened = await open([hostile('pairs.jsonl')]);
    await expectHarmless(opened);
    const { page } = opened;
    expect(await page.locator('h1').textContent()).toBe(`pairs.jsonl ${HOSTILE_SHOWN}`);
    expect(await page.locator('#verdict .next').textContent()).toBe(`Next: wpo plan ${HOSTILE_SHOWN}`);
    expect(await page.locator('#verdict article > p').allTextContents()).toEqual([HOSTILE_SHOWN]);
    expect(await page.locator('#verdict blockquote').allTextContents()).toEqual([
      HOSTILE_SHOWN,
      HOSTILE_SHOWN,
      HOSTILE_SHOWN,
    ]); // not the margin above 0
    await page.close();
  });

  it('draws a chart of each length with its limit, and a table of its numbers', async () => {
    const { page } = await open([hostile('pairs.jsonl')]);
    expect(await page.locator('figure h3').allTextContents()).toEqual([
      ...['Prompt and longer answer', 'Prompt', 'Chosen answer', 'Rejected answer', 'Chosen minus rejected'],
      'Answers by source',
    ]);
    const longest = page.locator('figure').first();
    expect(await longest.locator('.legend li').allTextContents()).toEqual(['max_length 50']);
    await longest.locator('summary').click();
    const rows = longest.locator('tbody tr');
    await rows.first().waitFor(); // the table is filled once it is open
    expect(await rows.first().locator('th, td').allTextContents()).toEqual(['below 5', '0']);
    expect(await rows.nth(1).locator('th, td').allTextContents()).toEqual(['5 to 9', '19']);
    expect(await rows.last().locator('th, td').allTextContents()).toEqual(['95 and more', '19']);
    expect(await page.locator('figure').nth(1).locator('figcaption p').textContent()).toBe(
      'All messages before the answer. max_prompt_length, 4,000, is to the right of the chart.',
    );
    expect(await page.locator('#lengths > .note').textContent()).toBe(
      '133 pairs (10.0 %) are cut with max_length 50, max_prompt_length 4,000, truncation paper.',
    );
    expect(await page.locator('.badge').textContent()).toBe('2 to decide before training');
    await page.close();
  });

  it.each(['light', 'dark'] as const)('fits a screen of 360 pixels in %s colours', async (colorScheme) => {
    const { page } = await open([hostile('a'), hostile('b')], { viewport: { width: 360, height: 800 }, colorScheme });
    for (const summary of await page.locator('summary').all()) await summary.click();
    expect(await overflow(page)).toBe(0);
    const background = await page.evaluate('getComputedStyle(document.body).backgroundColor');
    expect(background).toBe(colorScheme === 'light' ? 'rgb(246, 247, 249)' : 'rgb(16, 19, 23)');
    await page.close();
  });

  it('of several sets, lists all and shows the one that is chosen; words have no limits', async () => {
    const words = hostile('second', {
      ...{ unit: 'words', cuts: undefined, margins: undefined, sources: {} },
      verdict: { findings: [], next: 'x' },
    });
    const { page, problems } = await open([hostile('first'), words]);
    expect(await page.locator('h1').textContent()).toBe('2 sets of pairs');
    expect(await page.locator('#sets tbody tr').count()).toBe(2);
    await page.selectOption('select', '1');
    expect(await page.locator('.badge').textContent()).toBe('ready for training');
    expect(await page.locator('#lengths h2').textContent()).toBe('Lengths in words');
    expect(await page.locator('figure').first().locator('.legend').count()).toBe(0);
    expect(problems).toEqual([]);
    await page.close();
  });
});
