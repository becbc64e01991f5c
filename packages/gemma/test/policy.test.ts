import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { portableKernels } from '../src/ops/portable';
import { gemmaPolicy, type PolicyOptions } from '../src/policy';
import { parametersOf } from '../src/weights';
import { randomModel, smallConfig, smallPair } from './models';
import { plainLogps, type Weights } from './plain';

const modelAndPairs = smallConfig.chain((config) =>
  fc.record({
    config: fc.constant(config),
    seed: fc.nat(),
    pairs: fc.array(smallPair(config.vocabSize), { minLength: 1, maxLength: 2 }),
  }),
);

const modes: fc.Arbitrary<PolicyOptions> = fc.record({
  activationCheckpointing: fc.constantFrom('auto' as const, 'always' as const, 'never' as const),
  activationBytes: fc.integer({ min: 0, max: 20_000 }),
});

const largestOf = (x: tf.Tensor) => tf.tidy(() => tf.max(tf.abs(x)).arraySync() as number);

const norm = (tensors: tf.Tensor[]) =>
  Math.sqrt(tensors.reduce((all, x) => all + (tf.sum(tf.square(x)).arraySync() as number), 0));

const named = <P extends object>(pairs: P[]) => pairs.map((pair, i) => ({ id: `pair-${i}`, ...pair }));

describe('a pair packed as one sequence', () => {
  test('has the log-probs of two separate sequences, for any query block size', async () => {
    await fc.assert(
      fc.asyncProperty(modelAndPairs, fc.constantFrom(1, 3, 256), async ({ config, seed, pairs }, queryBlockSize) => {
        const model = await randomModel(config, seed);
        const weights: Weights = Object.fromEntries(parametersOf(model).map((p) => [p.name, p.value() as tf.Tensor]));
        const pass = await gemmaPolicy(model, { kernels: { ...portableKernels, queryBlockSize } }).forward(
          named(pairs),
          {
            train: false,
          },
        );
        const { logps } = await pass.terms();
        const apart = pairs.flatMap((pair) =>
          (['chosen', 'rejected'] as const).flatMap((side) =>
            tf.tidy(() => plainLogps(config, weights, pair.prompt, pair[side]).arraySync()),
          ),
        );
        expect(logps.length).toBe(apart.length);
        logps.forEach((value, t) => expect(Math.abs(value - apart[t]!)).toBeLessThan(1e-4));
        pass.dispose();
        tf.dispose(Object.values(weights));
      }),
      { numRuns: 60 },
    );
  });

  test("has the gradients that tfjs's automatic differentiation finds for the plain model", async () => {
    await fc.assert(
      fc.asyncProperty(modelAndPairs, modes, fc.nat(), async ({ config, seed, pairs }, mode, slopes) => {
        const model = await randomModel(config, seed);
        const parameters = parametersOf(model);
        // any loss is, to first order, a weighted sum of the answers' log-probs
        const slopeOf = (length: number, i: number) =>
          tf.randomNormal([length], 0, 1, 'float32', slopes + i) as tf.Tensor1D;
        const gradients = pairs.map((pair, i) => ({
          chosen: slopeOf(pair.chosen.length, 2 * i),
          rejected: slopeOf(pair.rejected.length, 2 * i + 1),
        }));
        const pass = await gemmaPolicy(model, mode).forward(named(pairs), { train: true });
        await pass.backward(
          Float32Array.from(
            gradients.flatMap(({ chosen, rejected }) => [...chosen.dataSync(), ...rejected.dataSync()]),
          ),
        );
        pass.dispose();
        const plainGradients = tf.grads((...values) => {
          const weights: Weights = Object.fromEntries(parameters.map((p, i) => [p.name, values[i]!]));
          return tf.addN(
            pairs.flatMap((pair, i) =>
              (['chosen', 'rejected'] as const).map((side) =>
                tf.sum(tf.mul(plainLogps(config, weights, pair.prompt, pair[side]), gradients[i]![side])),
              ),
            ),
          ) as tf.Scalar;
        });
        const expected = plainGradients(parameters.map((p) => p.value() as tf.Tensor));
        const nudged = parameters.map((p) =>
          tf.tidy(() =>
            tf.mul(
              p.value() as tf.Tensor,
              tf.randomUniform((p.value() as tf.Tensor).shape, 1 - 1e-7, 1 + 1e-7, 'float32', seed),
            ),
          ),
        );
        const unsure = plainGradients(nudged);
        const found = parameters.map((p) => (p.gradient() as tf.Tensor).clone());
        const largest = Math.max(...expected.map(largestOf));
        const apart = (values: tf.Tensor[]) =>
          values.map((value, i) => tf.tidy(() => largestOf(tf.sub(value, expected[i]!)) / largest));
        const [uncertain, differences] = [apart(unsure), apart(found)];
        tf.dispose([expected, nudged, unsure, found, gradients]);
        for (const parameter of parameters) parameter.dispose();
        // Rarely, norms of near-zero rows amplify rounding, also in the plain model: skip such a draw.
        fc.pre(Math.max(...uncertain) < 1e-5);
        parameters.forEach(({ name }, i) => void expect(differences[i], name).toBeLessThan(2e-4));
      }),
      { numRuns: 40 },
    );
  });

  test('keeps at most activationBytes for the backward pass, and everything if that is enough', async () => {
    await fc.assert(
      fc.asyncProperty(modelAndPairs, fc.double({ min: 0, max: 3, noNaN: true }), async (given, share) => {
        const model = await randomModel(given.config, given.seed);
        const heldBy = async (options: PolicyOptions) => {
          const before = tf.memory().numBytes;
          const pass = await gemmaPolicy(model, options).forward(named(given.pairs), { train: true });
          const held = tf.memory().numBytes - before;
          pass.dispose();
          expect(tf.memory().numBytes).toBe(before);
          return held;
        };
        const inputs = await heldBy({ activationCheckpointing: 'always' });
        const all = (await heldBy({ activationCheckpointing: 'never' })) - inputs;
        const activationBytes = Math.floor(share * all);
        const kept = (await heldBy({ activationCheckpointing: 'auto', activationBytes })) - inputs;
        expect(kept).toBeLessThanOrEqual(activationBytes);
        if (share >= 2) expect(kept).toBe(all); // the last layer is smaller than the one before, whose size predicts it
        for (const parameter of parametersOf(model)) parameter.dispose();
      }),
      { numRuns: 60 },
    );
  });

  test('has the gradients of finite differences', async () => {
    await fc.assert(
      fc.asyncProperty(modelAndPairs, async ({ config, seed, pairs }) => {
        const model = await randomModel(config, seed);
        const policy = gemmaPolicy(model);
        const total = async () => {
          const pass = await policy.forward(named(pairs), { train: false });
          const { logps } = await pass.terms();
          pass.dispose();
          return Array.from(logps).reduce((a, b) => a + b, 0);
        };
        const pass = await policy.forward(named(pairs), { train: true });
        const answerTokens = pairs.reduce((sum, p) => sum + p.chosen.length + p.rejected.length, 0);
        await pass.backward(new Float32Array(answerTokens).fill(1));
        pass.dispose();
        // Along a direction that is half gradient, half random, the slope is large compared to float32's noise.
        const gradient = policy.parameters.map((p) => p.gradient() as tf.Tensor);
        const random = policy.parameters.map((p, i) => tf.randomNormal([...p.shape], 0, 1, 'float32', seed + i));
        const [size, spread] = [norm(gradient), norm(random)];
        const direction = gradient.map((g, i) => tf.add(tf.div(g, Math.max(size, 1e-9)), tf.div(random[i]!, spread)));
        const slope = gradient.reduce((all, g, i) => all + (tf.sum(tf.mul(g, direction[i]!)).arraySync() as number), 0);
        const move = (by: number) => {
          for (const [i, p] of policy.parameters.entries())
            p.assign(tf.add(p.value() as tf.Tensor, tf.mul(direction[i]!, by)));
        };
        const moved = async (by: number) => {
          move(by);
          const sum = await total();
          move(-by);
          return sum;
        };
        const central = async (h: number) => ((await moved(h)) - (await moved(-h))) / (2 * h);
        // Steps that change the sum by about these amounts. Large ones err by curvature, small ones by rounding: take the best.
        const steps = [0.3, 0.1, 0.03, 0.01].map((change) => change / Math.max(1, size));
        const errors: number[] = [];
        for (const h of steps) errors.push(Math.abs((4 * (await central(h / 2)) - (await central(h))) / 3 - slope));
        expect(Math.min(...errors)).toBeLessThan(0.02 * Math.max(1, size));
        tf.dispose([direction, random]);
        for (const parameter of policy.parameters) parameter.dispose();
      }),
      { numRuns: 40 },
    );
  });
});

