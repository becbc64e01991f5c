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

/** Tests that a tier's kernels generate the tokens that are most likely with the portable kernels. */
export function testGeneration(tier: Tier): void {
  test('generates the most likely tokens of the portable kernels, and leaves no tensor behind', async () => {
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

/** Tests of the programs that run recorded operations. */
export function testPrograms(tier: Tier): void {
  const calls = () =>
    vi.spyOn(tf.backend() as unknown as { executeMultipleOutputs(): void }, 'executeMultipleOutputs').mockClear();
  afterEach(() => vi.restoreAllMocks());

  test('a pass over few rows is one call of TensorFlow', async () => {
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

  test('recorded operations run before their outputs take much memory', () => {
    const kernels = tier.kernels();
    const w = parameter('w', tf.ones([1 << 11, 1]));
    const x = tf.ones([1 << 11, 1]);
    const ran = calls();
    const made = Array.from({ length: 5 }, () => kernels.linear(x, w).output); // 2²² values each
    expect(ran).toHaveBeenCalledTimes(1);
    for (const value of made) value.dispose();
    tf.dispose(x);
    w.dispose();
  });

  test('an input may be disposed before its operation runs, and an output read through any handle', () => {
    const kernels = tier.kernels();
    const before = tf.memory().numTensors;
    const x = tf.tensor2d([[1, 2]]);
    const w = parameter('w', tf.tensor2d([[3, 4]]));
    const { output: value } = kernels.linear(x, w);
    x.dispose();
    const other = value.clone();
    value.dispose();
    value.dispose(); // a second call does nothing
    w.dispose();
    expect(kernels.materialize!(other).dataSync()).toEqual(Float32Array.of(11));
    other.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  test('a value that is computed within a tf.tidy outlives it', () => {
    const kernels = tier.kernels();
    const x = tf.tensor2d([[1, 2]]);
    const w = parameter('w', tf.tensor2d([[3, 4]]));
    const { output: value } = kernels.linear(x, w);
    tf.tidy(() => void kernels.materialize!(value));
    expect(kernels.materialize!(value).dataSync()).toEqual(Float32Array.of(11));
    for (const one of [value, x, w]) one.dispose();
  });

  test('a parameter with other kernels refuses a lazy gradient', () => {
    const x = tf.ones([1, 2]);
    const w = parameter('w', tf.ones([3, 2]));
    const kernels = tier.kernels();
    const { output: value, backward } = kernels.linear(x, w);
    expect(() => backward(tf.ones([1, 3]))).toThrow(
      /^w: gradient: expected a tensor, found a lazy value of other kernels/,
    );
    kernels.materialize!(value); // leaves nothing recorded
    for (const one of [value, x, w]) one.dispose();
  });

  test('an error names its operation, and later operations run', () => {
    const kernels = tier.kernels();
    const before = tf.memory().numTensors;
    const [x, narrow, wide] = [
      tf.ones([1, 4]),
      parameter('narrow', tf.ones([3, 2])),
      parameter('wide', tf.ones([3, 4])),
    ];
    const { output: value } = kernels.linear(x, narrow);
    expect(() => kernels.materialize!(value)).toThrow(
      'WpoProgram: WpoLinearRows: expected x and w of one width, found 4 and 2',
    );
    expect(() => kernels.materialize!(value)).toThrow('an operation before it failed');
    value.dispose();
    const fine = kernels.linear(x, wide);
    expect(kernels.materialize!(fine.output).dataSync()).toEqual(Float32Array.of(4, 4, 4));
    for (const one of [fine.output, x, narrow, wide]) one.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  const [TENSOR, INTS, RUN, DROP, GIVE] = [0, 1, 2, 3, 4];
  const [LINEAR, GEGLU, PROGRAM] = ['WpoLinearRows', 'WpoGeglu', 'WpoProgram'].map(operationNumber) as [
    number,
    number,
    number,
  ];
  test.each([
    ['an unknown instruction', [9], 'expected an instruction from 0 to 7, found 9 at 0'],
    ['an operation that does not exist', [RUN, 900], 'expected an operation from 0 to'],
    ['an operation of a negative number', [RUN, -1], 'expected an operation from 0 to'],
    ['an operation without its inputs', [TENSOR, RUN, LINEAR, 0], 'ends within an instruction'],
    ['an operation without the shape of its output', [TENSOR, RUN, GEGLU, 0, 0, 2, 2], 'ends within an instruction'],
    ['an output of another size', [TENSOR, RUN, GEGLU, 0, 0, 1, 3], 'WpoGeglu: makes an output of shape [2, 2]'],
    ['an output of a negative size', [TENSOR, RUN, GEGLU, 0, 0, 1, -4], 'expected dimensions of 0 or more, found [-4]'],
    ['an output of 100 dimensions', [TENSOR, RUN, GEGLU, 0, 0, 100], 'expected a rank from 0 to 8, found 100'],
    [
      'an output of 2⁹⁰ values',
      [TENSOR, RUN, GEGLU, 0, 0, 3, 2 ** 30, 2 ** 30, 2 ** 30],
      'expected a tensor of at most',
    ],
    [
      'a value that does not exist yet',
      [TENSOR, RUN, LINEAR, 0, 5, 0],
      'WpoLinearRows: expected w: float|bfloat16 as input 1, found value 5',
    ],
    [
      'a value that was dropped',
      [TENSOR, RUN, GEGLU, 0, 0, 1, 4, DROP, 1, RUN, GEGLU, 0, 1, 0],
      'WpoGeglu: expected up: float',
    ],
    ['ints for floats', [INTS, 1, 1, 7, RUN, GEGLU, 0, 0, 0], 'WpoGeglu: expected gate: float'],
    ['more ints than it has', [INTS, 1, 9, 7], 'ends within its ints: expected 9, found 1'],
    ['ints of a negative rank', [INTS, -1, 9, 7], 'expected a rank from 0 to 8, found -1'],
    ['ints of 2⁶⁰ values', [INTS, 2, 2 ** 30, 2 ** 30, 7], 'expected a tensor of at most'],
    ['more tensors than given', [TENSOR, TENSOR], 'reads more than the 1 tensors given'],
    ['an input tensor that is dropped', [TENSOR, DROP, 0], "expected the number of an operation's output, found 0"],
    ['an input tensor as an output', [TENSOR, GIVE, 0], "expected the number of an operation's output, found 0"],
    ['a program within it', [INTS, 1, 0, TENSOR, RUN, PROGRAM, 0, 1, 0], 'WpoProgram cannot be part of a program'],
  ])('a program of %s is refused', (_, code, message) => {
    tf.tidy(() => {
      expect(() => runProgram(code, [tf.ones([2, 2])], 0)).toThrow(message);
    });
  });

  test.each([
    ['fewer', [], 'the program returns 0 of the 1 outputs declared'],
    ['more', [GIVE, 1, GIVE, 1], 'the program returns more than the 1 outputs declared'],
  ])('a program that returns %s outputs than declared is refused', (_, give, message) => {
    tf.tidy(() => {
      const code = [TENSOR, RUN, GEGLU, 0, 0, 1, 4, ...give];
      expect(() => runProgram(code, [tf.ones([2, 2])], 1)).toThrow(message);
    });
  });
}
