import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { gemma2_2b, gemmaPolicy, type Kernels } from '@wpo/gemma';
import { describe, expect, test } from 'vitest';
import { randomModel } from '../../gemma/test/models';
import { nativeKernels } from '../src/kernels/kernels';
import { Program } from '../src/kernels/program';

// The outputs of RMSNorm that linear layers read are not kept for the backward pass: it recomputes them.

const config = {
  ...gemma2_2b,
  ...{ vocabSize: 50, hiddenSize: 24, intermediateSize: 40, numHiddenLayers: 3 },
  ...{ numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 6, queryPreAttnScalar: 6, slidingWindow: 8 },
  layerTypes: gemma2_2b.layerTypes.slice(0, 3),
};
const tokens = (count: number, from: number) => Array.from({ length: count }, (_, i) => (7 * i + from) % 50);
const pairs = [{ id: 'pair', prompt: tokens(9, 1), chosen: tokens(20, 2), rejected: tokens(17, 3) }];

const withoutDiscarding = (kernels: Kernels): Kernels => ({
  ...kernels,
  rmsNorm(...inputs) {
    const { discard, ...result } = kernels.rmsNorm(...inputs);
    return result;
  },
});

/** The bytes that a pass keeps for its backward pass, and the bits of all gradients. */
async function pass(kernels: Kernels, activationCheckpointing: 'always' | 'never') {
  const model = await randomModel(config, 1, kernels);
  const policy = gemmaPolicy(model, { kernels, activationCheckpointing });
  const before = tf.memory().numBytes;
  const forward = await policy.forward(pairs, { train: true });
  const { logps } = await forward.terms();
  const kept = tf.memory().numBytes - before;
  await forward.backward(logps.map((_, i) => Math.sin(i)));
  forward.dispose();
  const gradients = await Promise.all(policy.parameters.map(async (one) => Array.from(await one.gradient()!.data())));
  for (const parameter of policy.parameters) parameter.dispose();
  expect(tf.memory().numBytes).toBeLessThanOrEqual(before);
  return { kept, gradients };
}

describe.each(['float32', 'bfloat16'] as const)('in %s', (precision) => {
  test.each(['always', 'never'] as const)('gradients have the same bits, activation_checkpointing: %s', async (how) => {
    const kernels = nativeKernels({ precision });
    const [discarding, keeping] = [await pass(kernels, how), await pass(withoutDiscarding(kernels), how)];
    expect(discarding.gradients).toEqual(keeping.gradients);
    const [rows, answerRows] = [9 + 20 + 17, 20 + 17];
    // two in a layer: of all rows, but the second of the last layer is of the answers' rows
    const values = ((2 * config.numHiddenLayers - 1) * rows + answerRows) * config.hiddenSize;
    const saved = how === 'always' ? 0 : values * (precision === 'bfloat16' ? 2 : 4);
    expect(keeping.kept - discarding.kept).toBe(saved);
  });
});

describe('Program.discard', () => {
  const x = () => tf.tensor2d([[1, 2, 3, 4]]);
  const record = (program: Program, input: tf.Tensor) =>
    program.record('WpoScaledRows', [input, { ints: [0] }, { numbers: [2] }], [1, 4])[0]!;

  test('frees a value, which is recomputed once an operation reads it', () => {
    const program = new Program();
    const input = x();
    const value = record(program, input);
    program.run();
    const { numTensors } = tf.memory();
    program.discard(value, () => record(program, input));
    expect(tf.memory().numTensors).toBe(numTensors - 1);
    const read = record(program, program.materialize(value));
    expect([...program.materialize(read).dataSync()]).toEqual([4, 8, 12, 16]);
    expect(tf.memory().numTensors).toBe(numTensors + 1);
    for (const one of [value, read, input]) one.dispose();
    expect(tf.memory().numTensors).toBe(numTensors - 2);
  });

  test('works before the program has run', () => {
    const program = new Program();
    const input = x();
    const value = record(program, input);
    program.discard(value, () => record(program, input));
    const clone = value.clone();
    value.dispose();
    expect([...program.materialize(clone).dataSync()]).toEqual([2, 4, 6, 8]);
    clone.dispose();
    input.dispose();
  });
});