describe('memory', () => {
  test('a pass leaves only gradients behind', async () => {
    const [config] = fc.sample(smallConfig, { numRuns: 1, seed: 7 });
    const policy = gemmaPolicy(await randomModel(config!, 1));
    const pair = { id: 'one', prompt: [2, 3, 4], chosen: [5, 6], rejected: [7] };
    const before = tf.memory().numTensors;
    const quiet = await policy.forward([pair], { train: false });
    quiet.dispose();
    expect(tf.memory().numTensors).toBe(before);
    const dropped = await policy.forward([pair], { train: true });
    dropped.dispose();
    expect(tf.memory().numTensors).toBe(before);
    const pass = await policy.forward([pair], { train: true });
    await pass.backward(Float32Array.of(1, 1, -1));
    pass.dispose();
    expect(tf.memory().numTensors).toBe(before + policy.parameters.length);
    for (const parameter of policy.parameters) parameter.zeroGradient();
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('an invalid pair is refused:', () => {
  test.each([
    [
      'an empty prompt',
      { prompt: [], chosen: [3], rejected: [3] },
      'pair x: prompt: expected at least one token, found none',
    ],
    [
      'an empty answer',
      { prompt: [2], chosen: [3], rejected: [] },
      'pair x: rejected: expected at least one token, found none',
    ],
    [
      'an id outside the vocabulary',
      { prompt: [2], chosen: [3, 999], rejected: [3] },
      'pair x: chosen: token 1: expected',
    ],
    [
      'an id that is not a number',
      { prompt: [2], chosen: [Number.NaN], rejected: [3] },
      'pair x: chosen: token 0: expected',
    ],
  ])('%s', async (_, pair, message) => {
    const [config] = fc.sample(smallConfig, { numRuns: 1, seed: 7 });
    const policy = gemmaPolicy(await randomModel(config!, 1));
    await expect(policy.forward([{ id: 'x', ...pair }], { train: true })).rejects.toThrow(message);
  });
});

test.each([
  [{ activationBytes: NaN }, 'gemmaPolicy: activationBytes: expected a number of at least 0, found NaN.'],
  [{ activationBytes: -1 }, 'gemmaPolicy: activationBytes: expected a number of at least 0, found -1.'],
  [
    { activationCheckpointing: 'toString' as 'auto' },
    'gemmaPolicy: activationCheckpointing: expected auto, always or never, found "toString".',
  ],
])('the option %o is refused', async (options, message) => {
  const [config] = fc.sample(smallConfig, { numRuns: 1, seed: 3 });
  const model = await randomModel(config!, 5);
  expect(() => gemmaPolicy(model, options)).toThrow(new RangeError(message));
});
