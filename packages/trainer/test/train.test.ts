import * as tf from '@tensorflow/tfjs';
import { expect, test, vi } from 'vitest';
import {
  adamW,
  type CheckpointStore,
  evaluate,
  type MetricsRow,
  type Policy,
  precomputeReference,
  preferencePairLoss,
  type TokenPair,
  type TrainEvent,
  TrainingError,
  type TrainOptions,
  train,
  wpoPairLoss,
} from '../src';
import golden from './fixtures/trajectory.json';
import { spread, toyOffload, toyPairs, toyPolicy } from './toy-policy';
import { trainWith } from './train-with';

const goldenOptions = {
  pairs: golden.pairs,
  loss: wpoPairLoss({ beta: golden.beta, labelSmoothing: golden.label_smoothing }),
  learningRate: golden.learning_rate,
  epochs: golden.epochs,
  batchSize: golden.batch_size,
  gradientAccumulationSteps: golden.gradient_accumulation_steps,
  schedule: 'cosine',
  warmupRatio: golden.warmup_ratio,
  maxGradNorm: golden.max_grad_norm,
} as const;

/** The largest difference, relative to the expected value or to 1 where that is less. */
const distance = (found: readonly number[], expected: readonly number[]) =>
  Math.max(...expected.map((value, i) => Math.abs(found[i]! - value) / Math.max(1, Math.abs(value))));

function expectRow(row: MetricsRow | undefined, expected: Record<string, number>): void {
  for (const [name, value] of Object.entries(expected))
    expect([name, row?.[name]]).toEqual([name, expect.closeTo(value, 5)]);
}

async function goldenRun(more: Partial<TrainOptions> = {}) {
  const policy = toyPolicy(golden.vocab, golden.table, golden.bias);
  const optimizer = adamW({ weightDecay: golden.weight_decay });
  const rows: MetricsRow[] = [];
  const metrics = { write: (row: MetricsRow) => void rows.push(row) };
  // computed by the policy itself: before the first step both have the same log-probs to the last bit, as in the golden run
  const reference = await precomputeReference({ policy, pairs: golden.pairs });
  const result = await train({ ...goldenOptions, policy, optimizer, reference, metrics, loggingSteps: 1, ...more });
  return { policy, rows, result, reference };
}

const small = (more: Partial<TrainOptions> = {}): TrainOptions => {
  const pairs = toyPairs(6, 5);
  return {
    policy: toyPolicy(5, spread(25), spread(5)),
    optimizer: adamW(),
    pairs,
    reference: pairs.map(() => ({ chosen: -3, rejected: -4 })),
    learningRate: 0.01,
    ...more,
  };
};

test('eight steps of training match PyTorch: metrics, clipping, schedule, weights and evaluation', async () => {
  const { policy, rows, result, reference } = await goldenRun();
  expect(rows).toHaveLength(8);
  for (const [i, expected] of golden.log.entries()) expectRow(rows[i], expected);
  expect(result).toEqual({
    step: 8,
    totalSteps: 8,
    epoch: 2.8,
    tokens: 412,
    stopped: false,
    skippedSteps: 0,
    best: null,
    collapse: null,
    restoredStep: null,
  });
  expect(distance(policy.values()['table.weight']!, golden.final.table)).toBeLessThan(1e-5);
  expect(distance(policy.values().bias!, golden.final.bias)).toBeLessThan(1e-5);
  expectRow((await evaluate({ ...goldenOptions, policy, reference, batchSize: 3 }))!, golden.evaluation);
});

