import { describe, expect, test } from 'vitest';
import {
  adamW,
  type CheckpointStore,
  type Group,
  type MetricsRow,
  NonFiniteError,
  type PairLoss,
  precomputeReference,
  type StepOptions,
  step,
  type TrainOptions,
  train,
  wpoPairLoss,
} from '../src';
import { divideWork, shareOf } from '../src/data-parallel';
import { localGroups, onRanks } from './local-groups';
import { spread, toyOffload, toyPairs, toyPolicy } from './toy-policy';
import { trainWith } from './train-with';

const VOCAB = 7;

/** Ten pairs in steps of four micro-batches of one pair: the third step has two. */
async function toyTraining(group: Group | undefined, more: Partial<TrainOptions> = {}) {
  const policy = toyPolicy(VOCAB, spread(VOCAB * VOCAB), spread(VOCAB, 0.5));
  const optimizer = adamW();
  const pairs = toyPairs(10, VOCAB);
  const reference = await precomputeReference({ policy, pairs, ...(group && { group }) });
  const rows: MetricsRow[] = [];
  const options = {
    ...{ policy, optimizer, pairs, reference, group },
    loss: wpoPairLoss({ beta: 0.5 }),
    order: (epoch: number) => pairs.map((_, i) => (i * 3 + epoch * 7) % 10),
    ...{ learningRate: 0.05, gradientAccumulationSteps: 4, epochs: 2, loggingSteps: 1, maxGradNorm: 0.1 },
    evaluation: { pairs: pairs.slice(0, 7), reference: reference.slice(0, 7), batchSize: 2 },
    evalSteps: 3,
    metrics: { write: (row: MetricsRow) => void rows.push(row) },
    ...more,
  };
  const events: string[] = [];
  const result = await trainWith(options, (event) => {
    events.push(event.type === 'warning' ? event.message : event.type);
  });
  return {
    result,
    rows: rows.map(({ step_seconds, tokens_per_second, ...row }) => row),
    values: policy.values(),
    events,
  };
}

const flat = (values: Record<string, number[]>) => Object.values(values).flat();
const distance = (a: readonly number[], b: readonly number[]) => Math.max(...a.map((x, i) => Math.abs(x - b[i]!)));

describe('work is divided', () => {
  test('the largest first, to the rank with the least so far, in increasing order', () => {
    expect(divideWork([5, 1, 4, 2, 3], 2)).toEqual([
      [0, 1, 3],
      [2, 4],
    ]);
    expect(divideWork([1, 9], 1)).toEqual([[0, 1]]);
    expect(divideWork([7], 3)).toEqual([[0], [], []]);
  });

  test('every micro-batch of a step to one rank, with the index of its first pair', () => {
    const pairs = toyPairs(5, VOCAB);
    const batches = [[0, 1], [2], [3, 4]].map((indices) => ({ pairs: indices.map((i) => pairs[i]!) }));
    const shares = [0, 1].map((rank) => shareOf(batches, { rank, size: 2 }));
    const all = shares.flatMap(({ batches, starts }) => batches.map((batch, i) => [starts[i], batch] as const));
    expect(all.toSorted((a, b) => a[0]! - b[0]!)).toEqual([
      [0, batches[0]],
      [2, batches[1]],
      [3, batches[2]],
    ]);
    expect(shareOf(batches, { rank: 3, size: 4 })).toEqual({ batches: [batches[0]], starts: [0], isSpare: true });
  });
});

describe.each([2, 3, 4])('%i ranks', (size) => {
  test.each([
    ['gradients at the end', {}],
    ['updates in the backward pass', { optimizerInBackward: true, maxGradNorm: 0 }],
    ['gradients that are offloaded', { offloaded: true }],
    ['packs', { maxTokensPerPack: 20 }],
  ])(
    'train as one process does: %s',
    async (_, { offloaded, ...more }: Partial<TrainOptions> & { offloaded?: boolean }) => {
      const offload = () => (offloaded ? { offloadGradients: toyOffload().offload } : {});
      const alone = await toyTraining(undefined, { ...more, ...offload() });
      const ranks = await onRanks(localGroups(size), (group) => toyTraining(group, { ...more, ...offload() }));
      expect(ranks[0]!.result).toEqual(alone.result);
      expect(ranks[0]!.events).toEqual(alone.events);
      expect(ranks[0]!.rows).toHaveLength(alone.rows.length);
      for (const [i, row] of alone.rows.entries()) {
        expect(Object.keys(ranks[0]!.rows[i]!)).toEqual(Object.keys(row));
        expect(distance(Object.values(ranks[0]!.rows[i]!), Object.values(row))).toBeLessThan(1e-4);
      }
      expect(distance(flat(ranks[0]!.values), flat(alone.values))).toBeLessThan(1e-5);
      for (const { rows, result, values } of ranks.slice(1)) {
        expect(rows).toEqual([]); // only rank 0 writes
        expect(result).toEqual(ranks[0]!.result);
        expect(values).toEqual(ranks[0]!.values); // to the bit
      }
    },
  );
});

