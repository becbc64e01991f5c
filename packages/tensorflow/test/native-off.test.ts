import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { gemmaPolicy, type Kernels, parametersOf, portableKernels } from '@wpo/gemma';
import { nativeOperations, tensorflowAdamW, tensorflowGradientNorm, tensorflowKernels } from '@wpo/tensorflow/kernels';
import { type AdamWKernel, adamW, gradientNorm, type Parameter, step, wpoPairLoss } from '@wpo/trainer';
import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { randomModel, smallConfig } from '../../gemma/test/models';
import { fused } from '../src/kernels/kernels';
import { raw } from '../src/kernels/raw/kernels';

// A file of tests is a process of its own, and the variable is read at the first question.
vi.hoisted(() => {
  process.env.WPO_NATIVE = '0';
});

test("WPO_NATIVE=0 leaves the operations in C++ unloaded and takes TensorFlow's own", () => {
  expect(nativeOperations()).toBe(false);
  expect(tensorflowKernels().rope).toBe(raw().rope);
  expect(() => fused().add(tf.ones([1]), tf.ones([1]))).toThrow('there is no operation WpoAdd');
});

interface Way {
  readonly kernels: Kernels;
  readonly update?: AdamWKernel;
  readonly computeNorm: (parameters: readonly Parameter[]) => Promise<number>;
}

const pairs = [
  { id: 'a', prompt: [2, 5, 3], chosen: [4, 6, 1], rejected: [7, 1] },
  { id: 'b', prompt: [2, 3], chosen: [5, 1], rejected: [6, 6, 4, 3, 1] },
];
const references = [
  { chosen: -9, rejected: -6 },
  { chosen: -5, rejected: -14 },
];

/** Losses and gradient norms of four steps, and the weights that came of them. */
async function train({ kernels, update, computeNorm }: Way) {
  const [config] = fc.sample(smallConfig, { numRuns: 1, seed: 3 });
  const policy = gemmaPolicy(await randomModel(config!, 11, kernels), { kernels });
  const optimizer = adamW({ kernel: update, weightDecay: 0.1 });
  const how = {
    policy,
    optimizer,
    computeNorm,
    loss: wpoPairLoss({ beta: 0.1 }),
    learningRate: 1e-2,
    maxGradNorm: 0.1,
  };
  const numbers: number[] = [];
  for (let i = 0; i < 4; i++) {
    const result = await step({ ...how, microBatches: [{ pairs, references }] });
    numbers.push(...result.pairs.map((pair) => pair.loss), result.gradNorm);
  }
  return { numbers, weights: parametersOf(policy.model).map((w) => w.value().dataSync() as Float32Array) };
}

test('training by them takes the steps that training by composed operations takes', async () => {
  const found = await train({
    kernels: tensorflowKernels(),
    update: tensorflowAdamW(),
    computeNorm: tensorflowGradientNorm(),
  });
  const wanted = await train({ kernels: portableKernels, computeNorm: gradientNorm });
  expect(new Set(wanted.numbers).size).toBe(12);
  found.numbers.forEach((value, i) => expect(Math.abs(value / wanted.numbers[i]! - 1)).toBeLessThan(1e-4));
  found.weights.forEach((weight, w) => {
    weight.forEach((value, i) => expect(Math.abs(value - wanted.weights[w]![i]!)).toBeLessThan(1e-5));
  });
});
