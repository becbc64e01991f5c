// Hostile numbers as options of training, of AdamW and of the losses, and as weights of pairs and log-probs of the reference. They are
// refused with a plain error, or a few steps of training run. In both cases every weight of the model stays finite.
import { lossTypes } from '@wpo/loss/scalar';
import { adamW, preferencePairLoss, train } from '@wpo/trainer';
import fc from 'fast-check';
import { spread, toyPairs, toyPolicy } from '../../packages/trainer/test/toy-policy';
import { expectPlainError, type Family } from '../family';

const VOCAB = 5;
const extremes = [
  0,
  -0,
  -1,
  1,
  2,
  0.5,
  1e-8,
  1e-16,
  1e-45,
  5e-324,
  1e6,
  1e9,
  2 ** 31,
  2 ** 53,
  1e20,
  3e38,
  1e39,
  1e300,
];
const hostile = fc.oneof(
  fc.constantFrom(...extremes, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY),
  fc.double(),
);

/** An object with some of these keys: mostly values that training accepts, now and then any number. */
const options = (usual: Readonly<Record<string, readonly number[]>>) =>
  fc.record(
    Object.fromEntries(
      Object.entries(usual).map(([name, values]) => [
        name,
        fc.oneof({ weight: 40, arbitrary: fc.constantFrom(...values) }, { weight: 1, arbitrary: hostile }),
      ]),
    ),
    { requiredKeys: [] },
  );

const input = fc.record({
  training: options({
    learningRate: [1e-6, 0.01, 1],
    epochs: [0.1, 1, 3],
    maxSteps: [-1, 0, 2],
    batchSize: [1, 3],
    gradientAccumulationSteps: [1, 100],
    warmupRatio: [0, 1],
    warmupSteps: [0, 2],
    maxGradNorm: [0, 1],
    loggingSteps: [0, 1],
    saveSteps: [0, 1],
    skipNonfinite: [0, 2],
  }),
  adam: options({ beta1: [0, 0.9], beta2: [0, 0.999], epsilon: [1e-16, 1e-8, 1], weightDecay: [0, 1] }),
  loss: options({
    beta: [0.01, 1, 100],
    labelSmoothing: [0, 0.1],
    simpoGamma: [0, 1],
    cpoAlpha: [0, 1],
    discopopTau: [0.05],
    temperature: [1, 4],
    ldAlpha: [0, 1],
  }),
  lossType: fc.constantFrom(...lossTypes()),
  weight: fc.oneof({ weight: 40, arbitrary: fc.constantFrom(1, 0.5, 0) }, { weight: 1, arbitrary: hostile }),
  reference: fc.oneof({ weight: 40, arbitrary: fc.constantFrom(-3, -0.1, -50) }, { weight: 1, arbitrary: hostile }),
});

type Input = typeof input extends fc.Arbitrary<infer T> ? T : never;

export const family: Family<Input> = {
  name: 'training-numbers',
  input,
  async check({ training, adam, loss, lossType, weight, reference }, { count }) {
    const policy = toyPolicy(VOCAB, spread(VOCAB * VOCAB), spread(VOCAB));
    const pairs = toyPairs(3, VOCAB).map((pair) => ({ ...pair, weight }));
    let steps = 0;
    const signal = {
      get aborted() {
        return steps >= 3;
      },
    };
    try {
      const optimizer = adamW(adam);
      const run = train({
        learningRate: 0.01,
        ...training,
        policy,
        optimizer,
        pairs,
        reference: pairs.map(() => ({
          chosen: reference,
          rejected: -4,
          ...(loss.ldAlpha === undefined ? {} : { ldAlpha: loss.ldAlpha }),
        })),
        loss: preferencePairLoss({ ...loss, lossType, kl: 0, useWeighting: !lossType.startsWith('aot') }),
        signal,
      });
      for await (const { type } of run) if (type === 'step') steps++;
      optimizer.dispose();
      count('trained');
    } catch (error) {
      expectPlainError(error);
      count(steps === 0 ? 'refused before the first step' : 'stopped at a later step');
    }
    for (const [name, values] of Object.entries(policy.values())) {
      if (!values.every(Number.isFinite)) throw new Error(`expected finite weights, found ${values} in ${name}`);
    }
    policy.dispose();
  },
};
