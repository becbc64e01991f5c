import { fc, test as property } from '@fast-check/vitest';
import * as tf from '@tensorflow/tfjs';
import { describe, expect, test, vi } from 'vitest';
import {
  adamW,
  type MicroBatch,
  NonFiniteError,
  type Optimizer,
  type PairLoss,
  type Policy,
  runMicroBatch,
  type StepOptions,
  step,
  wpoPairLoss,
} from '../src';
import { StepStopped } from '../src/errors';
import { readState, spread, toyOffload, toyPairs, toyPolicy } from './toy-policy';

const VOCAB = 7;
const newPolicy = () => toyPolicy(VOCAB, spread(VOCAB * VOCAB), spread(VOCAB, 0.5));

const references = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ chosen: -5 - (i % 3), rejected: -6 + (i % 2) }));

function cut(count: number, sizes: readonly number[]): MicroBatch[] {
  const pairs = toyPairs(count, VOCAB);
  let start = 0;
  return sizes.map((size) => {
    const batch = { pairs: pairs.slice(start, start + size), references: references(count).slice(start, start + size) };
    start += size;
    return batch;
  });
}

/** An optimizer that records its input and changes nothing. */
function recorder() {
  const seen: { gradients: number[][]; learningRate: number; gradientScale: number }[] = [];
  const optimizer: Optimizer = {
    beginStep: (input) => (parameters) => optimizer.step({ ...input, parameters }),
    step({ parameters, learningRate, gradientScale }) {
      const gradients = parameters.map((parameter) => [
        ...((parameter.gradient() as tf.Tensor | null)?.dataSync() ?? []),
      ]);
      seen.push({ gradients, learningRate, gradientScale });
    },
    state: () => ({ step: seen.length, tensors: [] }),
    load: async () => {},
    dispose: () => {},
  };
  return { optimizer, seen };
}

const take = (microBatches: readonly MicroBatch[], more: Partial<StepOptions> = {}) =>
  step({
    policy: more.policy ?? newPolicy(),
    optimizer: recorder().optimizer,
    loss: wpoPairLoss({ beta: 0.5 }),
    learningRate: 0.1,
    maxGradNorm: 1,
    microBatches,
    ...more,
  });

test('the gradient equals that of the mean loss over all pairs, computed by tfjs through model and loss', async () => {
  const { optimizer, seen } = recorder();
  const policy = newPolicy();
  const { pairs } = await take(cut(3, [2, 1]), { policy, optimizer });
  const [table, bias] = policy.parameters.map((parameter) => parameter.value()) as [tf.Tensor2D, tf.Tensor1D];
  const weights = pairs.map((pair) => pair.weight);
  // mean of w · −log σ(β Δ), all in one graph
  const direct = tf.grads((table, bias) => {
    const answer = (prompt: number[], ids: number[]) => {
      const previous = [prompt.at(-1)!, ...ids.slice(0, -1)];
      const logps = tf.logSoftmax(tf.add(tf.gather(table, tf.tensor1d(previous, 'int32')), bias));
      return tf.sum(tf.mul(logps, tf.oneHot(tf.tensor1d(ids, 'int32'), VOCAB)));
    };
    const losses = toyPairs(3, VOCAB).map((pair, i) => {
      const [prompt, chosen, rejected] = [pair.prompt, pair.chosen, pair.rejected].map((ids) => Array.from(ids));
      const reference = references(3)[i]!;
      const delta = tf.sub(answer(prompt!, chosen!), answer(prompt!, rejected!));
      const margin = tf.mul(tf.sub(delta, reference.chosen - reference.rejected), 0.5);
      return tf.mul(tf.neg(tf.log(tf.sigmoid(margin))), weights[i]!);
    });
    return tf.mean(tf.stack(losses)) as tf.Scalar;
  })([table, bias]);
  for (const [i, gradient] of direct.entries()) {
    for (const [j, expected] of [...gradient.dataSync()].entries()) {
      expect(seen[0]!.gradients[i]![j]).toBeCloseTo(expected, 6);
    }
  }
});

