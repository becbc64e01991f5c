import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { generateBatch, parameter, parametersOf, sequenceLogits } from '@wpo/gemma';
import fc from 'fast-check';
import { afterEach, expect, test, vi } from 'vitest';
import { logitGaps } from '../../gemma/test/logit-gaps';
import { randomModel, smallConfig } from '../../gemma/test/models';
import { operationNumber, runProgram } from '../src/kernels/native';
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
          for (const gap of await logitGaps(model, prompts[i]!, answer)) expect(gap).toBeLessThan(1e-4);
        }
        for (const parameter of parametersOf(model)) parameter.dispose();
      }),
      { numRuns: 25 },
    );
  });
}

/** Tests of the programs that fused operations are run in. */
export function testPrograms(tier: Tier): void {
  const calls = () =>
    vi.spyOn(tf.backend() as unknown as { executeMultipleOutputs(): void }, 'executeMultipleOutputs').mockClear();
  afterEach(() => vi.restoreAllMocks());

  test('a pass of few rows is one call of TensorFlow', async () => {
    const kernels = tier.kernels();
    await fc.assert(
      fc.asyncProperty(smallConfig, fc.nat(), prompts, async (config, seed, [prompt]) => {
        const model = await randomModel(config, seed);
        const ran = calls();
        await sequenceLogits(model, prompt!.slice(0, 16), kernels);
        expect(ran).toHaveBeenCalledTimes(1);
        for (const parameter of parametersOf(model)) parameter.dispose();
      }),
      { numRuns: 5 },
    );
  });

  test('operations are run before they hold much', () => {
    const kernels = tier.kernels();
    const w = parameter('w', tf.ones([1 << 11, 1]));
    const x = tf.ones([1 << 11, 1]);
    const ran = calls();
    const made = Array.from({ length: 5 }, () => kernels.linear(x, w).output); // of 2²² values each
    expect(ran).toHaveBeenCalledTimes(1);
    for (const value of made) value.dispose();
    tf.dispose(x);
    w.dispose();
  });

  test('what an operation reads may be freed before it is run, and what it makes be read through any handle', () => {
    const kernels = tier.kernels();
    const before = tf.memory().numTensors;
    const x = tf.tensor2d([[1, 2]]);
    const w = parameter('w', tf.tensor2d([[3, 4]]));
    const { output: value } = kernels.linear(x, w);
    x.dispose();
    const other = value.clone();
    value.dispose();
    value.dispose(); // again is nothing
    w.dispose();
    expect(kernels.materialize!(other).dataSync()).toEqual(Float32Array.of(11));
    other.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  test('what happens to be run in a tidy outlives it', () => {
    const kernels = tier.kernels();
    const x = tf.tensor2d([[1, 2]]);
    const w = parameter('w', tf.tensor2d([[3, 4]]));
    const { output: value } = kernels.linear(x, w);
    tf.tidy(() => void kernels.materialize!(value));
    expect(kernels.materialize!(value).dataSync()).toEqual(Float32Array.of(11));
    for (const one of [value, x, w]) one.dispose();
  });

  test('a weight whose gradients are summed by other kernels refuses one that is put off', () => {
    const x = tf.ones([1, 2]);
    const w = parameter('w', tf.ones([3, 2]));
    const kernels = tier.kernels();
    const { output: value, backward } = kernels.linear(x, w);
    expect(() => backward(tf.ones([1, 3]))).toThrow(
      /^w: gradient: expected a tensor, found a lazy value of other kernels/,
    );
    kernels.materialize!(value); // leaves nothing noted
    for (const one of [value, x, w]) one.dispose();
  });

  test('the operation that went wrong is told, and what comes after it goes on', () => {
    const kernels = tier.kernels();
    const before = tf.memory().numTensors;
    const [x, narrow, wide] = [
      tf.ones([1, 4]),
      parameter('narrow', tf.ones([3, 2])),
      parameter('wide', tf.ones([3, 4])),
    ];
    const { output: value } = kernels.linear(x, narrow);
    expect(() => kernels.materialize!(value)).toThrow('WpoLinearRows: x and w differ in width');
    expect(() => kernels.materialize!(value)).toThrow('there is no value');
    value.dispose();
    const fine = kernels.linear(x, wide);
    expect(kernels.materialize!(fine.output).dataSync()).toEqual(Float32Array.of(4, 4, 4));
    for (const one of [fine.output, x, narrow, wide]) one.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  const [TENSOR, INTS, RUN, DROP, GIVE] = [0, 1, 2, 3, 4];
  const [LINEAR, GEGLU] = ['WpoLinearRows', 'WpoGeglu'].map(operationNumber) as [number, number];
  test.each([
    ['no known instruction', [9], 'no such instruction'],
    ['an operation that there is not', [RUN, 900], 'no such operation'],
    ['an operation without its inputs', [TENSOR, RUN, LINEAR, 0], 'ends too soon'],
    ['an operation without the shape of its output', [TENSOR, RUN, GEGLU, 0, 0, 2, 2], 'ends too soon'],
    ['an operation that makes another size', [TENSOR, RUN, GEGLU, 0, 0, 1, 3], 'WpoGeglu makes values of another size'],
    ['a value not made yet', [TENSOR, RUN, LINEAR, 0, 5, 0], 'WpoLinearRows reads a value'],
    ['a value dropped', [TENSOR, RUN, GEGLU, 0, 0, 1, 4, DROP, 1, RUN, GEGLU, 0, 1, 0], 'WpoGeglu reads a value'],
    ['ints for floats', [INTS, 1, 1, 7, RUN, GEGLU, 0, 0, 0], 'WpoGeglu reads a value'],
    ['more ints than it has', [INTS, 1, 9, 7], 'ends within its ints'],
    ['more tensors than given', [TENSOR, TENSOR], 'too few tensors'],
    ['a tensor dropped', [TENSOR, DROP, 0], 'no such value'],
    ['a tensor given back', [TENSOR, GIVE, 0], 'no such value'],
  ])('a program of %s is refused', (_, code, message) => {
    tf.tidy(() => {
      expect(() => runProgram(code, [tf.ones([2, 2])], 0)).toThrow(message);
    });
  });

  test.each([
    ['less', 1, []],
    ['more', 1, [GIVE, 1, GIVE, 1]],
  ])('a program that gives back %s than was said is refused', (what, outputs, give) => {
    tf.tidy(() => {
      const code = [TENSOR, RUN, GEGLU, 0, 0, 1, 4, ...give];
      expect(() => runProgram(code, [tf.ones([2, 2])], outputs)).toThrow(`${what} is given back than was said`);
    });
  });
}