test.each([1, 20, 30, 1000])('packs of at most %i tokens train like micro-batches', async (maxTokensPerPack) => {
  const plain = await goldenRun();
  const sizes: number[] = [];
  const policy = toyPolicy(golden.vocab, golden.table, golden.bias);
  const { forward } = policy;
  const tokensOf = ({ prompt, chosen, rejected }: TokenPair) => prompt.length + chosen.length + rejected.length;
  const watched = {
    ...policy,
    forward(pairs: readonly TokenPair[], options: { readonly train: boolean }) {
      const tokens = pairs.reduce((total, pair) => total + tokensOf(pair), 0);
      if (options.train && pairs.length > 1) expect(tokens).toBeLessThanOrEqual(maxTokensPerPack);
      if (options.train) sizes.push(pairs.length);
      return forward(pairs, options);
    },
  };
  await goldenRun({ policy: watched, maxTokensPerPack });
  expect(distance(policy.values()['table.weight']!, plain.policy.values()['table.weight']!)).toBeLessThan(1e-5);
  expect(Math.max(...sizes)).toBe({ 1: 1, 20: 2, 30: 3, 1000: 4 }[maxTokensPerPack]);
});

test('a row over several steps has the mean loss of its steps, the means of its pairs, and the last learning rate', async () => {
  const { rows } = await goldenRun({ loggingSteps: 3 });
  expect(rows.map((row) => row.step)).toEqual([3, 6, 8]);
  const [a, b, c] = golden.log.slice(0, 3);
  // steps of 4, 4 and 2 pairs
  const mean = (name: 'rewards/margins' | 'rewards/accuracies' | 'logps/chosen' | 'wpo/weight') =>
    (4 * a![name] + 4 * b![name] + 2 * c![name]) / 10;
  expectRow(rows[0], {
    loss: (a!.loss + b!.loss + c!.loss) / 3,
    grad_norm: c!.grad_norm,
    learning_rate: c!.learning_rate,
    num_tokens: c!.num_tokens,
    epoch: 1,
    'rewards/margins': mean('rewards/margins'),
    'rewards/accuracies': mean('rewards/accuracies'),
    'logps/chosen': mean('logps/chosen'),
    'wpo/weight': mean('wpo/weight'),
    'wpo/weight_min': Math.min(a!['wpo/weight_min'], b!['wpo/weight_min'], c!['wpo/weight_min']),
    'wpo/weight_max': Math.max(a!['wpo/weight_max'], b!['wpo/weight_max'], c!['wpo/weight_max']),
  });
});

test('rows have exactly the names of TRL, and the wpo/ and timing names', async () => {
  const { rows } = await goldenRun({ maxSteps: 1 });
  const names =
    'epoch grad_norm learning_rate logps/chosen logps/rejected loss num_tokens rewards/accuracies rewards/chosen ' +
    'rewards/margins rewards/rejected step step_seconds tokens_per_second wpo/collapsed wpo/weight wpo/weight_max wpo/weight_min';
  expect(Object.keys(rows[0]!).sort()).toEqual(names.split(' '));
});

test('pairs are used in the order given for each epoch', async () => {
  const seen: string[] = [];
  const pairs = toyPairs(3, 5);
  await train(
    small({
      pairs: { length: 3, get: (index: number) => pairs[index]! },
      order: (epoch) => (epoch === 0 ? [2, 0, 1] : [1, 2, 0]),
      reference: (batch) => {
        seen.push(batch.map((pair) => pair.id).join('+'));
        return batch.map(() => ({ chosen: -3, rejected: -4 }));
      },
      batchSize: 2,
      epochs: 2,
    }),
  );
  expect(seen).toEqual(['pair-2+pair-0', 'pair-1', 'pair-1+pair-2', 'pair-0']);
});

test('an order without all pairs is rejected', async () => {
  await expect(train(small({ order: () => [0, 1] }))).rejects.toThrow('order of epoch 0: expected 6 indices, found 2');
});

