import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import { seededRandom } from '@wpo/internal/random';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { generate, generateBatch, sequenceLogits } from '../src/generate';
import { sampleToken } from '../src/sample';
import { parametersOf } from '../src/weights';
import { logitGaps } from './logit-gaps';
import { randomModel, smallConfig } from './models';

const tokens = fc.array(fc.integer({ min: 0, max: 7 }), { minLength: 1, maxLength: 15 });

describe('generation with a key-value cache', () => {
  test('generates the most likely tokens of full forward passes, for prompts side by side or alone', async () => {
    await fc.assert(
      fc.asyncProperty(
        smallConfig,
        fc.nat(),
        fc.array(tokens, { minLength: 1, maxLength: 3 }),
        async (config, seed, prompts) => {
          const model = await randomModel(config, seed);
          const before = tf.memory().numTensors;
          const options = { maxNewTokens: 6, stopIds: [1] };
          const together = await generateBatch(model, prompts, options);
          const alone = await generate(model, prompts[0]!, options);
          expect(tf.memory().numTensors).toBe(before);
          for (const [i, answer] of [...together, alone].entries()) {
            const prompt = prompts[i % prompts.length]!;
            expect(answer.at(-1) === 1 || answer.length === 6).toBe(true);
            expect(answer.indexOf(1)).toBe(answer.at(-1) === 1 ? answer.length - 1 : -1);
            for (const gap of await logitGaps(model, prompt, answer)) expect(gap).toBeLessThan(1e-4);
          }
          for (const parameter of parametersOf(model)) parameter.dispose();
        },
      ),
      { numRuns: 25 },
    );
  });

  test('an answer depends on its seed and not on the other prompts', async () => {
    const [config] = fc.sample(smallConfig, { numRuns: 1, seed: 3 });
    const model = await randomModel(config!, 5);
    const options = { maxNewTokens: 12, temperature: 2, stopIds: [], seed: 4 };
    const alone = await generate(model, [2, 3], options);
    expect(
      (
        await generateBatch(
          model,
          [
            [5, 1, 4],
            [2, 3],
          ],
          options,
        )
      )[1],
    ).toEqual(alone);
    expect(await generate(model, [2, 3], { ...options, seed: 5 })).not.toEqual(alone);
  });

  test('each prompt may have a seed of its own', async () => {
    const [config] = fc.sample(smallConfig, { numRuns: 1, seed: 3 });
    const model = await randomModel(config!, 5);
    const prompt = [2, 3];
    const options = { maxNewTokens: 12, temperature: 2, stopIds: [] };
    const alone = [];
    for (const seed of [13, 21]) alone.push(await generate(model, prompt, { ...options, seed }));
    expect(alone[0]).not.toEqual(alone[1]);
    expect(await generateBatch(model, [prompt, prompt], { ...options, seed: [13, 21] })).toEqual(alone);
  });

  test.each([
    ['an empty sequence', [], 'sequenceLogits: expected at least one token, found none'],
    ['an id outside the vocabulary', [2, 900], 'sequenceLogits: token 1: expected an id from 0 to 9'],
  ])('logits of %s are refused', async (_, ids, message) => {
    const [config] = fc.sample(smallConfig, { numRuns: 1, seed: 3 });
    await expect(sequenceLogits(await randomModel(config!, 5), ids)).rejects.toThrow(message);
  });

  test.each([
    ['no tokens', [[2], []], {}, 'generate: prompt 1: expected at least one token, found none'],
    ['an id outside the vocabulary', [[2, 900]], {}, 'generate: prompt 0: token 1: expected an id from 0 to 9'],
    [
      'a temperature below 0',
      [[2]],
      { temperature: -1 },
      'temperature: expected 0 (the most likely token) or above, found -1',
    ],
    ['too few seeds', [[2], [3]], { seed: [1] }, 'expected a number, or one for each of 2 prompts, found 1 numbers'],
    ['top-p of 0', [[2]], { topP: 0 }, 'topP: expected a number above 0 and at most 1, found 0'],
    ['a seed of a half', [[2]], { seed: 0.5 }, 'seed: expected whole numbers of at least 0, found 0.5'],
    [
      'a billion new tokens',
      [[2]],
      { maxNewTokens: 1e9 },
      'maxNewTokens: expected a whole number from 0 to 1048576, found 1000000000',
    ],
    [
      'NaN new tokens',
      [[2]],
      { maxNewTokens: NaN },
      'maxNewTokens: expected a whole number from 0 to 1048576, found NaN',
    ],
    ['a stop id of a half', [[2]], { stopIds: [1, 1.5] }, 'stopIds: expected whole numbers of at least 0, found 1.5'],
    [
      'a cache with more columns than 32-bit integers count',
      Array(2048).fill([2]),
      { maxNewTokens: 2 ** 20 },
      'cache: expected at most 2147483647 tokens of all prompts and answers together, found 2147483648',
    ],
    ['top-k of a half', [[2]], { topK: 0.5 }, 'topK: expected a whole number of at least 1, found 0.5'],
  ])('%s is refused', async (_, prompts, options, message) => {
    const [config] = fc.sample(smallConfig, { numRuns: 1, seed: 3 });
    await expect(generateBatch(await randomModel(config!, 5), prompts, options)).rejects.toThrow(message);
  });
});

