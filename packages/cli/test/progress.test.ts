import { expect, test } from 'vitest';
import { progress } from '../src/progress';
import { capture } from './capture';

test('without a terminal a line comes each so many counts, and one at the end', () => {
  const terminal = capture();
  const shown = progress(terminal, { label: 'train', total: 7, every: 3 });
  for (let step = 0; step <= 7; step++) shown.update(step, `loss 0.${step}`);
  shown.note('held out: loss 0.5');
  shown.stop();
  expect(terminal.err()).toBe('train 3/7  loss 0.3\ntrain 6/7  loss 0.6\ntrain 7/7  loss 0.7\nheld out: loss 0.5\n');
});

test('without a terminal and a rhythm, about twenty lines come', () => {
  const terminal = capture();
  const shown = progress(terminal, { label: 'weigh', total: 1000 });
  for (let pair = 1; pair <= 1000; pair++) shown.update(pair);
  expect(terminal.err().trimEnd().split('\n')).toHaveLength(20);
});
