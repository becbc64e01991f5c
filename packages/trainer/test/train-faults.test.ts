import * as tf from '@tensorflow/tfjs';
import { expect, test, vi } from 'vitest';
import {
  adamW,
  type Checkpoint,
  type CheckpointStore,
  type MetricsRow,
  type OpenCheckpoint,
  type Optimizer,
  type PairLoss,
  precomputeReference,
  preferencePairLoss,
  savedTensor,
  type TokenPair,
  type TrainOptions,
  wpoPairLoss,
} from '../src';
import { spread, toyPairs, toyPolicy } from './toy-policy';
import { trainWith } from './train-with';

const VOCAB = 11;

/** Checkpoints in memory. */
function memoryStore() {
  const saved = new Map<number, Checkpoint & { readonly copies: Map<string, tf.Tensor> }>();
  const kept: (readonly number[])[] = [];
  const open = (step: number): OpenCheckpoint => ({
    state: saved.get(step)!.state,
    async *weights() {
      for (const [name, tensor] of saved.get(step)!.copies) yield savedTensor(name, tensor);
    },
    async *optimizer() {},
  });
  const store: CheckpointStore = {
    async save(checkpoint) {
      const copies = new Map<string, tf.Tensor>();
      for (const tensor of checkpoint.weights) {
        const size = tensor.shape.reduce((product, n) => product * n, 1);
        copies.set(tensor.name, tf.tensor(await tensor.read(0, size), [...tensor.shape]));
      }
      saved.set(checkpoint.state.step, { ...checkpoint, copies });
      kept.push(checkpoint.keep ?? []);
    },
    list: async () =>
      [...saved.keys()]
        .sort((a, b) => b - a)
        .map((step) => ({ step, name: `checkpoint-${step}`, open: async () => open(step) })),
  };
  return { store, kept, steps: () => [...saved.keys()], weights: (step: number) => valuesOf(saved.get(step)!.copies) };
}

const valuesOf = (tensors: ReadonlyMap<string, tf.Tensor>) =>
  Object.fromEntries([...tensors].map(([name, tensor]) => [name, [...tensor.dataSync()]]));

/** A run on 16 pairs, 4 per step, whose reference is the initial model. */
async function run(more: Partial<TrainOptions> = {}) {
  const policy = toyPolicy(VOCAB, spread(VOCAB * VOCAB), spread(VOCAB, 0.5));
  const pairs = more.pairs ?? toyPairs(16, VOCAB);
  const reference = await precomputeReference({ policy, pairs });
  const rows: MetricsRow[] = [];
  const warnings: string[] = [];
  const options = {
    policy,
    pairs,
    reference,
    optimizer: adamW(),
    loss: wpoPairLoss({ beta: 0.5 }),
    learningRate: 0.01,
    gradientAccumulationSteps: 4,
    epochs: 5,
    loggingSteps: 1,
    metrics: { write: (row: MetricsRow) => void rows.push(row) },
    ...more,
  };
  const result = await trainWith(options, (event) => {
    if (event.type === 'warning') warnings.push(event.message);
  });
  return { policy, pairs, reference, rows, warnings, result };
}

/** AdamW with a learning rate that destroys the model from this step on. */
const destroyedFrom = (step: number): Optimizer => {
  const optimizer = adamW();
  let steps = 0;
  return {
    ...optimizer,
    step(input) {
      steps += 1;
      return optimizer.step({ ...input, learningRate: steps < step ? 0.01 : 30 });
    },
  };
};

const column = (rows: readonly MetricsRow[], name: string) => rows.map((row) => row[name]);

test('a healthy run has no warning', async () => {
  const { rows, warnings, result } = await run();
  expect(warnings).toEqual([]);
  expect(result.collapse).toBeNull();
  expect(new Set(column(rows, 'wpo/collapsed'))).toEqual(new Set([0]));
});

