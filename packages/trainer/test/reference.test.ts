import '@tensorflow/tfjs';
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

test('the log-probs of the policy before training are the reference log-probs of PyTorch', async () => {
  const found = await precomputeReference({ policy, pairs: golden.pairs, batchSize: 4 });
  expect(found).toHaveLength(10);
  for (const [i, { chosen, rejected }] of golden.reference.entries()) {
    expect(found[i]!.chosen).toBeCloseTo(chosen, 5);
    expect(found[i]!.rejected).toBeCloseTo(rejected, 5);
  }
});

test('cached values are not recomputed, and a stopped run continues the cache', async () => {
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

test('log-probs that are not finite are rejected, and the error names the pair', async () => {
  const broken = toyPolicy(
    golden.vocab,
    golden.table,
    golden.bias.map(() => Number.NaN),
  );
  await expect(referenceLogps(broken, toyPairs(2, 5))).rejects.toThrow(
    /pair "pair-0": expected finite reference log-probs, found .*NaN/,
  );
});

test('a policy equal to its reference has margins of 0', async () => {
  const pairs = toyPairs(5, 6);
  const policy = toyPolicy(6, spread(36), spread(6));
  const reference = await precomputeReference({ policy, pairs });
  const found = (await evaluate({ policy, pairs, reference, loss: wpoPairLoss({ beta: 0.1 }), batchSize: 2 }))!;
  expect(found['eval_rewards/margins']).toBeCloseTo(0, 6);
  expect(found.eval_loss).toBeCloseTo(Math.LN2 * found['eval_wpo/weight']!, 6);
});

test('a reference without all pairs is rejected, and the error names the first missing pair', async () => {
  const options = { policy, pairs: golden.pairs, loss: wpoPairLoss() };
  await expect(evaluate({ ...options, reference: golden.reference.slice(0, 4) })).rejects.toThrow(
    'none for pair "pair-4"',
  );
  await expect(evaluate({ ...options, reference: () => [] })).rejects.toThrow(
    'expected log-probs of 1 pairs in their order, found 0',
  );
});

test('an aborted signal stops an evaluation between batches', async () => {
  const signal = { aborted: true };
  expect(
    await evaluate({ policy, pairs: golden.pairs, reference: golden.reference, loss: wpoPairLoss(), signal }),
  ).toBeNull();
});

test('an evaluation without pairs is rejected', async () => {
  const none = evaluate({ policy, pairs: [], reference: [], loss: wpoPairLoss() });
  await expect(none).rejects.toThrow('expected at least one pair, found none');
});

test('a reference for LD-DPO multiplies tokens past the shared length by α, and records α', async () => {
  const pairs = toyPairs(3, 6); // answers of 1 and 1, 6 and 4, 5 and 2 tokens
  const policy = toyPolicy(6, spread(36), spread(6));
  const forward = await policy.forward(pairs, { train: false });
  const sum = (logps: ArrayLike<number>, shared: number) =>
    Array.from(logps).reduce((total, logp, t) => total + (t < shared ? 1 : 0.25) * logp, 0);
  const { logps } = await forward.terms();
  forward.dispose();
  let end = 0;
  const expected = pairs.map(({ chosen, rejected }) => {
    const shared = Math.min(chosen.length, rejected.length);
    const next = (length: number) => {
      end += length;
      return expect.closeTo(sum(logps.subarray(end - length, end), shared), 5);
    };
    return { chosen: next(chosen.length), rejected: next(rejected.length), ldAlpha: 0.25 };
  });
  expect(await precomputeReference({ policy, pairs, ldAlpha: 0.25 })).toEqual(expected);

  // the policy equals its reference: every loss is ln 2
  const reference = await precomputeReference({ policy, pairs, ldAlpha: 0.25 });
  const loss = preferencePairLoss({ ldAlpha: 0.25, useWeighting: false });
  const found = (await evaluate({ policy, pairs, reference, loss, batchSize: 2 }))!;
  expect(found['eval_rewards/margins']).toBe(0);
  expect(found.eval_loss).toBeCloseTo(Math.LN2, 6);
});

test('a reference summed with another ldAlpha than the loss is rejected, and the error names the pair', async () => {
  const pairs = toyPairs(2, 6);
  const policy = toyPolicy(6, spread(36), spread(6));
  const plain = await precomputeReference({ policy, pairs });
  const half = await precomputeReference({ policy, pairs, ldAlpha: 0.5 });
  const loss = preferencePairLoss({ ldAlpha: 0.5 });
  await expect(evaluate({ policy, pairs, reference: plain, loss })).rejects.toThrow(
    'pair "pair-0": expected reference log-probs summed with ldAlpha 0.5, as the loss sums, found ldAlpha 1',
  );
  const mixed = [half[0]!, plain[1]!];
  await expect(evaluate({ policy, pairs, reference: mixed, loss })).rejects.toThrow('pair "pair-1"');
  await expect(evaluate({ policy, pairs, reference: half, loss: wpoPairLoss() })).rejects.toThrow(
    'with ldAlpha 1, as the loss sums, found ldAlpha 0.5',
  );
  const whole = preferencePairLoss({ ldAlpha: 1 });
  expect(await evaluate({ policy, pairs, reference: plain, loss: whole })).not.toBeNull();
});

test('a reference-free loss does not run the reference', async () => {
  const pairs = toyPairs(3, 6);
  const policy = toyPolicy(6, spread(36), spread(6));
  const reference = () => {
    throw new Error('called');
  };
  for (const lossType of ['sft', 'simpo', 'cpo', 'orpo']) {
    const loss = preferencePairLoss({ lossType });
    const alone = await evaluate({ policy, pairs, loss });
    expect(alone!.eval_loss).toBeGreaterThan(0);
    expect(await evaluate({ policy, pairs, loss, reference })).toEqual(alone);
  }
  await expect(evaluate({ policy, pairs, loss: wpoPairLoss() })).rejects.toThrow(
    'expected `reference`, found none: the loss needs it',
  );
});

test('log-probs above 0 by more than rounding are rejected, of the policy and of the reference', async () => {
  const pairs = toyPairs(1, 6);
  const policy = toyPolicy(6, spread(36), spread(6));
  const reference = [{ chosen: 3, rejected: -1 }];
  await expect(evaluate({ policy, pairs, reference, loss: wpoPairLoss() })).rejects.toThrow(
    'pair "pair-0": expected reference log-probs of at most 0, found 3 (chosen) and -1 (rejected)',
  );
  // logits instead of log_softmax of the logits
  const loss = preferencePairLoss({ lossType: 'sft', useWeighting: false });
  const logits = {
    ...policy,
    forward: async (...args: Parameters<typeof policy.forward>) => {
      const forward = await policy.forward(...args);
      const terms = async () => {
        const { logps, ...others } = await forward.terms();
        return { ...others, logps: logps.map((logp) => logp + 9) };
      };
      return { ...forward, terms };
    },
  };
  await expect(evaluate({ policy: logits, pairs, loss })).rejects.toThrow(
    /pair "pair-0": the policy's log-probs are invalid: .*log_softmax/,
  );
});

test.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])(
  'a batch size of %d is refused and does not loop',
  async (batchSize) => {
    const { pairs } = golden;
    const message = 'batchSize: expected an integer';
    await expect(precomputeReference({ policy, pairs, batchSize })).rejects.toThrow(message);
    await expect(evaluate({ policy, pairs, reference: [], loss: wpoPairLoss(), batchSize })).rejects.toThrow(message);
  },
);
