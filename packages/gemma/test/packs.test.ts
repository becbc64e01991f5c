import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { adapted } from '../src/adapter/adapted';
import { loraDefaults } from '../src/adapter/lora-config';
import { portableKernels } from '../src/ops/portable';
import type { Parameter } from '../src/parameter';
import { type GemmaPolicy, gemmaPolicy, type PacksOptions, type PolicyOptions } from '../src/policy';
import { blockParameters, parametersOf } from '../src/weights';
import { randomModel, smallConfig, smallPair } from './models';
import { type Packs, passesInTurn, slopesOf } from './packs';

const cases = smallConfig.chain((config) =>
  fc.record({
    config: fc.constant(config),
    seed: fc.nat(),
    sizes: fc.array(fc.array(smallPair(config.vocabSize, 8), { minLength: 1, maxLength: 2 }), {
      minLength: 1,
      maxLength: 4,
    }),
    how: fc.record({
      activationCheckpointing: fc.constantFrom('auto' as const, 'always' as const, 'never' as const),
      activationBytes: fc.integer({ min: 0, max: 40_000 }),
    }),
    lora: fc.constantFrom(null, { useDora: false }, { useDora: true }),
  }),
);
type Case = typeof cases extends fc.Arbitrary<infer T> ? T : never;

const packsOf = ({ sizes }: Case): Packs =>
  sizes.map((pairs, pack) => pairs.map((pair, i) => ({ id: `pair-${pack}-${i}`, ...pair })));

async function modelOf({ config, seed, lora }: Case) {
  const base = await randomModel(config, seed);
  if (!lora) return { model: base, dispose: () => parametersOf(base).forEach((p) => void p.dispose()) };
  const settings = { ...loraDefaults, r: 2, targetModules: 'all-linear', loraDropout: 0.3, ...lora };
  const model = adapted(base, settings);
  for (const p of model.adapter.parameters) {
    p.assign(tf.add(p.value() as tf.Tensor, tf.randomNormal([...p.shape], 0, 0.1, 'float32', seed)));
  }
  return {
    model,
    dispose() {
      model.adapter.dispose();
      for (const p of parametersOf(base)) p.dispose();
    },
  };
}

/** All packs in one pass: each pack's log-probs. The gradients add up in the parameters. */
async function layerMajor(policy: GemmaPolicy, packs: Packs, options: Partial<PacksOptions> = {}) {
  const passes = await policy.forwardPacks(packs, { train: true, step: 2, ...options });
  const logps: Float32Array[] = [];
  for (const pass of passes) {
    const terms = await pass.terms();
    logps.push(terms.logps);
    await pass.backward(slopesOf(terms.logps));
  }
  for (const pass of passes) pass.dispose();
  return logps;
}

const gradientOf = (p: Parameter) => [...((p.gradient() as tf.Tensor | null)?.dataSync() ?? [])];

