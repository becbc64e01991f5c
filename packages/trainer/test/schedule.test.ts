import { expect, test } from 'vitest';
import { type ScheduleType, schedule, warmupStepCount } from '../src';
import { describeScheduleChange } from '../src/schedule';
import golden from './fixtures/schedules.json';

test.each(golden)('$type over $total_steps steps with $warmup_steps of warm-up equals transformers', (expected) => {
  const factor = schedule({
    type: expected.type as ScheduleType,
    totalSteps: expected.total_steps,
    warmupSteps: expected.warmup_steps,
  });
  for (const [step, value] of expected.factors.entries()) expect(factor(step)).toBeCloseTo(value, 15);
});

test('cosine over 8 steps with one of warm-up, computed by hand', () => {
  const factor = schedule({ type: 'cosine', totalSteps: 8, warmupSteps: 1 });
  expect(factor(0)).toBe(0);
  expect(factor(1)).toBe(1);
  expect(factor(4)).toBeCloseTo(0.5 * (1 + Math.cos((3 * Math.PI) / 7)), 15);
  expect(factor(8)).toBeCloseTo(0, 15);
});

test.each([
  [8, { warmupRatio: 0.1 }, 1],
  [30, { warmupRatio: 0.1 }, 3],
  [7628, { warmupRatio: 0.1 }, 763],
  [10, { warmupRatio: 0.1, warmupSteps: 4 }, 4],
  [10, { warmupRatio: 0, warmupSteps: 0 }, 0],
  [10, {}, 0],
])('%d steps with %j warm up for %d', (total, options, expected) => {
  expect(warmupStepCount(total, options)).toBe(expected);
});

test.each([
  [{ warmupSteps: 0.1 }, 'warmupSteps: expected an integer from 0 to 1000000000, found 0.1.'],
  [{ warmupRatio: 5 }, 'warmupRatio: expected a number from 0 to 1, found 5.'],
])('%j is rejected', (options, message) => {
  expect(() => warmupStepCount(10, options)).toThrow(message);
});

test('an unknown schedule is rejected, and the error lists the known ones', () => {
  expect(() => schedule({ type: 'cosin' as ScheduleType, totalSteps: 1 })).toThrow(
    'lr_scheduler_type: expected one of cosine, linear, constant, constant_with_warmup, found "cosin"',
  );
});

test('a resumed run says what other steps or another peak mean for its learning rate', () => {
  const before = { lr_scheduler_type: 'linear', total_steps: 10, warmup_steps: 0, learning_rate: 0.01 };
  expect(describeScheduleChange(before, before, 5)).toBeNull();
  expect(describeScheduleChange(before, { ...before, total_steps: 20 }, 0)).toBeNull();
  expect(describeScheduleChange(before, { ...before, total_steps: 20 }, 10)).toBe(
    'The learning rate was 0.001 at step 10 and is 0.005 at step 11. From here on it follows the schedule of a run planned with ' +
      'these settings: linear, 20 steps, warm-up 0, peak 0.01.',
  );
  expect(describeScheduleChange(before, { ...before, learning_rate: 0.002 }, 5)).toContain(
    'was 0.006 at step 5 and is 0.001 at step 6',
  );
});