property.prop([fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 4 })], { numRuns: 10 })(
  'micro-batches give the same result as one batch of all their pairs',
  async (sizes) => {
    const count = sizes.reduce((sum, size) => sum + size, 0);
    const [apart, together] = [recorder(), recorder()];
    const a = await take(cut(count, sizes), { optimizer: apart.optimizer });
    const b = await take(cut(count, [count]), { optimizer: together.optimizer });
    expect(a.gradNorm).toBeCloseTo(b.gradNorm, 6);
    expect(a.pairs.map((pair) => pair.id)).toEqual(b.pairs.map((pair) => pair.id));
    for (const [i, pair] of a.pairs.entries()) expect(pair.loss).toBeCloseTo(b.pairs[i]!.loss, 6);
    for (const [i, gradient] of apart.seen[0]!.gradients.entries()) {
      for (const [j, value] of gradient.entries()) expect(value).toBeCloseTo(together.seen[0]!.gradients[i]![j]!, 6);
    }
  },
);

test('the weight of a pair from the data multiplies its WPO weight and its loss', async () => {
  const [batch] = cut(2, [2]);
  const heavy = { ...batch!, pairs: batch!.pairs.map((pair, i) => (i === 1 ? { ...pair, weight: 3 } : pair)) };
  const plain = (await take([batch!])).pairs;
  const weighted = (await take([heavy])).pairs;
  expect(weighted[0]).toEqual(plain[0]);
  expect(weighted[1]!.weight).toBeCloseTo(3 * plain[1]!.weight, 6);
  expect(weighted[1]!.loss).toBeCloseTo(3 * plain[1]!.loss, 6);
});

test('the token count of a pair counts the prompt with each answer', async () => {
  const [batch] = cut(1, [1]);
  const { prompt, chosen, rejected } = batch!.pairs[0]!;
  expect((await take([batch!])).pairs[0]!.tokens).toBe(2 * prompt.length + chosen.length + rejected.length);
});

test('the optimizer gets the learning rate and the clipping factor, and gradients are zero afterwards', async () => {
  const { optimizer, seen } = recorder();
  const policy = newPolicy();
  const { gradNorm } = await take(cut(3, [3]), { policy, optimizer, learningRate: 0.125, maxGradNorm: 1e-3 });
  expect(seen[0]).toMatchObject({ learningRate: 0.125, gradientScale: 1e-3 / (gradNorm + 1e-6) });
  expect(policy.parameters.map((parameter) => parameter.gradient())).toEqual([null, null]);
});

test('a loss of the caller replaces the WPO loss', async () => {
  // −log π(y_w)
  const loss: PairLoss = (pairs) =>
    pairs.map(({ chosen, rejected }) => ({
      loss: -chosen.logps.reduce((sum, logp) => sum + logp, 0),
      weight: 1,
      chosenReward: 0,
      rejectedReward: 0,
      gradient: { chosen: chosen.logps.map(() => -1), rejected: rejected.logps.map(() => 0) },
    }));
  const { optimizer, seen } = recorder();
  const { pairs } = await take(cut(2, [2]), { loss, optimizer });
  expect(pairs[0]!.loss).toBeCloseTo(-pairs[0]!.chosenLogps, 5);
  expect(seen[0]!.gradients[0]!.some((value) => value !== 0)).toBe(true);
});

/** A policy whose gradient is NaN in each pass that contains the pair of this id. */
function poisoned(name: string): Policy {
  const policy = newPolicy();
  return {
    parameters: policy.parameters,
    async forward(pairs, options) {
      const forward = await policy.forward(pairs, options);
      const backward = async (dLogps: Float32Array) => {
        await forward.backward(dLogps);
        if (!pairs.some((pair) => pair.id === name)) return;
        const bias = policy.parameters[1]!;
        bias.assignGradient(tf.mul(bias.gradient()!, Number.NaN));
      };
      return { ...forward, backward };
    },
  };
}

test('a gradient that is not finite stops the step before the update, and the error names pair and parameter', async () => {
  const { optimizer, seen } = recorder();
  const policy = poisoned('pair-2');
  const run = take(cut(4, [2, 2]), { policy, optimizer, step: 9 });
  await expect(run).rejects.toMatchObject({ name: 'TrainingError', step: 9, pairId: 'pair-2' });
  await expect(run).rejects.toThrow(
    'step 9: pair "pair-2": expected a finite gradient, found norm NaN, first in "bias"',
  );
  await expect(run).rejects.toThrow('lower learning_rate');
  expect(seen).toEqual([]);
  expect(policy.parameters.map((parameter) => parameter.gradient())).toEqual([null, null]);
});

