import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { parameter, parametersOf, sequenceLogits } from '@wpo/gemma';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { randomModel, smallConfig } from '../../gemma/test/models';
import { hasOperation, nativeProducts, operationNumber, runOver } from '../src/kernels/native';
import { prompts, testGeneration } from './generate-properties';
import { tiers } from './tiers';

describe.each([
  ['fused', 16],
  ['fused', 8],
  ['fused', 4], // one by one: attention's products are TensorFlow's there
  ['raw', 16],
] as const)('generation by %s operations of up to %i lanes', (name, lanes) => {
  beforeAll(() => {
    process.env.WPO_LANES = String(lanes);
  });
  afterAll(() => {
    delete process.env.WPO_LANES;
  });
  testGeneration(tiers[name]);
});

describe.runIf(nativeProducts() && hasOperation('WpoProgram'))('a pass of few rows', () => {
  test('is one operation where products are in C++, and gives what the same operations give one by one', async () => {
    const kernels = tiers.fused.kernels();
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
    const pass = tiers.fused.kernels().onePass!(1)!;
    const [x, narrow] = [tf.ones([1, 4]), parameter('narrow', tf.ones([3, 2]))];
    expect(() => pass.logits(x, narrow, null)).toThrow('WpoLinearRows: x and w differ in width');
  });

  test('has no gradients', () => {
    const pass = tiers.fused.kernels().onePass!(1)!;
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
});
