import { createHash } from 'node:crypto';
import * as tf from '@tensorflow/tfjs-core';
import {
  type ActivationOffload,
  adapted,
  blockParameters,
  type Gemma2Config,
  gemmaPolicy,
  type Kernels,
  parametersOf,
  type Value,
} from '@wpo/gemma';
import { offloadedActivations, offloadedGradients, offloadedOptimizer, storedBytes } from '@wpo/tensorflow/kernels';
import {
  type GradientOffload,
  type OptimizerKernel,
  type Parameter,
  preferencePairLoss,
  type RuleOptimizer,
  step,
  type TokenPair,
} from '@wpo/trainer';
import { expect, test, vi } from 'vitest';
import { randomModel } from '../../gemma/test/models';
import { nativeGradientNorm, nativeOptimizer } from '../src/kernels/optimizer';
import { Program, program } from '../src/kernels/program';
import type { StoredVariable } from '../src/kernels/store';
import { optimizers } from './optimizers';
import { storedLoader } from './stored-loader';
import { nativeBf16Tier, nativeTier, type Tier } from './tiers';

const config: Gemma2Config = {
  ...{ vocabSize: 40, hiddenSize: 12, intermediateSize: 10, numHiddenLayers: 3 },
  ...{ numAttentionHeads: 2, numKeyValueHeads: 1, headDim: 4, queryPreAttnScalar: 4, slidingWindow: 4 },
  ...{ attnLogitSoftcapping: 50, finalLogitSoftcapping: 30, rmsNormEps: 0.1, ropeTheta: 10000 },
  layerTypes: ['sliding_attention', 'full_attention', 'sliding_attention'],
  ...{ maxPositionEmbeddings: 128, bosTokenId: 2, eosTokenId: [1], padTokenId: 0 },
};

const tokens = (length: number, seed: number) => Array.from({ length }, (_, i) => (seed * 31 + i * i * 7 + i) % 40);
const pairs: TokenPair[] = Array.from({ length: 3 }, (_, i) => ({
  id: `pair-${i}`,
  prompt: tokens(2 + i, i),
  chosen: tokens(3 + (i % 2), i + 9),
  rejected: tokens(2 + (i % 3), i + 5),
}));
const batchOf = (of: readonly TokenPair[]) => ({
  pairs: of,
  references: of.map(() => ({ chosen: -20, rejected: -18 })),
});
const microBatches = pairs.map((pair) => batchOf([pair]));

/** How weights are held, and what trains them. */
interface Case {
  readonly optim: keyof typeof optimizers;
  readonly held?: 'float32' | 'exact' | 'stochastic';
  readonly usesAdapter?: boolean;
  readonly tier?: Tier;
}

interface How {
  readonly kernel: () => OptimizerKernel;
  readonly gradients?: () => GradientOffload;
  readonly batches?: typeof microBatches;
}

const MAX_NORM = 1e-3;

const sizeOf = (shape: readonly number[]) => shape.reduce((size, n) => size * n, 1);

/** Three steps with clipping, the last after a restart: norms, weights and states. */
async function train({ optim, held = 'float32', usesAdapter = false, tier = nativeTier }: Case, how: How) {
  const kernels: Kernels = tier.kernels();
  const base = await randomModel(config, 3, kernels, held === 'float32' ? undefined : storedLoader(held));
  const model = usesAdapter ? adapted(base, { r: 2, targetModules: 'all-linear' }, { seed: 1, kernels }) : undefined;
  const policy = gemmaPolicy(model ?? base, { kernels, activationCheckpointing: 'always' });
  const make = () => optimizers[optim]({ kernel: how.kernel(), weightDecay: 0.1, roundingSeed: 4 });
  let optimizer: RuleOptimizer = make();
  const offloadGradients = how.gradients?.();
  const norms: number[] = [];
  const statesOf = async () =>
    Promise.all(
      [...optimizer.state().tensors].map(async (saved) => ({
        ...saved,
        values: (await saved.read(0, sizeOf(saved.shape))) as Float32Array,
      })),
    );
  for (let n = 1; n <= 3; n++) {
    if (n === 3) {
      const read = async ({ values, ...saved }: Awaited<ReturnType<typeof statesOf>>[number]) => ({
        ...saved,
        read: async (start: number, count: number) => values.subarray(start, start + count),
      });
      const state = {
        step: optimizer.state().step,
        tensors: await Promise.all((await statesOf()).map(read)),
      };
      optimizer.dispose();
      optimizer = make();
      await optimizer.load(state, policy.parameters);
    }
    const { gradNorm } = await step({
      ...{
        policy,
        optimizer,
        loss: preferencePairLoss({ useWeighting: false }),
        microBatches: how.batches ?? microBatches,
        step: n,
      },
      ...{ learningRate: 0.01, maxGradNorm: MAX_NORM, computeNorm: nativeGradientNorm, offloadGradients },
    });
    norms.push(gradNorm);
  }
  const weights = policy.parameters.map((p) => [
    ...((p.value() as StoredVariable).read(0, sizeOf(p.shape)) as Float32Array),
  ]);
  const states = (await statesOf()).map(({ name, values }) => [name, [...values]]);
  optimizer.dispose();
  offloadGradients?.dispose();
  model?.adapter.dispose();
  for (const one of parametersOf(base)) one.dispose();
  return { norms, weights, states };
}

