import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { storedBytes, tensorflowKernels } from '@wpo/tensorflow/kernels';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type AdaptedGemma2, adapted } from '../../src/adapter/adapted';
import { adapterTensors, type LoraConfig } from '../../src/adapter/lora-config';
import type { Gemma2 } from '../../src/model';
import type { Kernels, OpResult, Value, Weight } from '../../src/ops/contract';
import { portableKernels } from '../../src/ops/portable';
import type { Parameter } from '../../src/parameter';
import { type GemmaPolicy, gemmaPolicy, type PolicyOptions } from '../../src/policy';
import { parametersOf } from '../../src/weights';
import { copyOf, randomModel, smallConfig, smallPair } from '../models';

const LINEAR = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'];

const cases = smallConfig.chain((config) =>
  fc.record({
    config: fc.constant({ ...config, rmsNormEps: 0.1 }),
    seed: fc.nat(),
    pairs: fc.array(smallPair(config.vocabSize, 8), { minLength: 1, maxLength: 2 }),
    lora: fc.record({
      r: fc.integer({ min: 1, max: 4 }),
      loraAlpha: fc.integer({ min: 1, max: 8 }),
      targetModules: fc.oneof(fc.constant('all-linear'), fc.subarray(LINEAR, { minLength: 1 })),
      useRslora: fc.boolean(),
      useDora: fc.boolean(),
    }),
    how: fc.record({
      activationCheckpointing: fc.constantFrom('auto' as const, 'always' as const, 'never' as const),
      activationBytes: fc.integer({ min: 0, max: 20_000 }),
    }),
  }),
);
type Case = typeof cases extends fc.Arbitrary<infer T> ? T : never;
type Pairs = Case['pairs'];

const named = (pairs: Pairs) => pairs.map((pair, i) => ({ id: `pair-${i}`, ...pair }));
const answerTokens = (pairs: Pairs) => pairs.reduce((sum, p) => sum + p.chosen.length + p.rejected.length, 0);
const slopes = (length: number) => Float32Array.from({ length }, (_, i) => Math.sin(1 + 3 * i));

/** Gives every parameter of the adapter random values, as training could. */
function randomize({ adapter }: AdaptedGemma2, seed: number): void {
  adapter.parameters.forEach((p, i) => {
    const spread = p.name.includes('magnitude') ? 0.1 : 0.5 / Math.sqrt(p.shape[1]!);
    const noise = () => tf.randomNormal([...p.shape], 0, spread, 'float32', seed + i);
    p.assign(tf.tidy(() => (p.name.includes('magnitude') ? tf.mul(copyOf(p), tf.add(noise(), 1)) : noise())));
  });
}

async function logpsOf(policy: GemmaPolicy, pairs: Pairs, options: { train: boolean; step?: number }) {
  const pass = await policy.forward(named(pairs), options);
  const { logps } = await pass.terms();
  pass.dispose();
  return logps;
}

/** Gradients by a parameter's name. */
async function gradientsOf(policy: GemmaPolicy, pairs: Pairs, step = 1): Promise<Map<string, Float32Array>> {
  const pass = await policy.forward(named(pairs), { train: true, step });
  await pass.backward(slopes(answerTokens(pairs)));
  pass.dispose();
  const gradients = new Map<string, Float32Array>();
  for (const p of policy.parameters) gradients.set(p.name, ((await p.gradient()!.data()) as Float32Array).slice());
  for (const p of policy.parameters) p.zeroGradient();
  return gradients;
}

const disposeAll = (model: Gemma2<Parameter>) => {
  for (const one of parametersOf(model)) one.dispose();
};

