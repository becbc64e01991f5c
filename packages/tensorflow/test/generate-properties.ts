import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { generateBatch, parametersOf } from '@wpo/gemma';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { belowLikeliest } from '../../gemma/test/likeliest';
import { randomModel, smallConfig } from '../../gemma/test/models';
import type { Tier } from './tiers';

export const prompts = fc.array(fc.array(fc.integer({ min: 0, max: 7 }), { minLength: 1, maxLength: 20 }), {
  minLength: 1,
  maxLength: 4,
});

/** Tests that hold what is written by a tier's operations to what composed ones find likely. */
export function testGeneration(tier: Tier): void {
  test('writes likeliest tokens by operations composed from tfjs, and leaves nothing behind', async () => {
    const kernels = tier.kernels();
    await fc.assert(
      fc.asyncProperty(smallConfig, fc.nat(), prompts, async (config, seed, prompts) => {
        const model = await randomModel(config, seed);
        const before = tf.memory().numTensors;
        const answers = await generateBatch(model, prompts, { maxNewTokens: 5, stopIds: [1], kernels });
        expect(tf.memory().numTensors).toBe(before);
        for (const [i, answer] of answers.entries()) {
          for (const below of await belowLikeliest(model, prompts[i]!, answer)) expect(below).toBeLessThan(1e-4);
        }
        for (const parameter of parametersOf(model)) parameter.dispose();
      }),
      { numRuns: 25 },
    );
  });
}
