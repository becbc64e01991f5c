import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { type Gemma2Config, gemmaPolicy, parametersOf, type TensorLoader } from '@wpo/gemma';
import { storedBytes } from '@wpo/tensorflow/kernels';
import { type Group, preferencePairLoss, type StepOptions, step, type TokenPair } from '@wpo/trainer';
import { expect, test } from 'vitest';
import { randomModel } from '../../gemma/test/models';
import { localGroups, onRanks } from '../../trainer/test/local-groups';
import { nativeGradientNorm, nativeOptimizer } from '../src/kernels/optimizer';
import { program } from '../src/kernels/program';
import { SplitVariable, StoredVariable } from '../src/kernels/store';
import { optimizers } from './optimizers';
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

const loaderOf =
  (held: 'exact' | 'stochastic'): TensorLoader =>
  async (source, name) => {
    const { shape } = source.info(name);
    const values = (await source.read(name)) as Float32Array;
    if (shape.length === 1) return tf.tensor(values, [...shape]);
    const stored =
      held === 'exact' ? SplitVariable.splitZeros(shape, program) : StoredVariable.zeros(shape, 'bfloat16', program);
    stored.write(0, values);
    return stored;
  };

/** Three steps of a rank: its weights, the bytes of its state, and the norms of gradients. */
async function train(
  group: Group,
  { optim, held }: { optim: keyof typeof optimizers; held: 'float32' | 'exact' | 'stochastic' },
  more: Pick<StepOptions, 'maxGradNorm' | 'sharding'>,
) {
  const kernels = nativeTier.kernels();
  const model = await randomModel(config, 3, kernels, held === 'float32' ? undefined : loaderOf(held));
  const policy = gemmaPolicy(model, { kernels });
  const optimizer = optimizers[optim]({ kernel: nativeOptimizer, weightDecay: 0.1 });
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

test.each([
  { optim: 'AdamW', held: 'float32' },
  { optim: 'AdamW', held: 'exact' },
  { optim: 'AdamW with 8-bit moments', held: 'float32' },
  { optim: 'AdamW with 8-bit moments', held: 'exact' },
  { optim: 'Lion', held: 'exact' },
] as const)(
  'native $optim of $held weights: zero1 has the bits of a run without, and divides the state',
  async (how) => {
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
      const [found] = await onRanks(localGroups(size), (group) => train(group, how, { ...clipped, sharding: 'zero1' }));
      for (const [i, x] of found!.weights.entries()) expect(Math.abs(x - expected!.weights[i]!)).toBeLessThan(1e-5);
    }
    expect(storedBytes().allocated).toBe(before);
  },
);

test('weights that are rounded at random are refused, and why', async () => {
  const errors = await onRanks(localGroups(2), (group) =>
    train(group, { optim: 'AdamW', held: 'stochastic' }, { maxGradNorm: 0, sharding: 'zero1' }).catch(
      (error: Error) => error.message,
    ),
  );
  expect(errors[0]).toMatch(
    /^sharding: zero1: "model\.[^"]+": expected float32 values, or bfloat16 with their low bits/,
  );
  expect(errors[1]).toBe(errors[0]);
});