describe.each([
  ['portable', () => portableKernels],
  ['native', tensorflowKernels],
] as const)('on the %s kernels', (_, makeKernels) => {
  const kernels = makeKernels();
  const policyOf = (model: Gemma2, how: PolicyOptions = {}) => gemmaPolicy(model, { kernels, ...how });

  test('a new adapter leaves every log-prob as it is, to the last bit', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async ({ config, seed, pairs, lora, how }) => {
        const base = await randomModel(config, seed, kernels);
        const model = adapted(base, lora, { seed, kernels });
        const expected = await logpsOf(policyOf(base), pairs, { train: false });
        expect(await logpsOf(policyOf(model), pairs, { train: false })).toEqual(expected);
        expect(await logpsOf(policyOf(model, how), pairs, { train: true })).toEqual(expected);
        model.adapter.dispose();
        disposeAll(base);
      }),
      { numRuns: 25 },
    );
  });

  test('only the adapter has gradients; its passes and its end leave no tensor behind', async () => {
    await fc.assert(
      fc.asyncProperty(cases, fc.constantFrom(0, 0.4), async ({ config, seed, pairs, lora, how }, loraDropout) => {
        const base = await randomModel(config, seed, kernels);
        const withBase = [tf.memory().numTensors, heldBytes()];
        const model = adapted(base, { ...lora, loraDropout }, { seed, kernels });
        randomize(model, seed);
        const policy = policyOf(model, how);
        expect(policy.parameters).toEqual(model.adapter.parameters);
        await logpsOf(policy, pairs, { train: false }); // computes DoRA's norms
        const [tensors, before] = [tf.memory().numTensors, heldBytes()];
        const pass = await policy.forward(named(pairs), { train: true, step: 1 });
        await pass.backward(slopes(answerTokens(pairs)));
        pass.dispose();
        for (const p of policy.parameters) expect(p.gradient()!.shape).toEqual(p.shape);
        for (const p of parametersOf(base)) expect(p.gradient()).toBe(null);
        const sizes = policy.parameters.map(({ shape }) => 4 * tf.util.sizeFromShape([...shape]));
        expect(heldBytes() - before).toBe(sizes.reduce((a, b) => a + b, 0));
        for (const p of policy.parameters) p.zeroGradient();
        const dropped = await policy.forward(named(pairs), { train: true, step: 1 });
        await dropped.terms(); // the pass runs here, and what was recorded before it
        dropped.dispose();
        expect([tf.memory().numTensors, heldBytes()]).toEqual([tensors, before]);
        model.adapter.dispose();
        expect([tf.memory().numTensors, heldBytes()]).toEqual(withBase);
        disposeAll(base);
      }),
      { numRuns: 25 },
    );
  });

  test('recomputed activations give the same bits as kept ones, with dropout too', async () => {
    await fc.assert(
      fc.asyncProperty(cases, fc.constantFrom(0, 0.3), async ({ config, seed, pairs, lora }, loraDropout) => {
        const base = await randomModel(config, seed, kernels);
        const model = adapted(base, { ...lora, loraDropout }, { seed, kernels });
        randomize(model, seed);
        const gradients = (activationCheckpointing: 'always' | 'never') =>
          gradientsOf(policyOf(model, { activationCheckpointing }), pairs);
        expect(await gradients('always')).toEqual(await gradients('never'));
        model.adapter.dispose();
        disposeAll(base);
      }),
      { numRuns: 20 },
    );
  });

  test('has the gradients of finite differences, with dropout too', async () => {
    await fc.assert(
      fc.asyncProperty(cases, fc.constantFrom(0, 0.3), async ({ config, seed, pairs, lora }, loraDropout) => {
        // the norms of DoRA have no gradient, so differences show it for the magnitudes only
        const base = await randomModel(config, seed, kernels);
        const model = adapted(base, { ...lora, loraDropout }, { seed, kernels });
        randomize(model, seed);
        const policy = policyOf(model);
        const moved = policy.parameters.filter(({ name }) => !lora.useDora || name.includes('magnitude'));
        const gradients = await gradientsOf(policy, pairs);
        const size = Math.sqrt(moved.reduce((sum, { name }) => sum + squares(gradients.get(name)!), 0));
        fc.pre(size > 1e-3);
        const weights = slopes(answerTokens(pairs));
        const values = moved.map(copyOf);
        const at = async (by: number) => {
          moved.forEach((p, i) => {
            const step = tf.tensor(
              gradients.get(p.name)!.map((g) => (g * by) / size),
              [...p.shape],
            );
            p.assign(tf.add(values[i]!, step));
            step.dispose();
          });
          const logps = await logpsOf(policy, pairs, { train: true, step: 1 });
          return logps.reduce((sum, value, i) => sum + value * weights[i]!, 0);
        };
        const central = async (h: number) => ((await at(h)) - (await at(-h))) / (2 * h);
        const errors: number[] = [];
        for (const change of [0.3, 0.1, 0.03, 0.01]) {
          const h = change / Math.max(1, size);
          errors.push(Math.abs((4 * (await central(h / 2)) - (await central(h))) / 3 - size));
        }
        expect(Math.min(...errors)).toBeLessThan(0.02 * Math.max(0.1, size));
        tf.dispose(values);
        model.adapter.dispose();
        disposeAll(base);
      }),
      { numRuns: 15 },
    );
  });

  test('dropout depends on the step and on the pair, not on the pairs beside it', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async ({ config, seed, pairs, lora }) => {
        const base = await randomModel(config, seed, kernels);
        const all = { ...lora, targetModules: 'all-linear', loraDropout: 0.5 };
        const model = adapted(base, all, { seed, kernels });
        randomize(model, seed);
        const policy = policyOf(model);
        const together = await logpsOf(policy, pairs, { train: true, step: 3 });
        expect(await logpsOf(policy, pairs, { train: true, step: 3 })).toEqual(together);
        let start = 0;
        for (const pair of named(pairs)) {
          const pass = await policy.forward([pair], { train: true, step: 3 });
          const { logps } = await pass.terms();
          pass.dispose();
          logps.forEach((value, i) => expect(Math.abs(value - together[start + i]!)).toBeLessThan(1e-4));
          start += logps.length;
        }
        expect(await logpsOf(policy, pairs, { train: true, step: 4 })).not.toEqual(together);
        const evaluated = await logpsOf(policy, pairs, { train: false });
        expect(evaluated).not.toEqual(together);
        const sameButDropout = adapted(base, { ...all, loraDropout: 0 }, { kernels, tensors: copies(model) });
        expect(await logpsOf(policyOf(sameButDropout), pairs, { train: false })).toEqual(evaluated);
        sameButDropout.adapter.dispose();
        model.adapter.dispose();
        disposeAll(base);
      }),
      { numRuns: 10 },
    );
  });

  test('LoRA of full rank makes any step of SGD that full training makes', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async ({ config, seed, pairs, lora }) => {
        const base = await randomModel(config, seed, kernels);
        const rate = 1e-2;
        // With A the identity, s · B · A takes the step −rate · dW where B takes −rate / s² · dB, since dB = s · dW · Aᵀ.
        const widths: Record<string, number> = {};
        for (const { name, shape } of parametersOf(base)) {
          if (name.includes('_proj')) widths[name.replace('.weight', '').replace('model.', '')] = shape[1]!;
        }
        const full = { ...lora, targetModules: 'all-linear', useDora: false, rankPattern: widths };
        const model = adapted(base, full, { kernels });
        for (const p of model.adapter.parameters) {
          if (p.name.includes('lora_A')) p.assign(tf.eye(p.shape[0]!));
        }
        const [trained, whole] = [policyOf(model), policyOf(base)];
        const [small, large] = [await gradientsOf(trained, pairs), await gradientsOf(whole, pairs)];
        for (const [i, module] of model.adapter.modules.entries()) {
          const b = model.adapter.parameters[2 * i + 1]!;
          stepBy(b, small.get(b.name)!, -rate / module.scaling ** 2);
        }
        const reached = await logpsOf(trained, pairs, { train: false });
        for (const p of parametersOf(base)) {
          if (p.name.includes('_proj')) stepBy(p, large.get(p.name)!, -rate);
        }
        for (const p of model.adapter.parameters) if (p.name.includes('lora_B')) p.assign(tf.zeros([...p.shape]));
        const expected = await logpsOf(whole, pairs, { train: false });
        reached.forEach((value, i) => {
          expect(Math.abs(value - expected[i]!)).toBeLessThan(1e-4 * Math.max(1, Math.abs(expected[i]!)));
        });
        model.adapter.dispose();
        disposeAll(base);
      }),
      { numRuns: 15 },
    );
  });

  test('nothing is computed in the backward pass below the first adapter, nor kept for it', async () => {
    const [config] = fc.sample(smallConfig, { numRuns: 1, seed: 7 });
    const layers = 4;
    const layerTypes = Array.from({ length: layers }, () => 'full_attention' as const);
    const base = await randomModel({ ...config!, numHiddenLayers: layers, layerTypes }, 1, kernels);
    const backward = new Set<string>();
    const model = adapted(base, { targetModules: ['k_proj'], layersToTransform: [2] }, { kernels });
    randomize(model, 1);
    for (const activationCheckpointing of ['always', 'never'] as const) {
      backward.clear();
      const policy = gemmaPolicy(model, { kernels: recorded(kernels, backward), activationCheckpointing });
      const pairs = [{ prompt: [2, 3, 4], chosen: [5, 6], rejected: [7] }];
      await gradientsOf(policy, pairs);
      const inLayer = (layer: number) => [...backward].filter((name) => name.startsWith(`model.layers.${layer}.`));
      expect(inLayer(0)).toEqual([]);
      expect(inLayer(1)).toEqual([]);
      expect(inLayer(3)).toHaveLength(11);
      // between the adapter of the keys and the output there is no query or value projection, nor the norm before them
      expect(inLayer(2).map((name) => name.split('.').at(-2))).toEqual(
        expect.not.arrayContaining(['q_proj', 'v_proj', 'input_layernorm']),
      );
    }
    model.adapter.dispose();
    disposeAll(base);
  });
});

