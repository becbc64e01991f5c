import * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import {
  adafactor,
  adamW,
  adamW8bit,
  type CheckpointStore,
  type Group,
  lion,
  NonFiniteError,
  type Optimizer,
  type PairLoss,
  type Policy,
  type SavedTensor,
  type TrainerState,
  type TrainOptions,
  train,
  wpoPairLoss,
} from '../src';
import { rangesOf } from '../src/sharding';
import { localGroups, onRanks } from './local-groups';
import { readState, saved, spread, toyPairs, toyPolicy } from './toy-policy';

/** A table of 4,900 values, enough for 8-bit moments, and a bias of 70, which one rank has. */
const VOCAB = 70;

/** A store in memory, which keeps copies. */
function memoryStore() {
  const files: { state: TrainerState; weights: SavedTensor[]; optimizer: SavedTensor[] }[] = [];
  const copies = async (tensors: Iterable<SavedTensor>) => {
    const read: SavedTensor[] = [];
    for (const { name, shape, type, read: values } of tensors) {
      const size = tf.util.sizeFromShape([...shape]);
      const numbers = new Float64Array(size);
      for (let at = 0; at < size; at += 1000) numbers.set(await values(at, Math.min(1000, size - at)), at);
      const whole = type === 'U8' ? Uint8Array.from(numbers) : Float32Array.from(numbers);
      read.push({ ...saved(name, shape, whole as Float32Array), type });
    }
    return read;
  };
  const store: CheckpointStore = {
    async save({ state, weights, optimizer }) {
      files.push({ state, weights: await copies(weights), optimizer: await copies(optimizer) });
    },
    list: async () =>
      [...files].reverse().map(({ state, weights, optimizer }) => ({
        step: state.step,
        name: `checkpoint-${state.step}`,
        open: async () => ({
          state,
          async *weights() {
            yield* weights;
          },
          async *optimizer() {
            yield* optimizer;
          },
        }),
      })),
  };
  const states = () =>
    files.map(({ optimizer }) =>
      Promise.all(
        optimizer.map(async (t) => ({ ...t, read: [...(await t.read(0, tf.util.sizeFromShape([...t.shape])))] })),
      ),
    );
  return { store, states };
}

async function toyTraining(group: Group | undefined, optimizer: Optimizer, more: Partial<TrainOptions> = {}) {
  const policy = toyPolicy(VOCAB, spread(VOCAB * VOCAB, 0.3), spread(VOCAB, 0.5));
  const pairs = toyPairs(12, VOCAB);
  const result = await train({
    ...{ policy, optimizer, pairs, group, reference: pairs.map(() => ({ chosen: -5, rejected: -6 })) },
    loss: wpoPairLoss({ beta: 0.5 }),
    ...{ learningRate: 0.05, gradientAccumulationSteps: 4, epochs: 2, maxGradNorm: 0 },
    ...more,
  });
  return { result, values: policy.values(), state: await readState(optimizer) };
}

const flat = (values: Record<string, number[]>) => Object.values(values).flat();
const distance = (a: readonly number[], b: readonly number[]) => Math.max(...a.map((x, i) => Math.abs(x - b[i]!)));

test('ranges begin at multiples of 256; the last ones may be empty', () => {
  expect(rangesOf(4900, 3)).toEqual([0, 1792, 3584, 4900]);
  expect(rangesOf(300, 3)).toEqual([0, 256, 300, 300]);
  expect(rangesOf(512, 1)).toEqual([0, 512]);
});

describe.each([1, 2, 3])('zero1 with %i ranks', (size) => {
  test.each([
    ['AdamW', () => adamW({ weightDecay: 0.1 })],
    ['AdamW with 8-bit moments', () => adamW8bit({ weightDecay: 0.1 })],
    ['Lion', () => lion()],
  ])('%s: weights have the bits of those without sharding, and a rank the state of its range', async (_, make) => {
    const whole = await onRanks(localGroups(size), (group) => toyTraining(group, make()));
    const ranks = await onRanks(localGroups(size), (group) => toyTraining(group, make(), { sharding: 'zero1' }));
    for (const [rank, { values, state }] of ranks.entries()) {
      expect(values).toEqual(whole[rank]!.values);
      const [start, end] = rangesOf(VOCAB * VOCAB, size).slice(rank) as [number, number];
      for (const [name, own] of Object.entries(state)) {
        const all = whole[rank]!.state[name]!;
        const scale = all.length === Math.ceil((VOCAB * VOCAB) / 256) ? 256 : 1;
        if (name.startsWith('table')) expect(own).toEqual(all.slice(Math.ceil(start / scale), Math.ceil(end / scale)));
        else expect(own).toEqual(all);
      }
      expect(Object.keys(state).some((name) => name.startsWith('bias'))).toBe(rank === 0);
    }
  });

  test('clipped gradients differ by rounding', async () => {
    const more = { maxGradNorm: 0.1 };
    const [whole] = await onRanks(localGroups(size), (group) => toyTraining(group, adamW(), more));
    const ranks = await onRanks(localGroups(size), (group) =>
      toyTraining(group, adamW(), { ...more, sharding: 'zero1' }),
    );
    for (const { values } of ranks) {
      expect(distance(flat(values), flat(whole!.values))).toBeLessThan(1e-5);
      expect(values).toEqual(ranks[0]!.values);
    }
  });

  test.each([
    ['AdamW', () => adamW()],
    ['AdamW with 8-bit moments', () => adamW8bit()],
  ])('%s: checkpoints are those without sharding, and continue with another number of ranks', async (_, make) => {
    const run = async (ranks: number, store: CheckpointStore, more: Partial<TrainOptions>) =>
      onRanks(localGroups(ranks), (group) => toyTraining(group, make(), { checkpoints: store, saveSteps: 2, ...more }));
    const [plain, sharded] = [memoryStore(), memoryStore()];
    await run(size, plain.store, { maxSteps: 4 });
    await run(size, sharded.store, { maxSteps: 4, sharding: 'zero1' });
    expect(await Promise.all(sharded.states())).toEqual(await Promise.all(plain.states()));
    const more = { maxSteps: 6, resume: true } as const;
    const [expected] = await run(2, plain.store, more);
    const [resumed] = await run(2, sharded.store, { ...more, sharding: 'zero1' });
    expect(resumed!.values).toEqual(expected!.values);
  });
});