test('a norm that is not finite, though the gradient of each pair is, names the pairs of the step', async () => {
  const run = take(cut(2, [2]), { step: 3, computeNorm: async () => Number.POSITIVE_INFINITY });
  await expect(run).rejects.toThrow(
    'step 3: expected a finite gradient norm, found Infinity, though the gradient of each',
  );
  await expect(run).rejects.toThrow('"pair-0", "pair-1"');
});

test('a failed step leaves no tensor behind', async () => {
  const policy = poisoned('pair-2');
  const before = tf.memory().numTensors;
  await expect(take(cut(4, [2, 2]), { policy })).rejects.toThrow();
  const batch = { pairs: toyPairs(1, VOCAB), references: [{ chosen: Number.NaN, rejected: -1 }] };
  await expect(runMicroBatch({ policy, batch, loss: wpoPairLoss(), lossScale: 1 })).rejects.toThrow();
  expect(tf.memory().numTensors).toBe(before);
});

describe('with offloadGradients', () => {
  test('a step moves each gradient once it is complete, and clips by the norm of all', async () => {
    const after = async (more: Partial<StepOptions>) => {
      const [policy, optimizer] = [newPolicy(), adamW({ weightDecay: 0.1 })];
      const result = await take(cut(5, [2, 1, 2]), { policy, optimizer, maxGradNorm: 1e-3, ...more });
      expect(policy.parameters.map((parameter) => parameter.gradient())).toEqual([null, null]);
      expect(result.gradNorm).toBeGreaterThan(1e-3);
      return { values: policy.values(), pairs: result.pairs, norm: result.gradNorm };
    };
    const { offload, calls } = toyOffload();
    const [plain, moved] = [await after({}), await after({ offloadGradients: offload })];
    expect(calls).toEqual(['bias', 'table.weight', 'clear']);
    expect(moved.norm).toBeCloseTo(plain.norm, 6);
    expect(moved.pairs).toEqual(plain.pairs);
    for (const [name, values] of Object.entries(plain.values)) {
      moved.values[name]!.forEach((value, i) => expect(value).toBeCloseTo(values[i]!, 5));
    }
  });

  test('a pair whose gradient is not finite is named, and no weight is changed', async () => {
    const toy = newPolicy();
    const policy: Policy = {
      ...toy,
      forwardPacks(packs, options) {
        const gradientsReady: typeof options.gradientsReady = async (ready) => {
          const isPoisoned = packs.flat().some(({ id }) => id === 'pair-2');
          for (const p of ready) if (isPoisoned) p.assignGradient(tf.mul(p.gradient() as tf.Tensor, Number.NaN));
          await options.gradientsReady?.(ready);
        };
        return toy.forwardPacks!(packs, { ...options, gradientsReady });
      },
    };
    const before = toy.values();
    const { offload, calls } = toyOffload();
    const failed = take(cut(4, [2, 2]), { policy, step: 3, offloadGradients: offload });
    await expect(failed).rejects.toThrow(
      'step 3: pair "pair-2": expected a finite gradient, found norm NaN, first in "table.weight"',
    );
    expect(toy.values()).toEqual(before);
    expect(calls.at(-1)).toBe('clear');
  });
});