/** Counts values whose copies to the GPU begin before the operations of a layer, and are waited for after them. */
function valuesCopiedBesideLayers() {
  let [layers, copied] = [0, 0];
  const begun = new Map<Value, number>(); // layers when a copy began, by its target
  const record = vi.spyOn(program, 'record').mockImplementation(function (this: Program, name, inputs, ...shapes) {
    if (name === 'WpoAttention') layers += 1;
    const [target] = inputs as Value[];
    if (name === 'WpoCopyFromPinned') begun.set(target!, layers);
    if (name === 'WpoWaitForCopies' && begun.has(target!) && begun.get(target!)! < layers)
      copied += sizeOf(target!.shape);
    return Program.prototype.record.call(this, name, inputs, ...shapes);
  });
  return {
    stop() {
      record.mockRestore();
      return copied;
    },
  };
}

/** Gradients of a pass over all micro-batches that stay on the GPU. */
function residentGradients(): GradientOffload {
  const sums = new Map<string, StoredVariable>();
  const offloaded = (parameters: readonly Parameter[]) =>
    parameters.map((p) => ({ ...p, gradient: () => sums.get(p.name) ?? null }));
  let all: readonly Parameter[] = [];
  let norm = Number.NaN;
  return {
    async add(ready) {
      for (const p of ready) sums.set(p.name, (p.gradient() as StoredVariable).clone());
      all = [...all, ...ready];
      // in the order of the step's parameters
      norm = await nativeGradientNorm(offloaded(parametersInOrder(all)));
    },
    norm: () => norm,
    offloaded,
    clear() {
      for (const sum of sums.values()) sum.dispose();
      sums.clear();
      all = [];
    },
    dispose() {},
  };
}

/** Blocks are complete in reverse order; in a block, the order is that of the model. */
function parametersInOrder(ready: readonly Parameter[]): readonly Parameter[] {
  const rank = ({ name }: Parameter) =>
    name.includes('embed_tokens') ? -1 : Number(/layers\.(\d+)/.exec(name)?.[1] ?? 99);
  return [...ready].sort((a, b) => rank(a) - rank(b));
}

