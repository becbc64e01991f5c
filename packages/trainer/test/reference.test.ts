import * as tf from '@tensorflow/tfjs';
import { expect, test } from 'vitest';
import {
  evaluate,
  precomputeReference,
  preferencePairLoss,
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

test('a reference for LD-DPO counts tokens past the shared length α times, and says so', async () => {
  const pairs = toyPairs(3, 6); // answers of 1 and 1, 6 and 4, 5 and 2 tokens
  const policy = toyPolicy(6, spread(36), spread(6));
  const forward = policy.forward(pairs, { train: false });
  const sum = (logps: ArrayLike<number>, shared: number) =>
    Array.from(logps).reduce((total, logp, t) => total + (t < shared ? 1 : 0.25) * logp, 0);
  const wanted = forward.pairs.map(({ chosen, rejected }) => {
    const shared = Math.min(chosen.logps.size, rejected.logps.size);
    return {
      chosen: expect.closeTo(sum(chosen.logps.dataSync(), shared), 5),
      rejected: expect.closeTo(sum(rejected.logps.dataSync(), shared), 5),
      ldAlpha: 0.25,
    };
  });
  forward.dispose();
  expect(await precomputeReference({ policy, pairs, ldAlpha: 0.25 })).toEqual(wanted);

  // a policy that has not moved ties with it: every loss is ln 2
  const reference = await precomputeReference({ policy, pairs, ldAlpha: 0.25 });
  const loss = preferencePairLoss({ ldAlpha: 0.25, useWeighting: false });
  const found = (await evaluate({ policy, pairs, reference, loss, batchSize: 2 }))!;
  expect(found['eval_rewards/margins']).toBe(0);
  expect(found.eval_loss).toBeCloseTo(Math.LN2, 6);
});

test('a reference that was summed with another ldAlpha than the loss sums with is refused by the pair’s id', async () => {
  const pairs = toyPairs(2, 6);
  const policy = toyPolicy(6, spread(36), spread(6));
  const plain = await precomputeReference({ policy, pairs });
  const half = await precomputeReference({ policy, pairs, ldAlpha: 0.5 });
  const loss = preferencePairLoss({ ldAlpha: 0.5 });
  await expect(evaluate({ policy, pairs, reference: plain, loss })).rejects.toThrow(
    'pair "pair-0": the reference\'s log-probs were summed with ldAlpha 1, but the loss has ldAlpha 0.5.',
  );
  const mixed = [half[0]!, plain[1]!];
  await expect(evaluate({ policy, pairs, reference: mixed, loss })).rejects.toThrow('pair "pair-1"');
  await expect(evaluate({ policy, pairs, reference: half, loss: wpoPairLoss() })).rejects.toThrow(
    'with ldAlpha 0.5, but the loss has ldAlpha 1',
  );
  const whole = preferencePairLoss({ ldAlpha: 1 });
  expect(await evaluate({ policy, pairs, reference: plain, loss: whole })).not.toBeNull();
});

test('a loss of the policy alone is given no reference, and asks none', async () => {
  const pairs = toyPairs(3, 6);
  const policy = toyPolicy(6, spread(36), spread(6));
  const asked = () => {
    throw new Error('asked');
  };
  for (const lossType of ['sft', 'simpo', 'cpo', 'orpo']) {
    const loss = preferencePairLoss({ lossType });
    const alone = await evaluate({ policy, pairs, loss });
    expect(alone!.eval_loss).toBeGreaterThan(0);
    expect(await evaluate({ policy, pairs, loss, reference: asked })).toEqual(alone);
  }
  await expect(evaluate({ policy, pairs, loss: wpoPairLoss() })).rejects.toThrow(
    'there is no reference, and the loss looks at one: give `reference`',
  );
});

test('log-probs above 0 by more than rounding are refused: the policy’s and the reference’s', async () => {
  const pairs = toyPairs(1, 6);
  const policy = toyPolicy(6, spread(36), spread(6));
  const reference = [{ chosen: 3, rejected: -1 }];
  await expect(evaluate({ policy, pairs, reference, loss: wpoPairLoss() })).rejects.toThrow(
    'pair "pair-0": the reference\'s log-probs are 3 (chosen) and -1 (rejected), but a log-prob is at most 0',
  );
  // logits in the place of their log_softmax
  const loss = preferencePairLoss({ lossType: 'sft', useWeighting: false });
  const logits = {
    ...policy,
    forward: (...args: Parameters<typeof policy.forward>) => {
      const forward = policy.forward(...args);
      const raised = forward.pairs.map((pair) => ({
        ...pair,
        rejected: { ...pair.rejected, logps: tf.add(pair.rejected.logps, 9) as tf.Tensor1D },
      }));
      return { ...forward, pairs: raised };
    },
  };
  await expect(evaluate({ policy: logits, pairs, loss })).rejects.toThrow(
    /the log-probs of pair "pair-0" are -\d.*but a log-prob/,
  );
});
