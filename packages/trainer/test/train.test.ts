import * as tf from '@tensorflow/tfjs';
import { expect, test, vi } from 'vitest';
import {
  adamW,
  evaluate,
  type MetricsRow,
  type Policy,
  precomputeReference,
  preferencePairLoss,
  type StepReport,
  type TokenPair,
  TrainingError,
  type TrainOptions,
  train,
  wpoPairLoss,
} from '../src';
import golden from './fixtures/trajectory.json';
import { spread, toyOffload, toyPairs, toyPolicy } from './toy-policy';

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

test('onStep gets the numbers of each step', async () => {
  const reports: StepReport[] = [];
  await goldenRun({ loggingSteps: 4, onStep: (report) => void reports.push(report) });
  expect(reports.map(({ step, totalSteps }) => [step, totalSteps])).toEqual(golden.log.map(({ step }) => [step, 8]));
  for (const [i, expected] of golden.log.entries()) expectRow(reports[i]!.metrics, expected);
});

test('an aborted signal stops the run after the current step', async () => {
  const controller = new AbortController();
  const result = await train(
    small({ signal: controller.signal, onStep: ({ step }) => (step === 2 ? controller.abort() : undefined) }),
  );
  expect(result).toMatchObject({ step: 2, totalSteps: 6, stopped: true });
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
    const states: number[] = [];
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
      const result = await train({
        ...options,
        policy,
        gradientAccumulationSteps: 2, // the third pass is the second step's first
        signal: controller.signal,
        checkpoints: { save: async ({ state }) => void states.push(state.step), list: async () => [] },
        onStep: () => {
          before = values();
        },
      });
      expect(result).toMatchObject({ step: 1, stopped: true });
    } finally {
      clock.mockRestore();
    }
    expect([passes, completed]).toEqual([3, 0]);
    expect(states).toEqual([1]);
    expect(values()).toEqual(before);
    expect(options.policy.parameters.map((parameter) => parameter.gradient())).toEqual([null, null]);
  },
);

test('a reference log-prob that is NaN stops the run before any weight changes, and the error names step and pair', async () => {
  const options = small();
  const values = () => options.policy.parameters.map((parameter) => [...(parameter.value() as tf.Tensor).dataSync()]);
  let before = values();
  const run = train({
    ...options,
    reference: (pairs) => pairs.map((pair) => ({ chosen: pair.id === 'pair-3' ? Number.NaN : -3, rejected: -4 })),
    gradientAccumulationSteps: 2,
    onStep: () => {
      before = values();
    },
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
  const references = Array.from({ length: options.pairs.length }, () => ({ chosen: -3, rejected: -4 }));
  references[0] = { chosen: -3, rejected: Number.NEGATIVE_INFINITY };
  const run = train({ ...options, reference: references });
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
    onStep: () => void counts.push(tf.memory().numTensors),
  });
  await train(options);
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