test('a run that destroys its model warns once, marks its metrics and says so in its result', async () => {
  const { rows, warnings, result } = await run({ optimizer: destroyedFrom(1) });
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toMatch(/^after step \d+ the model has collapsed: .* It has unlearned to write answers/);
  expect(result).toMatchObject({ step: 20, stopped: false, restoredStep: null });
  expect(result.collapse).toMatch(/fell/);
  expect(rows[0]!['wpo/collapsed']).toBe(0);
  expect(rows.at(-1)!['wpo/collapsed']).toBe(1);
});

test('stopOnCollapse ends with the last checkpoint that was judged healthy', async () => {
  const { store, kept, steps, weights } = memoryStore();
  const options = { optimizer: destroyedFrom(9), checkpoints: store, saveSteps: 1, stopOnCollapse: true };
  const { policy, result, rows, warnings } = await run(options);
  expect(result).toMatchObject({ step: 11, totalSteps: 20, stopped: true });
  // steps 10 and 11 make the window that shows the destruction by step 9; checkpoint 8 was judged by steps 8 and 9
  expect(result.restoredStep).toBe(8);
  expect(steps().at(-1)).toBe(10);
  expect(kept.at(-1)).toEqual([8]);
  expect(policy.values()).toEqual(weights(8));
  expect(rows.at(-1)).toMatchObject({ step: 11, 'wpo/collapsed': 1 });
  expect(warnings).toHaveLength(1);
});

test('a collapse before the first checkpoint restores nothing', async () => {
  const { result } = await run({ optimizer: destroyedFrom(1), stopOnCollapse: true });
  expect(result).toMatchObject({ stopped: true, restoredStep: null });
  expect(result.collapse).not.toBeNull();
});

test('a collapse is found in held-out pairs, and what was trained on until then is logged', async () => {
  const pairs = toyPairs(16, VOCAB);
  const reference = await precomputeReference({
    policy: toyPolicy(VOCAB, spread(VOCAB * VOCAB), spread(VOCAB, 0.5)),
    pairs,
  });
  const { rows, result } = await run({
    optimizer: destroyedFrom(1),
    gradientAccumulationSteps: 1,
    evaluation: { pairs, reference },
    evalOnStart: true,
    evalSteps: 2,
    loggingSteps: 10,
    stopOnCollapse: true,
  });
  expect(result).toMatchObject({ step: 2, stopped: true });
  expect(column(rows, 'step')).toEqual([0, 2, 2]);
  expect(rows[2]).toMatchObject({ 'wpo/collapsed': 1 });
});

/** The WPO loss, but NaN for the pairs of these ids. */
function lossWithout(ids: readonly string[]): PairLoss {
  const loss = wpoPairLoss({ beta: 0.5 });
  return async (pairs) =>
    (await loss(pairs)).map((result, i) => (ids.includes(pairs[i]!.id) ? { ...result, loss: Number.NaN } : result));
}

test('skipNonfinite leaves out that many steps, counts them, and stops at the next', async () => {
  const loss = lossWithout(['pair-5', 'pair-9']); // steps 2 and 3 of an epoch of 4 steps
  const { rows, result, warnings } = await run({ loss, epochs: 1, skipNonfinite: 2 });
  expect(result).toMatchObject({ step: 4, skippedSteps: 2 });
  expect(column(rows, 'step')).toEqual([1, 2, 3, 4]);
  expect(column(rows, 'skipped_steps')).toEqual([0, 1, 2, 2]);
  expect(Object.keys(rows[1]!)).not.toContain('loss');
  expect(rows[3]!.num_tokens! - rows[0]!.num_tokens!).toBe(rows[3]!.num_tokens! - rows[2]!.num_tokens!);
  expect(warnings[0]).toMatch(/^step 2: pair "pair-5": expected a finite loss, found NaN/);
  expect(warnings[0]).toContain('This step is skipped (1 of at most 2).');
  await expect(run({ loss, epochs: 2, skipNonfinite: 2 })).rejects.toMatchObject({ step: 6, pairId: 'pair-5' });
  await expect(run({ loss, epochs: 1 })).rejects.toMatchObject({ name: 'TrainingError', step: 2 });
});

