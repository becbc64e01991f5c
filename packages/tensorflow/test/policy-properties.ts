import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { gemmaPolicy, type Kernels, parametersOf, portableKernels } from '@wpo/gemma';
import { storedBytes } from '@wpo/tensorflow/kernels';
import { adamW } from '@wpo/trainer';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { randomModel, smallConfig, smallPair } from '../../gemma/test/models';
import { passesInTurn, slopesOf } from '../../gemma/test/packs';
import type { Tier } from './tiers';

// Norms divide rows of near-zero values by about √epsilon: a large epsilon does not amplify float32's rounding.
const conditioned = smallConfig.map((config) => ({ ...config, rmsNormEps: 0.1 }));

const cases = conditioned.chain((config) =>
  fc.record({
    config: fc.constant(config),
    seed: fc.nat(),
    pairs: fc.array(smallPair(config.vocabSize), { minLength: 1, maxLength: 2 }),
    activationCheckpointing: fc.constantFrom('always' as const, 'never' as const),
  }),
);
type Case = typeof cases extends fc.Arbitrary<infer T> ? T : never;

/** The number of pairs in each pack. */
const smallPacks = fc.array(fc.integer({ min: 1, max: 2 }), { minLength: 1, maxLength: 4 });

/** Any d loss / d logps, of both signs. */
const slopes = (length: number, seed: number) => Array.from({ length }, (_, i) => Math.sin(1 + seed + 3 * i));

/** Log-probs and terms of every answer, and every parameter's gradient, by the parameter's name. */
async function pass(model: Awaited<ReturnType<typeof randomModel>>, kernels: Kernels, { pairs, seed, ...how }: Case) {
  const forward = await gemmaPolicy(model, { kernels, ...how }).forward(
    pairs.map((pair, i) => ({ id: `pair-${i}`, ...pair })),
    { train: true },
  );
  const { logps, logSumSquares, logMax } = await forward.terms();
  const terms = [logps, logSumSquares, logMax];
  const dLogps = pairs.flatMap(({ chosen, rejected }, i) => [
    ...slopes(chosen.length, seed + i),
    ...slopes(rejected.length, seed - i),
  ]);
  await forward.backward(Float32Array.from(dLogps));
  forward.dispose();
  const gradients = parametersOf(model).map(
    async (p) => [p.name, (await p.gradient()!.data()) as Float32Array] as const,
  );
  return { terms, gradients: await Promise.all(gradients) };
}

const largestOf = (values: Float32Array) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

/** Differences within 1e-4 of `size`. */
function expectClose(found: Float32Array, expected: Float32Array, size: number, what: string): void {
  expect(found.length).toBe(expected.length);
  found.forEach((value, i) => expect(Math.abs(value - expected[i]!) / size, `${what}[${i}]`).toBeLessThan(1e-4));
}

/** Tests that compare a policy on a tier's kernels with one on the portable kernels. */
export function testPolicy(tier: Tier): void {
  test('has the log-probs, terms and gradients of one on the portable kernels', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (given) => {
        const outcome = async (kernels: Kernels) => {
          const model = await randomModel(given.config, given.seed, kernels);
          const values = await pass(model, kernels, given);
          for (const parameter of parametersOf(model)) parameter.dispose();
          return values;
        };
        const [found, expected] = [await outcome(tier.kernels()), await outcome(portableKernels)];
        found.terms.forEach((term, i) => {
          expectClose(term, expected.terms[i]!, Math.max(1, largestOf(expected.terms[i]!)), `term ${i}`);
        });
        // Relative to the largest of all gradients, or 1: each gradient is a sum of large terms that may cancel.
        const largest = Math.max(1, ...expected.gradients.map(([, dw]) => largestOf(dw)));
        found.gradients.forEach(([at, dw], i) => expectClose(dw, expected.gradients[i]![1], largest, at));
      }),
      // Fixed draws: a rare one amplifies rounding beyond the tolerance, with any kernels.
      { numRuns: 30, seed: 11 },
    );
  });

  test('gives the same bits layer by layer as in one pass after the other', async () => {
    await fc.assert(
      fc.asyncProperty(cases, smallPacks, async (given, sizes) => {
        const kernels = tier.kernels();
        const model = await randomModel(given.config, given.seed, kernels);
        const { activationCheckpointing } = given;
        const packs = sizes.map((count, pack) =>
          Array.from({ length: count }, (_, i) => ({
            id: `${pack}-${i}`,
            ...given.pairs[(pack + i) % given.pairs.length]!,
          })),
        );
        const gradients = async () => {
          const values = parametersOf(model).map(
            async (p) => [p.name, Array.from(await p.gradient()!.data())] as const,
          );
          const found = await Promise.all(values);
          for (const p of parametersOf(model)) p.zeroGradient();
          return found;
        };
        const inTurn = await passesInTurn(model, packs, { kernels, activationCheckpointing });
        const expected = await gradients();
        const passes = await gemmaPolicy(model, { kernels, activationCheckpointing }).forwardPacks(packs, {
          train: true,
        });
        for (const [i, pass] of passes.entries()) {
          const { logps } = await pass.terms();
          expect(logps).toEqual(inTurn[i]);
          await pass.backward(slopesOf(logps));
        }
        for (const pass of passes) pass.dispose();
        expect(await gradients()).toEqual(expected);
        for (const parameter of parametersOf(model)) parameter.dispose();
      }),
      { numRuns: 20 },
    );
  });

  test('leaves no tensor behind after any step', async () => {
    const [given] = fc.sample(cases, { numRuns: 1, seed: 7 }) as [Case];
    const { optimizer: kernel, norm } = tier;
    const kernels = tier.kernels();
    const model = await randomModel(given.config, given.seed, kernels);
    const parameters = parametersOf(model);
    const optimizer = adamW({ kernel });
    const counts: number[][] = [];
    for (let step = 0; step < 3; step++) {
      await pass(model, kernels, given);
      await pass(model, kernels, given); // gradients that add up
      await norm(parameters);
      await optimizer.step({ parameters, learningRate: 1e-3, gradientScale: 0.5 });
      for (const parameter of parameters) parameter.zeroGradient();
      counts.push([tf.memory().numTensors, storedBytes().allocated]);
    }
    expect(counts).toEqual(Array(3).fill(counts[0]));
    const [tensors, bytes] = counts[0]!;
    const values = parameters.reduce((sum, { shape }) => sum + tf.util.sizeFromShape([...shape]), 0);
    optimizer.dispose();
    for (const parameter of parameters) parameter.dispose();
    expect(tf.memory().numTensors).toBe(tensors!);
    expect(storedBytes().allocated).toBe(bytes! - 3 * 4 * values); // values and both moments
  });
}
