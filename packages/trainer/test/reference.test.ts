import { expect, test } from 'vitest';
import {
  evaluate,
  precomputeReference,
  type ReferenceCache,
  type ReferenceLogps,
  referenceLogps,
  wpoPairLoss,
} from '../src';
import golden from './fixtures/trajectory.json';
import { spread, toyPairs, toyPolicy } from './toy-policy';

const policy = toyPolicy(golden.vocab, golden.table, golden.bias);

function memoryCache(kept: ReferenceLogps[] = []) {
  const appended: number[] = [];
  const cache: ReferenceCache = {
    read: async () => [...kept],
    async append(_key, start, values) {
      appended.push(start);
      kept.push(...values);
    },
  };
  return { cache, kept, appended };
}

test('the policy’s log-probs before training are PyTorch’s reference', async () => {
  const found = await precomputeReference({ policy, pairs: golden.pairs, batchSize: 4 });
  expect(found).toHaveLength(10);
  for (const [i, { chosen, rejected }] of golden.reference.entries()) {
    expect(found[i]!.chosen).toBeCloseTo(chosen, 5);
    expect(found[i]!.rejected).toBeCloseTo(rejected, 5);
  }
});

test('what a cache holds is not computed again, and what a stop cut short is gone on from', async () => {
  const { cache, kept, appended } = memoryCache();
  const controller = new AbortController();
  const options = { policy, pairs: golden.pairs, batchSize: 3, cache, key: 'k' };
  const cutShort = precomputeReference({
    ...options,
    signal: controller.signal,
    onProgress: (done) => (done >= 6 ? controller.abort(new Error('enough')) : undefined),
  });
  await expect(cutShort).rejects.toThrow('enough');
  expect(kept).toHaveLength(6);
  const whole = await precomputeReference(options);
  expect(appended).toEqual([0, 3, 6, 9]);
  expect(whole).toEqual(await precomputeReference({ policy, pairs: golden.pairs }));
  const broken = toyPolicy(
    golden.vocab,
    golden.table,
    golden.bias.map(() => Number.NaN),
  );
  expect(await precomputeReference({ ...options, policy: broken })).toEqual(whole);
});

test('log-probs that are not finite are refused by the pair’s id', async () => {
  const broken = toyPolicy(
    golden.vocab,
    golden.table,
    golden.bias.map(() => Number.NaN),
  );
  await expect(referenceLogps(broken, toyPairs(2, 5))).rejects.toThrow(
    'the reference\'s log-probs of pair "pair-0" are NaN (chosen) and NaN (rejected)',
  );
});

test('a policy that has not moved from its reference scores 0 everywhere', async () => {
  const pairs = toyPairs(5, 6);
  const policy = toyPolicy(6, spread(36), spread(6));
  const reference = await precomputeReference({ policy, pairs });
  const found = (await evaluate({ policy, pairs, reference, loss: wpoPairLoss({ beta: 0.1 }), batchSize: 2 }))!;
  expect(found['eval_rewards/margins']).toBeCloseTo(0, 6);
  expect(found.eval_loss).toBeCloseTo(Math.LN2 * found['eval_wpo/weight']!, 6);
});

test('a reference that is too short, or answers too few, names the pair it lacks', async () => {
  const options = { policy, pairs: golden.pairs, loss: wpoPairLoss() };
  await expect(evaluate({ ...options, reference: golden.reference.slice(0, 4) })).rejects.toThrow(
    'none for pair "pair-4"',
  );
  await expect(evaluate({ ...options, reference: () => [] })).rejects.toThrow('0 log-prob entries for 1 pairs');
});

test('evaluation stops between batches at a signal', async () => {
  const signal = { aborted: true };
  expect(
    await evaluate({ policy, pairs: golden.pairs, reference: golden.reference, loss: wpoPairLoss(), signal }),
  ).toBeNull();
});

test('an evaluation of no pairs is refused', async () => {
  const none = evaluate({ policy, pairs: [], reference: [], loss: wpoPairLoss() });
  await expect(none).rejects.toThrow('there are no pairs to evaluate');
});