describe('sampling', () => {
  const logits = Float32Array.of(0, 2, 1, -1); // probabilities 0.087, 0.644, 0.237, 0.032
  const draws = (options: object, count = 4000) => {
    const random = seededRandom(1);
    const counts = [0, 0, 0, 0];
    for (let i = 0; i < count; i++) counts[sampleToken(logits, options, random)]!++;
    return counts.map((n) => n / count);
  };

  test('draws each token with its probability', () => {
    const expected = [0.0871, 0.6439, 0.2369, 0.0321];
    draws({ temperature: 1 }).forEach((share, i) => expect(Math.abs(share - expected[i]!)).toBeLessThan(0.03));
  });

  test('draws the same token as an implementation that sorts all tokens, also with ties and impossible tokens', () => {
    const logit = fc.oneof(
      fc.double({ min: -30, max: 30, noNaN: true }),
      fc.constantFrom(0, 1, 5, Number.NEGATIVE_INFINITY),
    );
    fc.assert(
      fc.property(
        fc.array(logit, { minLength: 1, maxLength: 300, size: 'max' }).filter((all) => all.some(Number.isFinite)),
        fc.constantFrom(0.05, 0.7, 1, 4, 100),
        fc.option(fc.integer({ min: 1, max: 320 }), { nil: undefined }),
        fc.constantFrom(undefined, 0.0137, 0.4871, 0.9513, 1), // not a share of equal weights, where rounding would decide
        fc.nat(2 ** 32 - 1).map((n) => n / 2 ** 32),
        (values, temperature, topK, topP = 1, drawn) => {
          const logits = Float32Array.from(values);
          const peak = Math.max(...logits);
          const ranked = Array.from(logits, (x, id) => ({ id, weight: Math.exp((x - peak) / temperature), x }));
          if ((topK ?? Number.POSITIVE_INFINITY) < logits.length || topP < 1)
            ranked.sort((a, b) => b.x - a.x || a.id - b.id);
          const kept: typeof ranked = [];
          const sum = (of: typeof ranked) => of.reduce((all, { weight }) => all + weight, 0);
          const candidates = ranked.slice(0, topK);
          for (const one of candidates) if (topP === 1 || sum(kept) < topP * sum(candidates)) kept.push(one);
          const mark = drawn * sum(kept);
          const token = sampleToken(
            logits,
            { temperature, topP, ...(topK === undefined ? {} : { topK }) },
            () => drawn,
          );
          // rounding may decide between neighbours: both are accepted
          const at = (mark: number) => {
            const index = kept.findIndex((_, i) => sum(kept.slice(0, i + 1)) > mark);
            return index < 0 ? kept.length - 1 : index;
          };
          const within = kept.slice(at(mark * (1 - 1e-12)), at(mark * (1 + 1e-12)) + 1);
          expect(within.map(({ id }) => id)).toContain(token);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('top-k keeps the k most likely tokens, top-p the fewest that reach p, a low temperature the most likely one', () => {
    expect(draws({ temperature: 1, topK: 2 }).map((share) => share > 0)).toEqual([false, true, true, false]);
    expect(draws({ temperature: 1, topP: 0.9 }).map((share) => share > 0)).toEqual([true, true, true, false]);
    expect(draws({ temperature: 1, topP: 0.6 })).toEqual([0, 1, 0, 0]);
    expect(draws({ temperature: 0.01 })).toEqual([0, 1, 0, 0]);
    expect(draws({})).toEqual([0, 1, 0, 0]);
  });
});
