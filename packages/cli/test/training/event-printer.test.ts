import { expect, test } from 'vitest';
import type { TrainConfig } from '../../src/index';
import { eventPrinter } from '../../src/training/reports';
import { capture } from '../wpo';

const step = (at: number) => ({
  ...({ type: 'step', step: at, totalSteps: 4 } as const),
  metrics: { loss: 1 / at, 'wpo/weight': 0.25, 'rewards/margins': at / 10, memory_bytes: 8.1e9 },
});

/** What four steps print on a terminal of a width, or to a file. */
function printed(columns: number | undefined, colors = false): string {
  const terminal = capture();
  const stderr = columns === undefined ? {} : { isTTY: true, columns, hasColors: () => colors };
  Object.assign(terminal.stderr, stderr);
  const { show, stop } = eventPrinter({ loggingSteps: 1 } as TrainConfig, terminal);
  for (let at = 1; at <= 4; at++) show(step(at));
  stop();
  return terminal.err();
}

test('a terminal shows loss with its course, weight, margin and memory', () => {
  const last = printed(110).split('\x1b[J').at(-1)!;
  expect(last).toMatch(
    /^train █+ 4\/4 {2}loss 0\.2500 █▃▂▁ {2}weight 0\.2500 {2}margin 0\.4000 {2}8\.10 GB( {2}[\d.]+\/s)?\n$/,
  );
});

test.each([40, 60, 80])(
  'no line is wider than a terminal of %i columns, and none has colours without them',
  (columns) => {
    const control = '\x1b';
    for (const line of printed(columns).split(new RegExp(`${control}\\[J|\\r|\\n`))) {
      expect(line).not.toContain(control);
      expect(line.length).toBeLessThan(columns);
    }
    expect(printed(columns, true)).toContain(`${control}[1mtrain${control}[0m`);
  },
);

test('a file gets plain lines', () => {
  const lines = printed(undefined).split('\n');
  expect(lines[3]).toMatch(/^train 4\/4 {2}loss 0\.2500 {2}weight 0\.2500 {2}margin 0\.4000/);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: none may be there
  expect(lines.join('')).not.toMatch(/[\x00-\x1f▁-█]/);
});