/** Tests of what is in memory of the CPU while a GPU computes. */
export function testOffload(): void {
  const cases: readonly (readonly [string, Case, 'gpu' | 'cpu'])[] = [
    ['AdamW with its state on the CPU', { optim: 'AdamW' }, 'cpu'],
    ['AdamW, passes in bfloat16', { optim: 'AdamW', tier: nativeBf16Tier }, 'cpu'],
    [
      '8-bit AdamW with its state on the CPU and exact master weights',
      { optim: 'AdamW with 8-bit moments', held: 'exact' },
      'cpu',
    ],
    ['Lion with stochastic rounding', { optim: 'Lion', held: 'stochastic' }, 'gpu'],
    ['Adafactor', { optim: 'Adafactor' }, 'gpu'],
    ['SGD', { optim: 'SGD' }, 'gpu'],
    ['an adapter', { optim: 'AdamW', usesAdapter: true }, 'gpu'],
  ];
  test.each(cases)('gradients in memory of the CPU give the bits of those on the GPU: %s', async (_, given, state) => {
    const before = [tf.memory().numTensors, storedBytes()];
    const offloaded = { kernel: () => offloadedOptimizer({ state, part: 256 }), gradients: offloadedGradients };
    const resident = await train(given, { kernel: () => nativeOptimizer, gradients: residentGradients });
    expect(await train(given, offloaded)).toEqual(resident);
    expect(Math.min(...resident.norms)).toBeGreaterThan(MAX_NORM); // they are clipped
    expect([tf.memory().numTensors, storedBytes()]).toEqual(before);
  });

  test('copies of an update run beside the next forward pass', async () => {
    const kernels = nativeTier.kernels();
    const model = await randomModel(config, 3, kernels);
    const policy = gemmaPolicy(model, { kernels, activationCheckpointing: 'always' });
    const optimizer = optimizers.AdamW({ kernel: offloadedOptimizer({ part: 256 }) });
    const offload = offloadedGradients();
    const batches = [...microBatches, ...microBatches, ...microBatches].slice(1); // one more than a layer has matrices
    const take = () =>
      step({
        ...{ policy, optimizer, loss: preferencePairLoss({ useWeighting: false }), learningRate: 0.01, maxGradNorm: 1 },
        ...{ microBatches: batches, offloadGradients: offload },
      });
    await take();
    const beside = valuesCopiedBesideLayers();
    await take();
    const copied = beside.stop();
    const valuesOf = (layer: number) =>
      blockParameters(model, layer).reduce((sum, { shape }) => sum + (shape.length === 1 ? 0 : sizeOf(shape)), 0);
    // gradient and moments of all matrices of the layers but those of the first, and the first one of the second, which are
    // copied beside the embedding
    const [first] = blockParameters(model, 1);
    expect(copied).toBe(3 * (valuesOf(1) - sizeOf(first!.shape) + valuesOf(2)));
    optimizer.dispose();
    offload.dispose();
    for (const one of parametersOf(model)) one.dispose();
  });

  test('with one micro-batch a step, they give the bits of a step without them', async () => {
    const batches = microBatches.slice(0, 1);
    const plain = await train({ optim: 'AdamW' }, { kernel: () => nativeOptimizer, batches });
    const kernel = () => offloadedOptimizer({ state: 'gpu', part: 256 });
    expect(await train({ optim: 'AdamW' }, { kernel, gradients: offloadedGradients, batches })).toEqual(plain);
  });

  test('the GPU holds gradients of the embedding and two blocks, and the CPU those of all', async () => {
    const kernels = nativeTier.kernels();
    const model = await randomModel(config, 3, kernels);
    const policy = gemmaPolicy(model, { kernels });
    const offload = offloadedGradients();
    const before = storedBytes();
    const held: number[] = [];
    const sizes: number[] = [];
    const optimizer = { ...optimizers.SGD({}), step() {} };
    const add: GradientOffload['add'] = async (ready) => {
      sizes.push(4 * ready.reduce((sum, { shape }) => sum + sizeOf(shape), 0));
      held.push(storedBytes().allocated - before.allocated);
      await offload.add(ready);
    };
    const how = {
      policy,
      optimizer,
      loss: preferencePairLoss({ useWeighting: false }),
      learningRate: 0.01,
      maxGradNorm: 1,
    };
    await step({ ...how, microBatches, offloadGradients: { ...offload, add } });
    // the block that is complete, the one before it, and the embedding, which is the last
    expect(held).toEqual(
      sizes.map((size, i) => size + (sizes[i - 1] ?? 0) + (i < sizes.length - 1 ? sizes.at(-1)! : 0)),
    );
    expect(storedBytes().pinned! - before.pinned!).toBe(sizes.reduce((sum, n) => sum + n));
    const failed = { ...optimizer, step: () => Promise.reject(new Error('stopped')) };
    await expect(step({ ...how, optimizer: failed, microBatches, offloadGradients: offload })).rejects.toThrow(
      'stopped',
    );
    offload.dispose();
    expect(storedBytes()).toEqual(before);
    for (const one of parametersOf(model)) one.dispose();
  });
}

/** A hash of a gradient: vitest takes minutes to show how long arrays differ. */
const hashOf = (parameter: Parameter) =>
  createHash('sha256')
    .update((parameter.gradient() as StoredVariable).read() as Float32Array)
    .digest('hex');

/** Packs of two passes. The second has more tokens, and fewer in its first pack. */
const passes = [
  [[pairs[0]!], [pairs[1]!, pairs[2]!]],
  [[pairs[1]!], [pairs[0]!], [pairs[2]!, pairs[1]!, pairs[0]!]],
];