test('held-out pairs are evaluated before the first step, every evalSteps steps and at the end', async () => {
  const rows: MetricsRow[] = [];
  const held = toyPairs(2, 5);
  const reference = held.map(() => ({ chosen: -3, rejected: -4 }));
  await train(
    small({
      evaluation: { pairs: held, reference },
      evalOnStart: true,
      evalSteps: 4,
      loggingSteps: 100,
      metrics: { write: (row) => void rows.push(row) },
    }),
  );
  expect(rows.map((row) => [row.step, 'eval_loss' in row])).toEqual([
    [0, true],
    [4, true],
    [6, false],
    [6, true],
  ]);
  expect(Object.keys(rows[0]!).sort()).toEqual(
    (
      'epoch eval_logps/chosen eval_logps/rejected eval_loss eval_rewards/accuracies eval_rewards/chosen ' +
      'eval_rewards/margins eval_rewards/rejected eval_wpo/weight step'
    ).split(' '),
  );
});

const held = toyPairs(2, 5);
const references = (pairs: readonly TokenPair[]) => pairs.map(() => ({ chosen: -3, rejected: -4 }));

/** Events without their numbers. */
const shown = (event: TrainEvent) => (event.type === 'warning' ? event.message : `${event.type} ${event.step}`);

function memoryCheckpoints() {
  const saved: number[] = [];
  const store: CheckpointStore = { save: async ({ state }) => void saved.push(state.step), list: async () => [] };
  return { saved, store };
}

test('the events are the start, and for each step its evaluation, checkpoint and numbers', async () => {
  const steps: MetricsRow[] = [];
  const evaluated: MetricsRow[] = [];
  const rows: MetricsRow[] = [];
  const order: string[] = [];
  const policy = toyPolicy(golden.vocab, golden.table, golden.bias);
  const run = train({
    ...goldenOptions,
    policy,
    optimizer: adamW({ weightDecay: golden.weight_decay }),
    reference: await precomputeReference({ policy, pairs: golden.pairs }),
    evaluation: { pairs: golden.pairs.slice(0, 2), reference: references },
    evalSteps: 3,
    saveSteps: 4,
    loggingSteps: 4,
    metrics: { write: (row) => void rows.push(row) },
    checkpoints: memoryCheckpoints().store,
  });
  for await (const event of run) {
    order.push(shown(event));
    if (event.type === 'step') {
      expect(event.totalSteps).toBe(8);
      steps.push(event.metrics);
    } else if (event.type === 'evaluation') evaluated.push(event.metrics);
  }
  expect(order.join(', ')).toBe(
    'start 0, step 1, step 2, evaluation 3, step 3, checkpoint 4, step 4, step 5, evaluation 6, step 6, step 7, evaluation 8, ' +
      'checkpoint 8, step 8',
  );
  expect(steps).toHaveLength(8);
  for (const [i, expected] of golden.log.entries()) expectRow(steps[i], expected);
  expect(evaluated).toEqual(rows.filter((row) => 'eval_loss' in row));
  expect(await run).toMatchObject({ step: 8, stopped: false });
});

test('training waits while an event is handled', async () => {
  let passes = 0;
  const options = small({
    reference: (pairs) => {
      passes += 1;
      return references(pairs);
    },
  });
  for await (const event of train(options)) {
    if (event.type !== 'step') continue;
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(passes).toBe(event.step);
  }
  expect(passes).toBe(6);
});

test('an aborted signal stops the run after the current step', async () => {
  const controller = new AbortController();
  const { saved, store } = memoryCheckpoints();
  const options = small({ signal: controller.signal, checkpoints: store });
  const result = await trainWith(options, (event) => {
    if (event.type === 'step' && event.step === 2) controller.abort();
  });
  expect(result).toMatchObject({ step: 2, totalSteps: 6, stopped: true });
  expect(saved).toEqual([2]);
});

