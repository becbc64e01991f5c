import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { generateBatch, parameter, parametersOf, sequenceLogits } from '@wpo/gemma';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { belowLikeliest } from '../../gemma/test/likeliest';
import { randomModel, smallConfig } from '../../gemma/test/models';
import { operationNumber, runOver } from '../src/kernels/native';
import type { Tier } from './tiers';

const prompts = fc.array(fc.array(fc.integer({ min: 0, max: 7 }), { minLength: 1, maxLength: 20 }), {
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

/** Tests of the program that a tier makes of a pass of few rows. */
export function testOnePass(tier: Tier): void {
  test('is one operation where products are in C++, and gives what the same operations give one by one', async () => {
    const kernels = tier.kernels();
    expect(kernels.onePass!(16)).not.toBeNull();
    expect(kernels.onePass!(17)).toBeNull();
    await fc.assert(
      fc.asyncProperty(smallConfig, fc.nat(), prompts, async (config, seed, [prompt]) => {
        const model = await randomModel(config, seed);
        const ids = prompt!.slice(0, 16);
        const together = await sequenceLogits(model, ids, kernels);
        const apart = await sequenceLogits(model, ids, { ...kernels, onePass: undefined });
        expect(together).toEqual(apart);
        for (const parameter of parametersOf(model)) parameter.dispose();
      }),
      { numRuns: 25 },
    );
  });

  test('tells which operation went wrong', () => {
    const pass = tier.kernels().onePass!(1)!;
    const [x, narrow] = [tf.ones([1, 4]), parameter('narrow', tf.ones([3, 2]))];
    expect(() => pass.logits(x, narrow, null)).toThrow('WpoLinearRows: x and w differ in width');
  });

  test('has no gradients', () => {
    const pass = tier.kernels().onePass!(1)!;
    const result = pass.linear(tf.ones([1, 2]), parameter('w', tf.ones([3, 2])));
    expect(() => result.backward(tf.ones([1, 3]))).toThrow('has no gradients');
  });

  const [TENSOR, INTS, RUN, DROP] = [0, 1, 2, 3];
  test.each([
    ['nothing', [], 'whose last instruction is no operation'],
    ['no known instruction', [9], 'no such instruction'],
    ['an operation that there is not', [RUN, 900], 'no such operation'],
    ['an operation without its inputs', [TENSOR, RUN, operationNumber('WpoLinearRows'), 0], 'ends too soon'],
    ['a value not made yet', [TENSOR, RUN, operationNumber('WpoLinearRows'), 0, 5], 'WpoLinearRows reads a value'],
    ['a value dropped', [TENSOR, DROP, 0, RUN, operationNumber('WpoGeglu'), 0, 0], 'WpoGeglu reads a value'],
    ['ints for floats', [INTS, 1, 1, 7, RUN, operationNumber('WpoGeglu'), 0, 0], 'WpoGeglu reads a value'],
    ['more ints than it has', [INTS, 1, 9, 7], 'ends within its ints'],
    ['more tensors than given', [TENSOR, TENSOR], 'too few tensors'],
    ['something after its last operation', [TENSOR, RUN, operationNumber('WpoGeglu'), 0, 0, TENSOR], 'too few tensors'],
  ])('a program of %s is refused', (_, code, message) => {
    tf.tidy(() => {
      const run = () => runOver('WpoProgram', [tf.tensor1d(code, 'int32')], [tf.ones([2, 2])]);
      expect(run).toThrow(message);
    });
  });
}
