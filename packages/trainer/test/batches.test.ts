import { fc, test as property } from '@fast-check/vitest';
import { expect, test } from 'vitest';
import { planSteps } from '../src';
import { epochAt, nextStep } from '../src/batches';

test.each([
  // pairs, batch, accumulation, epochs, maxSteps: micro-batches and steps an epoch, total
  [16, 1, 4, 2, 0, [16, 4, 8]],
  [18, 1, 4, 1, 0, [18, 5, 5]],
  [10, 2, 2, 2.5, 0, [5, 3, 8]],
  [10, 3, 2, 1.5, 0, [4, 2, 3]],
  [3, 1, 16, 3, 0, [3, 1, 3]],
  [3, 8, 1, 0.5, 0, [1, 1, 1]],
  [16, 1, 4, 2, 5, [16, 4, 5]],
  [16, 1, 4, 2, 11, [16, 4, 11]],
  [16, 1, 4, 2, -1, [16, 4, 8]],
  [61_019, 1, 16, 2, 0, [61_019, 3814, 7628]],
])(
  '%d pairs in batches of %d, %d a step, %d epochs, max %d',
  (pairs, batchSize, gradientAccumulationSteps, epochs, maxSteps, counts) => {
    const plan = planSteps({ pairs, batchSize, gradientAccumulationSteps, epochs, maxSteps });
    expect([plan.microBatchesPerEpoch, plan.stepsPerEpoch, plan.totalSteps]).toEqual(counts);
  },
);

test('the last step of an epoch takes the remaining pairs, and the epoch counts micro-batches', () => {
  const plan = planSteps({ pairs: 5, batchSize: 2, gradientAccumulationSteps: 2 });
  const first = nextStep(plan, { epoch: 0, pair: 0 });
  expect(first).toEqual({
    microBatches: [
      [0, 1],
      [2, 3],
    ],
    after: { epoch: 0, pair: 4 },
  });
  expect(epochAt(plan, first.after)).toBeCloseTo(2 / 3, 15);
  const second = nextStep(plan, first.after);
  expect(second).toEqual({ microBatches: [[4]], after: { epoch: 1, pair: 0 } });
  expect(epochAt(plan, second.after)).toBe(1);
});

property.prop([fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 })])(
  'the steps of an epoch see each pair once, in order',
  (pairs, batchSize, gradientAccumulationSteps) => {
    const plan = planSteps({ pairs, batchSize, gradientAccumulationSteps });
    const seen: number[] = [];
    let cursor = { epoch: 0, pair: 0 };
    for (let step = 0; step < plan.stepsPerEpoch; step++) {
      expect(cursor.epoch).toBe(0);
      const { microBatches, after } = nextStep(plan, cursor);
      expect(microBatches.length).toBeLessThanOrEqual(gradientAccumulationSteps);
      seen.push(...microBatches.flat());
      cursor = after;
    }
    expect(cursor).toEqual({ epoch: 1, pair: 0 });
    expect(seen).toEqual(Array.from({ length: pairs }, (_, i) => i));
  },
);

test.each([
  [{ pairs: 0 }, 'pairs to train on: expected an integer of at least 1, found 0'],
  [{ pairs: 4, batchSize: 0 }, 'batchSize: expected an integer from 1 to 1000000, found 0.'],
  [
    { pairs: 4, gradientAccumulationSteps: 1.5 },
    'gradientAccumulationSteps: expected an integer from 1 to 1000000, found 1.5.',
  ],
  [{ pairs: 4, epochs: 0 }, 'epochs: expected a number above 0, at most 1000000, found 0.'],
  [{ pairs: 4, maxSteps: 2.5 }, 'maxSteps: expected an integer from -1 to 1000000000, found 2.5.'],
])('%j is rejected', (options, message) => {
  expect(() => planSteps(options)).toThrow(message);
});