test.each([
  ['start 0', { step: 0, stopped: true }, []],
  ['evaluation 2', { step: 2, stopped: true }, [2]],
  ['step 2', { step: 2, stopped: true }, [2]],
  ['step 4', { step: 4, stopped: true }, [3, 4]],
  ['checkpoint 6', { step: 6, stopped: false }, [3, 6]],
])('a loop left at "%s" ends the run, and what is due is saved', async (last, expected, checkpoints) => {
  const { saved, store } = memoryCheckpoints();
  const rows: MetricsRow[] = [];
  const run = train(
    small({
      evaluation: { pairs: held, reference: references },
      evalSteps: 2,
      saveSteps: 3,
      loggingSteps: 1,
      checkpoints: store,
      metrics: { write: (row) => void rows.push(row) },
    }),
  );
  for await (const event of run) if (shown(event) === last) break;
  expect(saved).toEqual(checkpoints);
  const result = await run;
  expect(result).toMatchObject(expected);
  expect(rows.filter((row) => 'loss' in row)).toHaveLength(result.step);
});

test('an error of the reader ends the run and saves it', async () => {
  const { saved, store } = memoryCheckpoints();
  const run = train(small({ checkpoints: store }));
  const read = async () => {
    for await (const event of run) if (event.type === 'step' && event.step === 2) throw new Error('disk full');
  };
  await expect(read()).rejects.toThrow('disk full');
  expect(saved).toEqual([2]);
  expect(await run).toMatchObject({ step: 2, stopped: true });
});

test('an error of training is thrown by the loop, after the warnings before it', async () => {
  const order: string[] = [];
  const reference = (pairs: readonly TokenPair[]) =>
    pairs.map(({ id }) => ({
      chosen: -3,
      rejected: id === 'pair-1' || id === 'pair-3' ? Number.NEGATIVE_INFINITY : -4,
    }));
  const run = train(small({ reference, skipNonfinite: 1 }));
  const read = async () => {
    for await (const event of run) order.push(shown(event).slice(0, 40));
  };
  await expect(read()).rejects.toThrow('step 4: pair "pair-3": expected a finite loss');
  expect(order).toEqual(['start 0', 'step 1', 'step 2: pair "pair-1": expected a finite', 'step 2', 'step 3']);
  await expect(run).rejects.toThrow('step 4: pair "pair-3"');
});

test('an awaited run prints its warnings, and a run has one reader', async () => {
  const print = vi.spyOn(console, 'warn').mockImplementation(() => {});
  try {
    const { store } = memoryCheckpoints();
    const run = train(small({ checkpoints: store, resume: true, maxSteps: 2 }));
    const [first, second] = await Promise.all([run, run]);
    expect(first).toMatchObject({ step: 2 });
    expect(second).toBe(first);
    expect(print.mock.calls).toEqual([['no checkpoint to resume from: training starts from the beginning']]);
    const read = async () => {
      for await (const event of run) void event;
    };
    await expect(read()).rejects.toThrow('expected a run that is not read or awaited yet');
  } finally {
    print.mockRestore();
  }
});

test('a policy without parameters is refused', async () => {
  const options = small();
  const run = train({ ...options, policy: { ...options.policy, parameters: [] } });
  await expect(run).rejects.toThrow('policy: expected at least one parameter to train, found none.');
});

test.each(['forward', 'backward'] as const)(
  'a signal during a %s pass ends it at its next pause: the step is given up, and the run saved before it',
  async (when) => {
    const options = small();
    const controller = new AbortController();
    const values = () => options.policy.parameters.map((parameter) => [...(parameter.value() as tf.Tensor).dataSync()]);
    const { saved, store } = memoryCheckpoints();
    let [before, passes, completed] = [values(), 0, 0];
    const policy: Policy = {
      ...options.policy,
      async forward(pairs, { train, pause }) {
        passes += 1;
        const arrives = async (at: typeof when) => {
          if (passes !== 3 || at !== when) return;
          clock.mockReturnValue(performance.now() + 10_000); // a pass of ten seconds
          setTimeout(() => controller.abort(), 0);
          await pause?.();
          completed += 1;
        };
        const pass = await options.policy.forward(pairs, { train });
        await arrives('forward');
        const backward = async (dLogps: Float32Array) => {
          await pass.backward(dLogps);
          await arrives('backward');
        };
        return { ...pass, backward };
      },
    };
    const clock = vi.spyOn(performance, 'now');
    try {
      const gradientAccumulationSteps = 2; // the third pass is the second step's first
      const { signal } = controller;
      const run = { ...options, policy, gradientAccumulationSteps, signal, checkpoints: store };
      const result = await trainWith(run, ({ type }) => {
        if (type === 'step') before = values();
      });
      expect(result).toMatchObject({ step: 1, stopped: true });
    } finally {
      clock.mockRestore();
    }
    expect([passes, completed]).toEqual([3, 0]);
    expect(saved).toEqual([1]);
    expect(values()).toEqual(before);
    expect(options.policy.parameters.map((parameter) => parameter.gradient())).toEqual([null, null]);
  },
);

