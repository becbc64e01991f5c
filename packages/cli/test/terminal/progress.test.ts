import { fc, test as property } from '@fast-check/vitest';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { fitProgress, formatDuration, type ProgressState, progress, withProgress } from '../../src/terminal/progress';
import { capture } from '../wpo';

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

const state: ProgressState = {
  label: 'train',
  done: 21,
  total: 42,
  details: ['loss 0.6931', 'weight 0.2531', 'margin 0.0012'],
  left: '1m 05s left',
  rate: '1.2/s',
};
const line = (width: number, changes: Partial<ProgressState> = {}) =>
  fitProgress({ ...state, ...changes }, width)
    .map(({ text }) => text)
    .join('');

test.each([
  [
    199,
    `train ${'█'.repeat(12)}${'░'.repeat(12)} 21/42  1m 05s left  loss 0.6931  weight 0.2531  margin 0.0012  1.2/s`,
  ],
  [79, 'train █████░░░░░░ 21/42  1m 05s left  loss 0.6931  weight 0.2531  margin 0.0012'],
  [68, 'train 21/42  1m 05s left  loss 0.6931  weight 0.2531  margin 0.0012'],
  [59, 'train 21/42  1m 05s left  loss 0.6931  weight 0.2531'],
  [39, 'train 21/42  1m 05s left  loss 0.6931'],
  [25, 'train 21/42  1m 05s left'],
  [19, 'train 21/42'],
  [10, 'tra… 21/42'],
  [5, '21/42'],
  [3, '21/'],
])('a line of at most %i characters drops the least important fields first', (width, expected) => {
  expect(line(width)).toBe(expected);
});

test.each([
  [
    140,
    `train ${'█'.repeat(12)}${'░'.repeat(12)} 21/42  1m 05s left  loss 0.6931 █▇▆▄▃▂▂▁  weight 0.2531  margin 0.0012  8.10 GB  1.2/s`,
  ],
  [92, 'train ███░░░ 21/42  1m 05s left  loss 0.6931 █▇▆▄▃▂▂▁  weight 0.2531  margin 0.0012  8.10 GB'],
  [83, 'train ███░░░ 21/42  1m 05s left  loss 0.6931 █▇▆▄▃▂▂▁  weight 0.2531  margin 0.0012'],
  [79, 'train 21/42  1m 05s left  loss 0.6931 █▇▆▄▃▂▂▁  weight 0.2531  margin 0.0012'],
  [74, 'train 21/42  1m 05s left  loss 0.6931 █▆▄▃▂▁  weight 0.2531  margin 0.0012'],
  [73, 'train 21/42  1m 05s left  loss 0.6931  weight 0.2531  margin 0.0012'],
  [39, 'train 21/42  1m 05s left  loss 0.6931'],
])('a line of at most %i characters with a history and memory', (width, expected) => {
  const history = [0.69, 0.66, 0.6, 0.55, 0.5, 0.46, 0.45, 0.43];
  expect(line(width, { history, last: '8.10 GB' })).toBe(expected);
});

test('a long label is shortened before the count', () => {
  expect(line(19, { label: 'reference, held out', left: undefined })).toBe('reference, h… 21/42');
});

property.prop([
  fc.integer({ min: 1, max: 200 }),
  fc.record({
    label: fc.string({ minLength: 1, maxLength: 30 }),
    total: fc.nat(1e9),
    done: fc.nat(1e9),
    details: fc.array(fc.string({ maxLength: 30 })),
    left: fc.constantFrom(undefined, '7s left', '3d 4h left'),
    rate: fc.constantFrom(undefined, '1.2/s', '2m 03s each'),
    history: fc.array(fc.float({ noNaN: true, noDefaultInfinity: true })),
    last: fc.constantFrom(undefined, '8.10 GB'),
  }),
])('no line is wider than the terminal, and the count is never dropped', (width, changes) => {
  const { done, total } = changes;
  const text = line(width, { ...changes, done: Math.min(done, total) });
  expect(text.length).toBeLessThanOrEqual(width);
  expect(text).toContain(`${Math.min(done, total)}/${total}`.slice(0, width));
});