test('a skipped step changes no weight and no moment', async () => {
  const all = toyPairs(16, VOCAB).map(({ id }) => id);
  const optimizer = adamW();
  const { policy, result } = await run({ loss: lossWithout(all), optimizer, epochs: 1, skipNonfinite: 4 });
  expect(result).toMatchObject({ step: 4, skippedSteps: 4, tokens: 0 });
  expect(policy.values()).toEqual(toyPolicy(VOCAB, spread(VOCAB * VOCAB), spread(VOCAB, 0.5)).values());
  expect(optimizer.state().step).toBe(0);
});

/** AdamW whose update of one step is not finite. */
const poisonedAt = (step: number, value: number): Optimizer => {
  const optimizer = adamW();
  let steps = 0;
  return {
    ...optimizer,
    step(input) {
      steps += 1;
      optimizer.step(input);
      const bias = input.parameters[1]!;
      if (steps === step) bias.assign(tf.tensor1d([value, ...spread(VOCAB - 1)]));
    },
  };
};

test.each([Number.NaN, Number.POSITIVE_INFINITY])(
  'a weight of %d is named and stops the next step, which is not skipped',
  async (value) => {
    const failed = run({ optimizer: poisonedAt(2, value), skipNonfinite: 10 });
    await expect(failed).rejects.toThrow('step 3: expected finite weights, found NaN or infinity in "bias".');
    await expect(failed).rejects.toThrow('Resume from the last checkpoint with a lower learning_rate.');
  },
);

test('a model with a weight that is not finite is not saved, at the end or before', async () => {
  for (const more of [{ maxSteps: 2 }, { saveSteps: 2 }]) {
    const { store, steps } = memoryStore();
    await expect(run({ optimizer: poisonedAt(2, Number.NaN), checkpoints: store, ...more })).rejects.toThrow(
      'step 2: expected finite weights, found NaN or infinity in "bias". This model is not saved.',
    );
    expect(steps()).toEqual([]);
  }
});

test('a model with a weight that is not finite is refused before the first step', async () => {
  const policy = toyPolicy(VOCAB, spread(VOCAB * VOCAB), [Number.NaN, ...spread(VOCAB - 1)]);
  const reference = toyPairs(16, VOCAB).map(() => ({ chosen: -3, rejected: -4 }));
  await expect(run({ policy, reference })).rejects.toThrow(
    'weights: expected finite numbers, found NaN or infinity in "bias" before the first step.',
  );
});

test('loadBestModelAtEnd gives the policy the checkpoint with the best evaluation, and keeps it', async () => {
  const evaluated = async (more: Partial<TrainOptions>) => {
    const { store, kept, weights } = memoryStore();
    const pairs = toyPairs(24, VOCAB);
    const held = pairs.slice(16);
    const reference = await precomputeReference({
      policy: toyPolicy(VOCAB, spread(VOCAB * VOCAB), spread(VOCAB, 0.5)),
      pairs: held,
    });
    const { policy, rows, result } = await run({
      pairs: pairs.slice(0, 16),
      optimizer: destroyedFrom(9),
      evaluation: { pairs: held, reference },
      evalOnStart: true,
      evalSteps: 2,
      saveSteps: 4,
      checkpoints: store,
      loadBestModelAtEnd: true,
      ...more,
    });
    // the destroyed model has the lowest loss, because its weights are 0: it is no candidate
    const saved = rows.filter((row) => row.eval_loss !== undefined && [4, 8].includes(row.step!));
    expect(rows.at(-1)!.eval_loss).toBeLessThan(1e-6);
    return { policy, result, saved, kept, weights };
  };
  const lowest = await evaluated({});
  const losses = column(lowest.saved, 'eval_loss') as number[];
  const best = lowest.saved[losses.indexOf(Math.min(...losses))]!;
  expect(lowest.result).toMatchObject({ step: 20, best: { step: best.step, value: best.eval_loss } });
  expect(lowest.result.restoredStep).toBe(best.step);
  expect(lowest.policy.values()).toEqual(lowest.weights(best.step!));
  expect(lowest.kept.at(-1)).toEqual([best.step]);

  const margins = await evaluated({ metricForBestModel: 'eval_rewards/margins' });
  const values = column(margins.saved, 'eval_rewards/margins') as number[];
  expect(margins.result.best!.value).toBe(Math.max(...values));
  const least = await evaluated({ metricForBestModel: 'rewards/margins', greaterIsBetter: false });
  expect(least.result.best!.value).toBe(Math.min(...values));
  await expect(evaluated({ metricForBestModel: 'accuracy' })).rejects.toThrow(
    'metric_for_best_model: expected one of eval_loss, eval_rewards/chosen',
  );
});