test('a reference log-prob that is NaN stops the run before any weight changes, and the error names step and pair', async () => {
  const options = small();
  const values = () => options.policy.parameters.map((parameter) => [...(parameter.value() as tf.Tensor).dataSync()]);
  let before = values();
  const reference = (pairs: readonly TokenPair[]) =>
    pairs.map((pair) => ({ chosen: pair.id === 'pair-3' ? Number.NaN : -3, rejected: -4 }));
  const run = trainWith({ ...options, reference, gradientAccumulationSteps: 2 }, ({ type }) => {
    if (type === 'step') before = values();
  });
  await expect(run).rejects.toThrow(TrainingError);
  await expect(run).rejects.toMatchObject({ step: 2, pairId: 'pair-3' });
  await expect(run).rejects.toThrow(
    'step 2: pair "pair-3": expected reference log-probs of at most 0, found NaN (chosen) and -4 (rejected)',
  );
  expect(values()).toEqual(before);
  expect(options.policy.parameters.map((parameter) => parameter.gradient())).toEqual([null, null]);
});

test('a loss that is not finite stops the run before any weight changes, and the error names step and pair', async () => {
  const options = small();
  const values = () => options.policy.parameters.map((parameter) => [...(parameter.value() as tf.Tensor).dataSync()]);
  const before = values();
  // the reference assigns probability 0 to the rejected answer of one pair, which the policy does not
  const reference = Array.from({ length: options.pairs.length }, () => ({ chosen: -3, rejected: -4 }));
  reference[0] = { chosen: -3, rejected: Number.NEGATIVE_INFINITY };
  const run = train({ ...options, reference });
  await expect(run).rejects.toMatchObject({ name: 'TrainingError', step: 1, pairId: 'pair-0' });
  await expect(run).rejects.toThrow('step 1: pair "pair-0": expected a finite loss, found Infinity (weight 0.');
  await expect(run).rejects.toThrow('No weight was changed. The reference log-probs are not finite');
  expect(values()).toEqual(before);
});

test.each([
  [{ learningRate: Number.NaN }, 'learningRate: expected a number above 0, at most 1, found NaN.'],
  [{ learningRate: 1e39 }, 'learningRate: expected a number above 0, at most 1, found 1e+39.'],
  [{ maxGradNorm: -1 }, 'maxGradNorm: expected a number from 0 to 1000000000, found -1.'],
  [{ saveSteps: 0.5 }, 'saveSteps: expected an integer from 0 to 1000000000, found 0.5.'],
  [{ skipNonfinite: -1 }, 'skipNonfinite: expected an integer from 0 to 1000000000, found -1.'],
  [
    { optimizerInBackward: true, maxGradNorm: 1 },
    'optimizerInBackward: expected maxGradNorm 0 with it, found 1. Clipping',
  ],
  [
    { optimizerInBackward: true, maxGradNorm: 0, offloadGradients: toyOffload().offload },
    'offloadGradients: expected none with optimizerInBackward',
  ],
])('%j is rejected before any pair runs', async (more, message) => {
  const reference = () => {
    throw new Error('ran');
  };
  await expect(train(small({ ...more, reference }))).rejects.toThrow(message);
});