describe('several packs in one pass, layer by layer,', () => {
  test('have the log-probs and gradients of passes in turn, bit for bit', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (given) => {
        const packs = packsOf(given);
        const { model, dispose } = await modelOf(given);
        const policy = gemmaPolicy(model, given.how);
        const result = (logps: Float32Array[]) => {
          const gradients = policy.parameters.map((p) => [p.name, gradientOf(p)] as const);
          for (const p of policy.parameters) p.zeroGradient();
          return { logps, gradients };
        };
        const together = result(await layerMajor(policy, packs));
        expect(together).toEqual(result(await passesInTurn(model, packs, { ...given.how, kernels: portableKernels })));
        dispose();
      }),
      { numRuns: 40 },
    );
  });

  test('report the gradients of each block once, when they are complete, from the last layer to the first', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (given) => {
        const { model, dispose } = await modelOf(given);
        const policy = gemmaPolicy(model, given.how);
        await layerMajor(policy, packsOf(given));
        const final = new Map(policy.parameters.map((p) => [p.name, gradientOf(p)]));
        for (const p of policy.parameters) p.zeroGradient();
        const seen: string[] = [];
        await layerMajor(policy, packsOf(given), {
          gradientsReady(ready) {
            for (const p of ready) {
              seen.push(p.name);
              expect(gradientOf(p), p.name).toEqual(final.get(p.name));
              p.zeroGradient();
            }
          },
        });
        const layers = model.layers.map((_, layer) => layer).reverse();
        const blocks = ['norm' as const, ...layers, 'embedding' as const];
        expect(seen).toEqual(blocks.flatMap((block) => blockParameters(model, block)).map(({ name }) => name));
        expect(policy.parameters.map((p) => p.gradient())).toEqual(policy.parameters.map(() => null));
        dispose();
      }),
      { numRuns: 20 },
    );
  });

  test('read parameters only between acquire and release: once for each block, in each direction', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (given) => {
        const { model, dispose } = await modelOf(given);
        const held = new Set<string>();
        const policy = gemmaPolicy(model, given.how);
        for (const p of policy.parameters) {
          const value = p.value.bind(p);
          vi.spyOn(p, 'value').mockImplementation(() => {
            expect(held).toContain(p.name);
            return value();
          });
        }
        const calls: string[] = [];
        const hooks = {
          async acquire(parameters: readonly Parameter[]) {
            await Promise.resolve();
            for (const { name } of parameters) {
              expect(held).not.toContain(name);
              held.add(name);
              calls.push(`+${name}`);
            }
          },
          release(parameters: readonly Parameter[]) {
            for (const { name } of parameters) {
              expect(held.delete(name), name).toBe(true);
              calls.push(`-${name}`);
            }
          },
        };
        await layerMajor(policy, packsOf(given), hooks);
        expect(held).toEqual(new Set());
        vi.restoreAllMocks();
        const layers = model.layers.map((_, layer) => layer);
        const head = 'embedding' as const;
        const forward = ['embedding' as const, ...layers, 'norm' as const, head];
        const backward = ['norm' as const, ...[...layers].reverse(), 'embedding' as const];
        const expected = [...forward, ...backward].flatMap((block) => {
          const names = blockParameters(model, block).map(({ name }) => name);
          return [...names.map((name) => `+${name}`), ...names.map((name) => `-${name}`)];
        });
        expect(calls).toEqual(expected);
        dispose();
      }),
      { numRuns: 20 },
    );
  });

  test('keep at most activationBytes, beside the inputs of layers', async () => {
    await fc.assert(
      fc.asyncProperty(cases, fc.integer({ min: 0, max: 40_000 }), async (given, activationBytes) => {
        const { model, dispose } = await modelOf({ ...given, lora: null });
        const heldBy = async (options: PolicyOptions) => {
          const before = tf.memory().numBytes;
          const passes = await gemmaPolicy(model, options).forwardPacks(packsOf(given), { train: true });
          const held = tf.memory().numBytes - before;
          for (const pass of passes) pass.dispose();
          expect(tf.memory().numBytes).toBe(before);
          return held;
        };
        const inputs = await heldBy({ activationCheckpointing: 'always' });
        expect((await heldBy({ activationCheckpointing: 'auto', activationBytes })) - inputs).toBeLessThanOrEqual(
          activationBytes,
        );
        dispose();
      }),
      { numRuns: 20 },
    );
  });
});

test.each([
  [1, 'always'],
  [1, 'never'],
  [3, 'auto'],
] as const)(
  'a pause or a hook that throws gives %d packs up, at any moment, and leaves no tensor behind and no weights acquired: %s',
  async (count, activationCheckpointing) => {
    const [config] = fc.sample(smallConfig, { numRuns: 1, seed: 7 });
    const model = await randomModel(config!, 1);
    const policy = gemmaPolicy(model, { activationCheckpointing });
    const pair = { prompt: [2, 3, 4], chosen: [5, 6], rejected: [7] };
    const packs = Array.from({ length: count }, (_, i) => [{ id: `pair ${i}`, ...pair }]);
    const before = tf.memory().numTensors;
    const endsAfter = async (moments: number) => {
      let left = moments;
      const stop = async () => {
        if (left-- === 0) throw new Error('stop here');
      };
      let acquired = 0;
      const acquire = async () => {
        await stop();
        acquired += 1;
      };
      const release = () => void acquired--;
      try {
        const passes = await policy.forwardPacks(packs, {
          ...{ train: true, pause: stop, acquire, release, gradientsReady: stop },
        });
        try {
          for (const pass of passes) await pass.backward(Float32Array.of(1, 1, -1));
        } finally {
          for (const pass of passes) pass.dispose();
        }
        return true;
      } catch (error) {
        expect((error as Error).message).toBe('stop here');
        return false;
      } finally {
        for (const parameter of policy.parameters) parameter.zeroGradient();
        expect(tf.memory().numTensors, `after ${moments} moments`).toBe(before);
        expect(acquired, `after ${moments} moments`).toBe(0);
      }
    };
    let moments = 0;
    while (!(await endsAfter(moments))) moments++;
    expect(moments).toBeGreaterThan(count * 15 * config!.numHiddenLayers);
  },
);