describe('with optimizerInBackward', () => {
  const inBackward = { maxGradNorm: 0, optimizerInBackward: true };

  test('a step changes weights and state as without, and frees each gradient after its update', async () => {
    const after = async (more: Partial<StepOptions>) => {
      const [policy, optimizer] = [newPolicy(), adamW({ weightDecay: 0.1 })];
      const results = [await take(cut(5, [2, 1, 2]), { policy, optimizer, maxGradNorm: 0, ...more })];
      results.push(await take(cut(3, [3]), { policy, optimizer, maxGradNorm: 0, ...more }));
      expect(policy.parameters.map((parameter) => parameter.gradient())).toEqual([null, null]);
      const names = [...optimizer.state().tensors].map(({ name }) => name);
      return { values: policy.values(), names, state: await readState(optimizer), results };
    };
    const [plain, updated] = [await after({}), await after(inBackward)];
    for (const [i, { gradNorm }] of updated.results.entries()) {
      expect(gradNorm).toBeCloseTo(plain.results[i]!.gradNorm, 12);
    }
    const pairs = ({ results, ...rest }: typeof plain) => ({ ...rest, pairs: results.map((result) => result.pairs) });
    expect(pairs(updated)).toEqual(pairs(plain));
  });

  test('each parameter is updated before the next has its gradient reported', async () => {
    const { optimizer, seen } = recorder();
    await take(cut(3, [1, 2]), { optimizer, ...inBackward });
    expect(seen.map(({ gradients }) => gradients.map(({ length }) => length))).toEqual([[VOCAB], [VOCAB * VOCAB]]);
    expect(new Set(seen.map(({ gradientScale }) => gradientScale))).toEqual(new Set([1]));
  });

  /** The first parameter that is ready is "bias", the second "table.weight". */
  test.each([
    ['bias', 'No weight was changed.', 0],
    ['table.weight', 'Weights of later layers were changed, so this model is not saved.', 1],
  ])('a gradient of "%s" that is not finite ends the step', async (name, message, updates) => {
    const { optimizer, seen } = recorder();
    const toy = newPolicy();
    const policy: Policy = {
      ...toy,
      async forwardPacks(packs, options) {
        const gradientsReady: typeof options.gradientsReady = async (parameters) => {
          for (const p of parameters) {
            if (p.name === name) p.assignGradient(tf.mul(p.gradient() as tf.Tensor, Number.NaN));
          }
          await options.gradientsReady?.(parameters);
        };
        return toy.forwardPacks!(packs, { ...options, gradientsReady });
      },
    };
    const failed = take(cut(2, [1, 1]), { policy, optimizer, step: 4, ...inBackward });
    const start = `step 4: pairs "pair-0", "pair-1": expected a finite gradient, found norm NaN, first in "${name}".`;
    await expect(failed).rejects.toThrow(`${start} ${message}`);
    await failed.catch((error) => expect(error instanceof NonFiniteError).toBe(updates === 0));
    expect(seen).toHaveLength(updates);
    expect(policy.parameters.map((parameter) => parameter.gradient())).toEqual([null, null]);
  });

  test('a loss that is not finite names its pair, and no weight has changed', async () => {
    const { optimizer, seen } = recorder();
    const loss: PairLoss = async (pairs) =>
      (await wpoPairLoss({ beta: 0.5 })(pairs)).map((result, i) =>
        pairs[i]!.id === 'pair-2' ? { ...result, loss: Number.NaN } : result,
      );
    await expect(take(cut(3, [1, 1, 1]), { optimizer, loss, ...inBackward })).rejects.toMatchObject({
      pairId: 'pair-2',
    });
    expect(seen).toEqual([]);
  });

  test('a signal gives the step up before the first update, and not after it', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    try {
      for (const [abortAt, updates] of [
        ['terms', 0],
        ['update', 2],
      ] as const) {
        const { optimizer, seen } = recorder();
        const signal = { aborted: false };
        const policy = newPolicy();
        const abort = (at: string) => {
          signal.aborted ||= at === abortAt;
          vi.advanceTimersByTime(1000); // a pause checks the signal twice a second
        };
        const pausing: Policy = {
          ...policy,
          forwardPacks: async (packs, { pause, gradientsReady, ...rest }) => {
            abort('terms');
            await pause?.();
            return policy.forwardPacks!(packs, {
              ...rest,
              async gradientsReady(parameters) {
                await gradientsReady?.(parameters);
                abort('update');
                await pause?.();
              },
            });
          },
        };
        const run = take(cut(2, [1, 1]), { policy: pausing, optimizer, signal, ...inBackward });
        if (updates === 0) await expect(run).rejects.toThrow(StepStopped);
        else await run;
        expect(seen).toHaveLength(updates);
      }
    } finally {
      vi.useRealTimers();
    }
  });
});