test('an answer without tokens is rejected, and the error names the pair', async () => {
  const pairs: TokenPair[] = toyPairs(2, 5).map((pair, i) => (i === 1 ? { ...pair, rejected: [] } : pair));
  await expect(train(small({ pairs }))).rejects.toThrow(
    'step 2: pair "pair-1": expected at least one token in prompt, chosen and rejected, found 2, 6 and 0',
  );
});

test('a hundred steps leave no tensor behind', async () => {
  const counts: number[] = [];
  const pairs = toyPairs(4, 5);
  const reference = pairs.map(() => ({ chosen: -3, rejected: -4 }));
  const before = tf.memory().numTensors;
  const options = small({
    pairs,
    reference,
    batchSize: 2,
    maxSteps: 100,
    evaluation: { pairs, reference },
    evalSteps: 10,
  });
  await trainWith(options, ({ type }) => {
    if (type === 'step') counts.push(tf.memory().numTensors);
  });
  expect(counts).toHaveLength(100);
  expect(new Set(counts)).toEqual(new Set([counts[0]]));
  options.optimizer.dispose();
  for (const parameter of options.policy.parameters) (parameter.value() as tf.Tensor).dispose();
  expect(tf.memory().numTensors).toBe(before);
});

test('a reference-free loss trains and evaluates without a reference', async () => {
  const pairs = toyPairs(4, 5);
  const rows: MetricsRow[] = [];
  const loss = preferencePairLoss({ lossType: 'simpo', beta: 2, simpoGamma: 1, useWeighting: false });
  await train(
    small({
      pairs,
      reference: undefined,
      loss,
      evaluation: { pairs },
      evalOnStart: true,
      evalSteps: 20,
      maxSteps: 20,
      metrics: { write: (row) => void rows.push(row) },
    }),
  );
  const evaluated = rows.filter((row) => row.eval_loss !== undefined).map((row) => row.eval_loss!);
  expect(evaluated).toHaveLength(2);
  expect(evaluated[1]).toBeLessThan(evaluated[0]!);
});

test('a loss that needs a reference is rejected without one before any pair runs', async () => {
  await expect(train(small({ reference: undefined }))).rejects.toThrow('expected `reference`, found none');
  const evaluation = { pairs: toyPairs(2, 5) };
  await expect(train(small({ evaluation, evalSteps: 4 }))).rejects.toThrow('expected `reference`, found none');
});

test('AOT ranks the pairs of a micro-batch: accumulation changes the loss, and packs are rejected', async () => {
  const loss = preferencePairLoss({ lossType: 'aot', beta: 1, useWeighting: false });
  const pairs = toyPairs(4, 5);
  const reference = pairs.map((_, i) => ({ chosen: -9 + 3 * i, rejected: -4 }));
  const first = async (batchSize: number, of = loss) => {
    const rows: MetricsRow[] = [];
    const metrics = { write: (row: MetricsRow) => void rows.push(row) };
    const gradientAccumulationSteps = 4 / batchSize;
    await train(
      small({
        pairs,
        reference,
        loss: of,
        batchSize,
        gradientAccumulationSteps,
        maxSteps: 1,
        loggingSteps: 1,
        metrics,
      }),
    );
    return rows[0]!.loss!;
  };
  const dpo = preferencePairLoss({ beta: 1, useWeighting: false });
  expect(await first(1)).toBeCloseTo(await first(4, dpo), 6); // one pair alone is DPO
  expect(await first(4, dpo)).toBeCloseTo(await first(2, dpo), 6);
  expect(Math.abs((await first(4)) - (await first(2)))).toBeGreaterThan(1e-3);
  await expect(train(small({ loss, maxTokensPerPack: 100 }))).rejects.toThrow(
    'maxTokensPerPack: expected none with a loss that ranks the pairs of a micro-batch, found 100',
  );
});