/** Gradients of two passes, and after each forward pass the bytes of tensors on the GPU. */
async function gradientsOf(
  tier: Tier,
  how: { readonly activationBytes: number; readonly usesAdapter?: boolean; readonly offload?: ActivationOffload },
) {
  const kernels = tier.kernels();
  const base = await randomModel(config, 3, kernels);
  const model = how.usesAdapter
    ? adapted(base, { r: 2, targetModules: 'all-linear' }, { seed: 1, kernels })
    : undefined;
  const { activationBytes, offload: offloadActivations } = how;
  const policy = gemmaPolicy(model ?? base, { kernels, activationBytes, offloadActivations });
  const held: number[] = [];
  const gradients: string[] = [];
  for (const packs of [passes[0]!, passes[1]!, passes[0]!]) {
    const before = tf.memory().numBytes;
    const forwards = await policy.forwardPacks(packs, { train: true });
    program.run();
    held.push(tf.memory().numBytes - before);
    for (const forward of forwards) {
      const { logps } = await forward.terms();
      await forward.backward(logps.map((_, i) => Math.sin(i + 1)));
    }
    for (const forward of forwards) forward.dispose();
    for (const parameter of policy.parameters) {
      gradients.push(hashOf(parameter));
      parameter.zeroGradient();
    }
  }
  model?.adapter.dispose();
  for (const one of parametersOf(base)) one.dispose();
  return { held, gradients };
}

/** Tests of the inputs of layers in memory of the CPU while a GPU computes. */
export function testOffloadedActivations(): void {
  const cases = [
    ['float32', nativeTier, { activationBytes: 0 }],
    ['bfloat16', nativeBf16Tier, { activationBytes: 0 }],
    ['an adapter', nativeTier, { activationBytes: 0, usesAdapter: true }],
    ['some layers kept', nativeTier, { activationBytes: 6_000 }],
  ] as const;
  test.each(cases)('gradients have the bits of those with inputs on the GPU: %s', async (_, tier, how) => {
    const before = [tf.memory().numTensors, storedBytes()];
    const resident = await gradientsOf(tier, how);
    const offload = offloadedActivations();
    const offloaded = await gradientsOf(tier, { ...how, offload });
    expect(offloaded.gradients).toEqual(resident.gradients);
    expect(storedBytes().pinned! - (before[1] as ReturnType<typeof storedBytes>).pinned!).toBeGreaterThan(0);
    offload.dispose();
    expect([tf.memory().numTensors, storedBytes()]).toEqual(before);
    if (how.activationBytes > 0) return;
    // every input of a layer but the last one, whose copy nothing has waited for
    const tokensOf = (packs: (typeof passes)[number]) =>
      packs.map((pack) =>
        pack.reduce((n, { prompt, chosen, rejected }) => n + prompt.length + chosen.length + rejected.length, 0),
      );
    const bytesOf = (tokens: number) => 4 * tokens * config.hiddenSize;
    const sum = (values: readonly number[]) => values.reduce((total, n) => total + n, 0);
    const saved = [passes[0]!, passes[1]!, passes[0]!].map((packs) => {
      const bytes = tokensOf(packs).map(bytesOf);
      return config.numHiddenLayers * sum(bytes) - bytes[0]!; // the first pack runs last
    });
    expect(resident.held.map((bytes, i) => bytes - offloaded.held[i]!)).toEqual(saved);
  });

  test('a pass that is given up leaves nothing, and the next has the right values', async () => {
    const kernels = nativeTier.kernels();
    const model = await randomModel(config, 3, kernels);
    const before = [tf.memory().numTensors, storedBytes()];
    const offload = offloadedActivations();
    const policyOf = (offloadActivations?: ActivationOffload) =>
      gemmaPolicy(model, { kernels, activationBytes: 0, offloadActivations });
    const policy = policyOf(offload);
    const pass = async (of: typeof policy, pausesUntilError = Number.POSITIVE_INFINITY) => {
      let pauses = 0;
      const pause = async () => {
        if (++pauses > pausesUntilError) throw new Error('stopped');
      };
      const forward = await of.forward([pairs[1]!], { train: true, pause });
      const { logps } = await forward.terms();
      await forward.backward(logps.map(() => 1)).finally(() => forward.dispose());
      const gradients = of.parameters.map(hashOf);
      for (const parameter of of.parameters) parameter.zeroGradient();
      return gradients;
    };
    const expected = await pass(policyOf());
    (await policy.forward([pairs[1]!], { train: true })).dispose();
    for (const pauses of [1, 3, 6, 9]) await expect(pass(policy, pauses)).rejects.toThrow('stopped');
    for (const parameter of policy.parameters) parameter.zeroGradient();
    expect(await pass(policy)).toEqual(expected);
    offload.dispose();
    expect([tf.memory().numTensors, storedBytes()]).toEqual(before);
    for (const one of parametersOf(model)) one.dispose();
  });
}