/** Kernels that record the weights of the operations whose backward pass runs. */
function recorded(kernels: Kernels, names: Set<string>): Kernels {
  const watch = (w: Weight, result: OpResult): OpResult => ({
    ...result,
    backward(dy: Value) {
      names.add(w.name);
      return result.backward(dy);
    },
  });
  return {
    ...kernels,
    embedding: (ids, w, scale) => watch(w, kernels.embedding(ids, w, scale)),
    linear: (x, w) => watch(w, kernels.linear(x, w)),
    linearToHeads: (x, w, heads) => watch(w, kernels.linearToHeads(x, w, heads)),
    linearFromHeads: (x, w) => watch(w, kernels.linearFromHeads(x, w)),
    gegluLinear: (gate, up, w) => watch(w, kernels.gegluLinear(gate, up, w)),
    rmsNorm: (x, w, epsilon, residual) => watch(w, kernels.rmsNorm(x, w, epsilon, residual)),
  };
}

/** Bytes of all tensors and stored values. */
const heldBytes = () => tf.memory().numBytes + storedBytes().allocated;

const squares = (values: Float32Array) => values.reduce((sum, value) => sum + value * value, 0);

function stepBy(p: Parameter, gradient: Float32Array, factor: number): void {
  p.assign(tf.tidy(() => tf.add(copyOf(p), tf.mul(tf.tensor(gradient, [...p.shape]), factor))));
}

