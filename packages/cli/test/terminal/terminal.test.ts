import { expect, test } from 'vitest';
import { progress, withProgress } from '../../src/terminal/terminal';
import { capture } from '../wpo';

test('without a terminal, a line is printed every `every` counts and at the end', () => {
  const terminal = capture();
  const shown = progress(terminal, { label: 'train', total: 7, every: 3 });
  for (let step = 0; step <= 7; step++) shown.update(step, `loss 0.${step}`);
  shown.print('held out: loss 0.5');
  shown.stop();
  expect(terminal.err()).toBe('train 3/7  loss 0.3\ntrain 6/7  loss 0.6\ntrain 7/7  loss 0.7\nheld out: loss 0.5\n');
});

test('without a terminal, about twenty lines are printed by default', () => {
  const terminal = capture();
  const shown = progress(terminal, { label: 'weigh', total: 1000 });
  for (let pair = 1; pair <= 1000; pair++) shown.update(pair);
  expect(terminal.err().trimEnd().split('\n')).toHaveLength(20);
});

test('on a terminal, a bar shows count and detail, printed lines are above it, and signals are not handled', () => {
  const terminal = capture();
  const stderr = Object.assign(terminal.stderr, { isTTY: true, columns: 100 });
  const listeners = process.listenerCount('SIGINT') + process.listenerCount('SIGTERM');
  const shown = progress({ ...terminal, stderr }, { label: 'train', total: 4 });
  shown.update(1, 'loss 0.6931');
  expect(process.listenerCount('SIGINT') + process.listenerCount('SIGTERM')).toBe(listeners);
  shown.print('held out: loss 0.5');
  shown.update(4, 'loss 0.5000');
  shown.stop();
  shown.stop();
  expect(terminal.err()).toContain('train ██████░░░░░░░░░░░░░░░░░░ 1/4  loss 0.6931');
  expect(terminal.err()).toContain('\r\x1b[Kheld out: loss 0.5\n');
  expect(terminal.err()).toContain(`train ${'█'.repeat(24)} 4/4  loss 0.5000`);
});

test('progress stops if its work fails', async () => {
  const terminal = capture();
  const stderr = Object.assign(terminal.stderr, { isTTY: true });
  const failing = withProgress({ ...terminal, stderr }, { label: 'weigh', total: 2 }, async (shown) => {
    shown.update(1);
    throw new Error('no');
  });
  await expect(failing).rejects.toThrow('no');
  expect(terminal.err().endsWith('\n')).toBe(true); // the bar's line is ended and its timer stopped
});