test.each([
  [0, '1s'],
  [59.4, '59s'],
  [60, '1m 00s'],
  [3599, '59m 59s'],
  [3600, '1h 00m'],
  [86_399, '1d 0h'],
  [356_400, '4d 3h'],
])('%f seconds are formatted as %s', (seconds, text) => {
  expect(formatDuration(seconds)).toBe(text);
});

test('without a terminal, lines have rate and time left, but not before they are known', () => {
  const terminal = capture();
  const shown = progress(terminal, { label: 'train', total: 7, every: 3 });
  for (let step = 0; step <= 7; step++) {
    shown.update(step, [`loss 0.${step}`, 'weight 0.5']);
    vi.advanceTimersByTime(2000);
  }
  shown.stop();
  expect(terminal.err()).toBe(
    'train 3/7  loss 0.3  weight 0.5  8s left  2s each\n' +
      'train 6/7  loss 0.6  weight 0.5  2s left  2s each\n' +
      'train 7/7  loss 0.7  weight 0.5  2s each\n',
  );
});

test('the time left of a resumed run counts from its first step', () => {
  const terminal = capture();
  const shown = progress(terminal, { label: 'score', total: 1000, every: 1 });
  shown.update(900);
  vi.advanceTimersByTime(1000);
  shown.update(910);
  expect(terminal.err()).toBe('score 900/1000\nscore 910/1000  9s left  10/s\n');
});

test('without a terminal, about twenty lines are printed by default, and one a minute if work is slow', () => {
  const print = (total: number, milliseconds: number) => {
    const terminal = capture();
    const shown = progress(terminal, { label: 'weigh', total });
    for (let pair = 1; pair <= total / 10; pair++) {
      vi.advanceTimersByTime(milliseconds);
      shown.update(pair);
    }
    return terminal.err().trimEnd().split('\n').length;
  };
  expect(print(1000, 1)).toBe(2);
  expect(print(1000, 30_000)).toBe(50);
});

/** A terminal of a given width. */
function screen(columns: number) {
  const terminal = capture();
  const listeners = new Set<() => void>();
  const stderr = Object.assign(terminal.stderr, {
    isTTY: true,
    columns,
    hasColors: () => false,
    on: (_: string, listener: () => void) => listeners.add(listener),
    off: (_: string, listener: () => void) => listeners.delete(listener),
  });
  const resize = (to: number) => {
    stderr.columns = to;
    for (const listener of listeners) listener();
  };
  return { ...terminal, stderr, resize, listeners };
}

test('on a terminal the line is redrawn, also when its size changes, and signals are not handled', () => {
  const terminal = screen(80);
  const handlers = process.listenerCount('SIGINT') + process.listenerCount('SIGTERM');
  const shown = progress(terminal, { label: 'train', total: 4 });
  shown.update(1, 'loss 0.6931');
  expect(process.listenerCount('SIGINT') + process.listenerCount('SIGTERM')).toBe(handlers);
  expect(terminal.err()).toBe(`train ${'█'.repeat(6)}${'░'.repeat(18)} 1/4  loss 0.6931`);
  terminal.resize(20);
  expect(terminal.err()).toMatch(/1\/4$/);
  expect(terminal.err()).toContain('\r\x1b[2A\x1b[Jtrain 1/4'); // 48 characters had become three rows
  shown.update(4, 'loss 0.5000');
  shown.stop();
  shown.stop();
  expect(terminal.err().endsWith('\r\x1b[Jtrain 4/4\n')).toBe(true);
  expect(terminal.listeners.size).toBe(0);
});

test('the line is drawn at most ten times per second', () => {
  const terminal = screen(80);
  const shown = progress(terminal, { label: 'weigh', total: 1e6 });
  for (let pair = 1; pair <= 1000; pair++) {
    shown.update(pair);
    vi.advanceTimersByTime(1);
  }
  expect(terminal.err().split('\r')).toHaveLength(10);
  shown.stop();
});

test('progress stops if its work fails', async () => {
  const terminal = screen(80);
  const failing = withProgress(terminal, { label: 'weigh', total: 2 }, async (shown) => {
    shown.update(1);
    throw new Error('no');
  });
  await expect(failing).rejects.toThrow('no');
  expect(terminal.err().endsWith('\n')).toBe(true);
});