const copies = ({ adapter }: AdaptedGemma2) => new Map(adapter.parameters.map((p) => [p.name, copyOf(p)]));

describe('adapters that are refused:', () => {
  const [config] = fc.sample(smallConfig, { numRuns: 1, seed: 7 });
  test.each<[string, Partial<LoraConfig>, object, string]>([
    ['no module', { targetModules: ['x_proj'] }, {}, 'adapted: targetModules: expected names of linear'],
    ['a negative seed', {}, { seed: -1 }, 'adapted: seed: expected a whole number of at least 0, found -1.'],
    ['missing tensors', {}, { tensors: new Map() }, 'adapted: tensors: expected the'],
  ])('%s', async (_, lora, options, message) => {
    const base = await randomModel(config!, 1);
    expect(() => adapted(base, lora, options)).toThrow(message);
    disposeAll(base);
  });

  test('tensors of another shape or name', async () => {
    const base = await randomModel(config!, 1);
    const model = adapted(base, { r: 2 });
    const tensors = copies(model);
    const [first] = adapterTensors(model.adapter.modules, model.adapter.config);
    tensors.set(first!.name, tf.zeros([3, 3]));
    tensors.set('other', tf.zeros([1]));
    expect(() => adapted(base, { r: 2 }, { tensors })).toThrow(
      `${first!.name} of shape [3,3], expected [${first!.shape}]; an unexpected other.`,
    );
    expect(() => adapted(model, { r: 2 })).toThrow('adapted: expected a model without an adapter');
  });

  test('dropout without the number of the step', async () => {
    const model = adapted(await randomModel(config!, 1), { loraDropout: 0.1 });
    const pairs = [{ prompt: [2], chosen: [3], rejected: [4] }];
    await expect(logpsOf(gemmaPolicy(model), pairs, { train: true })).rejects.toThrow(
      'forward: step: expected the number of the training step',
    );
  });
});
