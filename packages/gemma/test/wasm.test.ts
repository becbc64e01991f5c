import '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { gemmaPolicy } from '../src/policy';
import { parametersOf } from '../src/weights';
import { randomModel, smallConfig, smallPair } from './models';
import { slopesOf } from './packs';

afterAll(() => tf.setBackend('cpu'));

const cases = smallConfig.chain((config) =>
  fc.record({ config: fc.constant(config), seed: fc.nat(), pair: smallPair(config.vocabSize, 8) }),
);
type Case = typeof cases extends fc.Arbitrary<infer T> ? T : never;

/** Log-probs of a pair, and the gradients of all weights. */
async function passOn(backend: string, { config, seed, pair }: Case) {
  expect(await tf.setBackend(backend)).toBe(true);
  const model = await randomModel(config, seed);
  const pass = await gemmaPolicy(model).forward([{ id: 'pair', ...pair }], { train: true });
  const { logps } = await pass.terms();
  await pass.backward(slopesOf(logps));
  pass.dispose();
  const gradients = parametersOf(model).map(
    (p) => [p.name, (p.gradient() as tf.Tensor).dataSync() as Float32Array] as const,
  );
  for (const p of parametersOf(model)) p.dispose();
  return [['log-probs', logps] as const, ...gradients];
}

test('the WebAssembly backend has the log-probs and gradients of the CPU backend', async () => {
  await fc.assert(
    fc.asyncProperty(cases, async (given) => {
      const [cpu, wasm] = [await passOn('cpu', given), await passOn('wasm', given)];
      for (const [i, [name, values]] of wasm.entries()) {
        const expected = cpu[i]![1];
        const largest = expected.reduce((max, x) => Math.max(max, Math.abs(x)), 1e-3);
        const difference = values.reduce((max, x, j) => Math.max(max, Math.abs(x - expected[j]!)), 0);
        expect(difference / largest, name).toBeLessThan(1e-4);
      }
    }),
    // Fixed draws: a rare one amplifies rounding beyond the tolerance, on any backend.
    { numRuns: 25, seed: 1 },
  );
});