test.each([
  [{}, 'expected held-out pairs in `evaluation` with it, found none'],
  [
    { evaluation: { pairs: toyPairs(2, VOCAB) }, loss: preferencePairLoss({ lossType: 'sft' }) },
    'expected `checkpoints` with it',
  ],
  [
    {
      evaluation: { pairs: toyPairs(2, VOCAB) },
      loss: preferencePairLoss({ lossType: 'sft' }),
      checkpoints: memoryStore().store,
      evalSteps: 3,
      saveSteps: 4,
    },
    'expected saveSteps, the steps that can be loaded, to be a multiple of evalSteps 3 with it, found 4',
  ],
])('loadBestModelAtEnd is refused where nothing could be loaded %#', async (more, message) => {
  await expect(run({ loadBestModelAtEnd: true, ...more })).rejects.toThrow(message);
});

const first = toyPairs(1, VOCAB)[0]!;
const oneToken: TokenPair = { id: 'short', prompt: [1], chosen: [2], rejected: [3] };

test('answers of one token, a single pair, and more accumulation than pairs train on what there is', async () => {
  const { policy, pairs } = await run({ pairs: [oneToken], epochs: 0.5 });
  const { rows, result } = await run({ pairs, gradientAccumulationSteps: 16, epochs: 3, policy });
  expect(result).toMatchObject({ step: 3, totalSteps: 3, epoch: 3, tokens: 3 * 4 });
  expect(rows.at(-1)!['rewards/accuracies']).toBe(1);
  expect(rows.at(-1)!.loss).toBeLessThan(rows[0]!.loss!);
  const two = await run({ pairs: [first, oneToken], gradientAccumulationSteps: 100, batchSize: 64, epochs: 2 });
  expect(two.result).toMatchObject({ step: 2, totalSteps: 2, epoch: 2 });
});

test('a pair with equal answers has the loss of a tie and no gradient', async () => {
  const tie = { ...first, rejected: first.chosen };
  const { rows, policy } = await run({ pairs: [tie], epochs: 1, learningRate: 0.01 });
  expect(rows[0]!.loss! / rows[0]!['wpo/weight']!).toBeCloseTo(Math.LN2, 6);
  expect(rows[0]!['rewards/accuracies']).toBe(0);
  expect(rows[0]!.grad_norm).toBeLessThan(1e-7);
  expect(policy.values().bias).toHaveLength(VOCAB);
});

test('an evaluation without pairs is refused before the first step', async () => {
  const optimizer = destroyedFrom(1);
  const step = vi.spyOn(optimizer, 'step');
  await expect(run({ evaluation: { pairs: [], reference: [] }, evalSteps: 100, optimizer })).rejects.toThrow(
    'evaluation: expected at least one pair, found none. Give pairs, or turn evaluation off.',
  );
  expect(step).not.toHaveBeenCalled();
  await expect(run({ pairs: [] })).rejects.toThrow('pairs to train on: expected an integer of at least 1, found 0');
});