test('a loss that is not finite is skipped by all ranks', async () => {
  const loss: PairLoss = async (pairs) =>
    (await wpoPairLoss({ beta: 0.5 })(pairs)).map((result, i) =>
      pairs[i]!.id === 'pair-3' ? { ...result, loss: Number.NaN } : result,
    );
  const ranks = await onRanks(localGroups(2), (group) =>
    toyTraining(group, adamW(), { loss, skipNonfinite: 2, sharding: 'zero1' }),
  );
  for (const { result } of ranks) expect(result.skippedSteps).toBe(2);
  const errors = await onRanks(localGroups(2), (group) =>
    toyTraining(group, adamW(), { loss, sharding: 'zero1' }).catch((error: unknown) => error),
  );
  for (const error of errors) {
    expect(error).toBeInstanceOf(NonFiniteError);
    expect(error).toMatchObject({ pairId: 'pair-3' });
  }
});

test('a gradient that is not finite names its pair on every rank, and no rank changes a weight', async () => {
  const errors = await onRanks(localGroups(2), async (group) => {
    const toy = toyPolicy(VOCAB, spread(VOCAB * VOCAB, 0.3), spread(VOCAB, 0.5));
    const before = toy.values();
    const policy: Policy = {
      ...toy,
      async forward(pairs, options) {
        const pass = await toy.forward(pairs, options);
        const factor = pairs.some(({ id }) => id === 'pair-2') ? Number.NaN : 1;
        return { ...pass, backward: (d) => pass.backward(d.map((x) => x * factor)) };
      },
    };
    const error = await toyTraining(group, adamW(), { policy, sharding: 'zero1' }).catch((error: unknown) => error);
    expect(toy.values()).toEqual(before);
    return error;
  });
  for (const error of errors) {
    expect(error).toBeInstanceOf(NonFiniteError);
    expect((error as Error).message).toMatch(
      /pair "pair-2": expected a finite gradient, found norm NaN, first in "table/,
    );
  }
});

test.each([0, 3])('a checkpoint that cannot be saved ends all ranks: after %i reads of the state', async (reads) => {
  const { store } = memoryStore();
  const failing: CheckpointStore = {
    ...store,
    async save({ optimizer }) {
      const tensors = [...optimizer];
      for (let i = 0; i < reads; i++) await tensors[0]!.read(i, 1);
      throw new Error('the disk is full');
    },
  };
  const errors = await onRanks(localGroups(3), (group) =>
    toyTraining(group, adamW(), { checkpoints: failing, saveSteps: 2, sharding: 'zero1' }).catch(
      (error: Error) => error.message,
    ),
  );
  expect(errors).toEqual(new Array(3).fill('the disk is full'));
});

test('Adafactor, and updates in the backward pass, are refused', async () => {
  const failure = (optimizer: Optimizer, more: Partial<TrainOptions>) =>
    onRanks(localGroups(2), (group) =>
      toyTraining(group, optimizer, { sharding: 'zero1', ...more }).catch((error: Error) => error.message),
    );
  expect((await failure(adafactor(), {}))[0]).toMatch(/^Adafactor: "table.weight": expected the whole parameter/);
  expect((await failure(adamW(), { optimizerInBackward: true }))[0]).toMatch(/found optimizerInBackward/);
  const unknown = await failure(adamW(), { sharding: 'zero9' as 'zero1' });
  expect(unknown[0]).toBe('sharding: expected none or zero1, found "zero9".');
});

test('no tensor is left', async () => {
  const before = tf.memory().numTensors;
  await onRanks(localGroups(2), async (group) => {
    const policy = toyPolicy(VOCAB, spread(VOCAB * VOCAB, 0.3), spread(VOCAB, 0.5));
    const optimizer = adamW();
    const pairs = toyPairs(4, VOCAB);
    const reference = pairs.map(() => ({ chosen: -5, rejected: -6 }));
    await train({ policy, optimizer, pairs, reference, learningRate: 0.05, group, sharding: 'zero1' });
    optimizer.dispose();
    policy.dispose();
  });
  expect(tf.memory().numTensors).toBe(before);
});
