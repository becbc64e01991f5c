import * as tf from '@tensorflow/tfjs-core';
import { type Gemma2Config, gemmaPolicy, parametersOf } from '@wpo/gemma';
import { storedBytes } from '@wpo/tensorflow/kernels';
import {
  type Group,
  type OptimizerKernel,
  preferencePairLoss,
  type StepOptions,
  step,
  type TokenPair,
} from '@wpo/trainer';
import { expect, test } from 'vitest';
import { randomModel } from '../../gemma/test/models';
import { localGroups, onRanks } from '../../trainer/test/local-groups';
import { nativeGradientNorm } from '../src/kernels/optimizer';
import type { StoredVariable } from '../src/kernels/store';
import { optimizers } from './optimizers';
import { storedLoader } from './stored-loader';
import { nativeTier } from './tiers';

/** Its larger matrices have more values than the 4,096 from which moments have 8 bits. */
const config: Gemma2Config = {
  ...{ vocabSize: 200, hiddenSize: 48, intermediateSize: 96, numHiddenLayers: 2 },
  ...{ numAttentionHeads: 2, numKeyValueHeads: 1, headDim: 4, queryPreAttnScalar: 4, slidingWindow: 4 },
  ...{ attnLogitSoftcapping: 50, finalLogitSoftcapping: 30, rmsNormEps: 0.1, ropeTheta: 10000 },
  layerTypes: ['sliding_attention', 'full_attention'],
  ...{ maxPositionEmbeddings: 128, bosTokenId: 2, eosTokenId: [1], padTokenId: 0 },
};
const tokens = (length: number, seed: number) => Array.from({ length }, (_, i) => (seed * 31 + i * i * 7 + i) % 200);
const pairs: TokenPair[] = Array.from({ length: 4 }, (_, i) => ({
  id: `pair-${i}`,
  prompt: tokens(2 + i, i),
  chosen: tokens(3 + (i % 2), i + 9),
  rejected: tokens(2 + (i % 3), i + 5),
}));
const microBatches = pairs.map((pair) => ({ pairs: [pair], references: [{ chosen: -20, rejected: -18 }] }));

/** What trains, and how weights are held. */
interface Case {
  readonly optim: keyof typeof optimizers;
  readonly held: 'float32' | 'exact' | 'stochastic';
}

/** Three steps of a rank: its weights, the bytes of its state, and the norms of gradients. */
async function train(
  group: Group,
  { optim, held, kernel }: Case & { readonly kernel: OptimizerKernel },
  more: Pick<StepOptions, 'maxGradNorm' | 'sharding'>,
) {
  const kernels = nativeTier.kernels();
  const model = await randomModel(config, 3, kernels, held === 'float32' ? undefined : storedLoader(held));
  const policy = gemmaPolicy(model, { kernels });
  const optimizer = optimizers[optim]({ kernel, weightDecay: 0.1 });
  try {
    for (let n = 1; n <= 3; n++) {
      await step({
        ...{ policy, optimizer, loss: preferencePairLoss({ useWeighting: false }), microBatches, step: n, group },
        ...{ learningRate: 0.01, computeNorm: nativeGradientNorm, ...more },
      });
    }
    const stateValues = [...optimizer.state().tensors].reduce((sum, t) => sum + tf.util.sizeFromShape([...t.shape]), 0);
    const values = (p: (typeof policy.parameters)[number]) =>
      (p.value() as StoredVariable).read(0, tf.util.sizeFromShape([...p.shape])) as Float32Array;
    return { weights: policy.parameters.flatMap((p) => [...values(p)]), stateValues };
  } finally {
    optimizer.dispose();
    for (const one of parametersOf(model)) one.dispose();
  }
}

/** Tests of sharded training with the kernel of the optimizers. */
export function testSharding(makeKernel: () => OptimizerKernel, cases: readonly Case[]): void {
  test.each(cases)(
    '$optim of $held weights: zero1 has the bits of a run without, and divides the state',
    async (given) => {
      const how = { ...given, kernel: makeKernel() };
      const before = storedBytes().allocated;
      for (const size of [2, 3]) {
        const [whole] = await onRanks(localGroups(size), (group) => train(group, how, { maxGradNorm: 0 }));
        const ranks = await onRanks(localGroups(size), (group) =>
          train(group, how, { maxGradNorm: 0, sharding: 'zero1' }),
        );
        for (const { weights } of ranks) expect(weights).toEqual(whole!.weights);
        expect(ranks.reduce((sum, { stateValues }) => sum + stateValues, 0)).toBe(whole!.stateValues);
        expect(ranks[0]!.stateValues).toBeLessThan(whole!.stateValues * (size === 2 ? 0.6 : 0.5));
        const clipped = { maxGradNorm: 1e-3 };
        const [expected] = await onRanks(localGroups(size), (group) => train(group, how, clipped));
        const [found] = await onRanks(localGroups(size), (group) =>
          train(group, how, { ...clipped, sharding: 'zero1' }),
        );
        for (const [i, x] of found!.weights.entries()) expect(Math.abs(x - expected!.weights[i]!)).toBeLessThan(1e-5);
      }
      expect(storedBytes().allocated).toBeLessThanOrEqual(before); // less: a GPU's freed sums are kept for a while
    },
  );

  test('weights that are rounded at random are refused, and why', async () => {
    const errors = await onRanks(localGroups(2), (group) =>
      train(
        group,
        { optim: 'AdamW', held: 'stochastic', kernel: makeKernel() },
        { maxGradNorm: 0, sharding: 'zero1' },
      ).catch((error: Error) => error.message),
    );
    expect(errors[0]).toMatch(
      /^sharding: zero1: "model\.[^"]+": expected float32 values, or bfloat16 with their low bits/,
    );
    expect(errors[1]).toBe(errors[0]);
  });
}
