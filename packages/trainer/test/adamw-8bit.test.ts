import * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import { adamW, adamW8bit, dynamicMap, type Optimizer } from '../src';
import golden from './fixtures/adamw-8bit.json';
import { readState, spread, toyParameter } from './toy-policy';

const bytes = (text: string) => Uint8Array.from(Buffer.from(text, 'base64'));
const floats = (text: string) => new Float32Array(bytes(text).buffer);
const values = (tensor: tf.Tensor) => tensor.dataSync() as Float32Array;
/** The largest difference, relative to the larger of the expected value and `least`. */
const error = (found: ArrayLike<number>, expected: Float32Array, least: number) =>
  expected.reduce(
    (most, value, i) => Math.max(most, Math.abs(found[i]! - value) / Math.max(Math.abs(value), least)),
    found.length === expected.length ? 0 : Number.NaN,
  );

test('the maps are those of bitsandbytes', () => {
  expect(dynamicMap('signed')).toEqual(floats(golden.maps.signed));
  expect(dynamicMap('unsigned')).toEqual(floats(golden.maps.unsigned));
});

test('four steps give the codes, scales and values of bitsandbytes on a CPU', async () => {
  const size = tf.util.sizeFromShape(golden.shape);
  const fromIndex = (value: (i: number) => number) =>
    tf.tensor(
      Float32Array.from({ length: size }, (_, i) => value(i)),
      golden.shape,
    );
  const parameter = toyParameter(
    'p',
    true,
    fromIndex((i) => (((i * 31) % 2001) - 1000) / 1024),
  );
  const optimizer = adamW8bit({ weightDecay: golden.weight_decay });
  for (const [at, expected] of golden.steps.entries()) {
    const gradient = (i: number) => {
      const isZero = i % 17 === 0 || Math.floor(i / 256) === 3;
      return isZero ? 0 : (((i * 7919 + (at + 1) * 104729) % 10007) - 5003) * 2 ** -(4 + ((i * 7) % 13));
    };
    parameter.assignGradient(fromIndex(gradient));
    optimizer.step({ parameters: [parameter], learningRate: golden.rates[at]!, gradientScale: 1 });
    const state = await readState(optimizer);
    expect(state['p.exp_avg_codes']).toEqual(bytes(expected.exp_avg_codes));
    expect(state['p.exp_avg_sq_codes']).toEqual(bytes(expected.exp_avg_sq_codes));
    expect(error(state['p.exp_avg_absmax']!, floats(expected.exp_avg_absmax), 1e-6)).toBeLessThan(4 * 2 ** -23);
    expect(error(state['p.exp_avg_sq_absmax']!, floats(expected.exp_avg_sq_absmax), 1e-6)).toBeLessThan(4 * 2 ** -23);
    expect(error(values(parameter.value()), floats(expected.values), golden.rates[0]!)).toBeLessThan(4 * 2 ** -23);
  }
});

describe('moments of small parameters and of chosen ones stay float32', () => {
  const run = async (optimizer: Optimizer, name: string, size: number) => {
    const parameter = toyParameter(name, true, tf.tensor1d(spread(size)));
    for (const seed of [1, 2]) {
      parameter.assignGradient(tf.tensor1d(spread(size, seed)));
      optimizer.step({ parameters: [parameter], learningRate: 0.01, gradientScale: 0.5 });
    }
    return { ...(await readState(optimizer)), value: values(parameter.value()) };
  };

  test('with fewer than 4,096 values, the update is that of adamW', async () => {
    expect(await run(adamW8bit(), 'p', 4095)).toEqual(await run(adamW(), 'p', 4095));
    expect(Object.keys(await run(adamW8bit(), 'p', 4096))).toContain('p.exp_avg_codes');
  });

  test('a second moment that stays float32 is that of adamW, bit for bit', async () => {
    const optimizer = adamW8bit({ float32SecondMoment: ({ name }) => name === 'embedding' });
    const found = await run(optimizer, 'embedding', 5000);
    expect(Object.keys(found).sort()).toEqual([
      'embedding.exp_avg_absmax',
      'embedding.exp_avg_codes',
      'embedding.exp_avg_sq',
      'value',
    ]);
    expect(found['embedding.exp_avg_sq' as keyof typeof found]).toEqual(
      (await run(adamW(), 'embedding', 5000))['embedding.exp_avg_sq' as keyof typeof found],
    );
  });
});

test('the state takes 2.03 bytes per value', () => {
  const shape = [1024, 1024];
  expect(adamW8bit().stateBytes({ name: 'p', shape })).toBe(2 * (2 ** 20 + 4 * 2 ** 12));
});

/** Weights after 60 steps from 0 with noisy gradients, whose sizes differ by up to e^(2 `width`). */
function trained(optimizer: Optimizer, width: number): Float32Array {
  const size = 4096;
  const scales = spread(size).map((x) => Math.exp(width * x));
  const parameter = toyParameter('p', false, tf.zeros([size]));
  for (let step = 1; step <= 60; step++) {
    const gradient = scales.map((scale, i) => 1e-4 * scale * (Math.sin(0.3 * i) + Math.sin(1.7 * step * (i + 1))));
    parameter.assignGradient(tf.tensor1d(gradient));
    optimizer.step({ parameters: [parameter], learningRate: 1e-3, gradientScale: 1 });
  }
  return values(parameter.value());
}

test('with gradients of similar sizes, 60 steps end near those of adamW', () => {
  const [found, expected] = [trained(adamW8bit(), 1), trained(adamW(), 1)];
  const norm = (x: Float32Array) => Math.sqrt(x.reduce((sum, value) => sum + value * value, 0));
  expect(norm(found.map((value, i) => value - expected[i]!)) / norm(expected)).toBeLessThan(0.1);
});

test('with gradients of very different sizes in a block, no weight moves much further than with adamW', () => {
  const furthest = (x: Float32Array) => Math.max(...x.map(Math.abs));
  expect(furthest(trained(adamW8bit(), 6))).toBeLessThan(2 * furthest(trained(adamW(), 6)));
});