const take = (group: Group | undefined, more: Partial<StepOptions> = {}) => {
  const pairs = toyPairs(3, VOCAB);
  return step({
    policy: toyPolicy(VOCAB, spread(VOCAB * VOCAB), spread(VOCAB, 0.5)),
    optimizer: adamW(),
    loss: wpoPairLoss({ beta: 0.5 }),
    ...{ learningRate: 0.1, maxGradNorm: 1, step: 4, group },
    microBatches: pairs.map((pair) => ({ pairs: [pair], references: [{ chosen: -5, rejected: -6 }] })),
    ...more,
  });
};

/** A policy with a gradient of NaN in the passes of a pair. */
function nanGradient(id: string) {
  const toy = toyPolicy(VOCAB, spread(VOCAB * VOCAB), spread(VOCAB, 0.5));
  const before = toy.values();
  return {
    before,
    policy: {
      ...toy,
      async forward(...[pairs, options]: Parameters<typeof toy.forward>) {
        const pass = await toy.forward(pairs, options);
        const factor = pairs.some((pair) => pair.id === id) ? Number.NaN : 1;
        return { ...pass, backward: (d: Float32Array) => pass.backward(d.map((x) => x * factor)) };
      },
    },
  };
}

describe('a fault on one rank', () => {
  test('in a loss names its pair on every rank, and no rank changes a weight', async () => {
    const loss: PairLoss = async (pairs) =>
      (await wpoPairLoss({ beta: 0.5 })(pairs)).map((result, i) =>
        pairs[i]!.id === 'pair-1' ? { ...result, loss: Number.NaN } : result,
      );
    const errors = await onRanks(localGroups(3), async (group) => {
      const toy = toyPolicy(VOCAB, spread(VOCAB * VOCAB), spread(VOCAB, 0.5));
      const before = toy.values();
      const error = await take(group, { loss, policy: toy }).catch((error: unknown) => error);
      expect(toy.values()).toEqual(before);
      return error;
    });
    for (const error of errors) {
      expect(error).toBeInstanceOf(NonFiniteError);
      expect(error).toMatchObject({ pairId: 'pair-1', step: 4 });
    }
  });

  test('in a gradient names its pair on every rank', async () => {
    const errors = await onRanks(localGroups(2), async (group) => {
      const { policy, before } = nanGradient('pair-2');
      const error = await take(group, { policy }).catch((error: Error) => error.message);
      expect(policy.values()).toEqual(before);
      return error;
    });
    expect(errors[0]).toContain(
      'step 4: pair "pair-2": expected a finite gradient, found norm NaN, first in "table.weight"',
    );
    expect(errors[1]).toBe(errors[0]);
  });

  test('is skipped by all ranks with skipNonfinite, and training continues', async () => {
    const loss: PairLoss = async (pairs) =>
      (await wpoPairLoss({ beta: 0.5 })(pairs)).map((result, i) =>
        pairs[i]!.id === 'pair-3' ? { ...result, loss: Number.NaN } : result,
      );
    const more = { loss, skipNonfinite: 2, evalSteps: 0 } as const;
    const alone = await toyTraining(undefined, more);
    const ranks = await onRanks(localGroups(2), (group) => toyTraining(group, more));
    expect(alone.result.skippedSteps).toBe(2);
    for (const { result } of ranks) expect(result).toEqual(alone.result);
  });

  test('while rank 0 saves ends all ranks with its error', async () => {
    const checkpoints: CheckpointStore = {
      save: async () => {
        throw new Error('the disk is full');
      },
      list: async () => [],
    };
    const errors = await onRanks(localGroups(2), (group) =>
      toyTraining(group, { checkpoints, saveSteps: 1 }).catch((error: Error) => error.message),
    );
    expect(errors).toEqual(['the disk is full', 'the disk is full']);
  });
});

test('ranks with other settings are refused before the first step', async () => {
  const errors = await onRanks(localGroups(2), (group) =>
    toyTraining(group, { learningRate: group.rank === 0 ? 0.05 : 0.04 }).catch((error: Error) => error.message),
  );
  expect(errors[0]).toMatch(
    /^rank 1: learning_rate: expected the value of rank 0, 0.05, found 0.04. All ranks must have/,
  );
  expect(errors[1]).toBe(errors[0]);
});

test('a stop that all ranks see between the same collectives saves at the same step', async () => {
  const saved: number[] = [];
  const checkpoints: CheckpointStore = {
    save: async ({ state }) => void saved.push(state.step),
    list: async () => [],
  };
  const stop = { aborted: false };
  const ranks = await onRanks(localGroups(2), async (group) => {
    const policy = toyPolicy(VOCAB, spread(VOCAB * VOCAB), spread(VOCAB, 0.5));
    const pairs = toyPairs(10, VOCAB);
    const reference = pairs.map(() => ({ chosen: -5, rejected: -6 }));
    let own = false;
    const signal = {
      get aborted() {
        return own;
      },
    };
    const shared: Group = {
      ...group,
      async allReduce(values, what) {
        await group.allReduce(values, what);
        own ||= stop.aborted; // as a group shares it
      },
    };
    const run = train({
      policy,
      optimizer: adamW(),
      pairs,
      reference,
      learningRate: 0.05,
      checkpoints,
      group: shared,
      signal,
    });
    for await (const event of run) if (event.type === 'step' && event.step === 3) stop.aborted = true;
    return run;
  });
  expect(ranks.map(({ step, stopped }) => ({ step, stopped }))).toEqual([
    { step: 4, stopped: true },
    { step: 4, stopped: true },
  ]);
  expect(saved).toEqual([4]);
});
