import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { frozenWeight, type Kernels, type OpResult, parameter, type Value } from '@wpo/gemma';
import { gradientNorm, type OptimizerKernel, portableOptimizer } from '@wpo/trainer';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { nativeKernels } from '../src/kernels/kernels';
import { optimizers } from './optimizers';
import type { Tier } from './tiers';

export const size = (max: number) => fc.integer({ min: 1, max });
const seeds = fc.nat(2 ** 30);

/** Normal values from a seed. */
export const normal = (shape: number[], seed: number, spread = 1) =>
  tf.randomNormal(shape, 0, spread, 'float32', seed + 1);

/** The values of a tensor or a lazy value. */
export const values = (x: unknown) => nativeKernels().materialize!(x as Value).dataSync() as Float32Array;

const largestOf = (values: Float32Array, atLeast: number) =>
  values.reduce((most, value) => Math.max(most, Math.abs(value)), atLeast);

/** Differences within a few float32 roundings, or another tolerance, of the largest value, or of 1, the size of the inputs. */
function expectClose(found: unknown, expected: unknown, what: string, { tolerance = 2e-5, size = 1 } = {}): void {
  const [a, b] = [values(found), values(expected)];
  expect((found as Value).shape, what).toEqual((expected as Value).shape);
  const largest = largestOf(b, size);
  a.forEach((value, i) => expect(Math.abs(value - b[i]!) / largest, `${what}[${i}]`).toBeLessThan(tolerance));
}

type Operation = (
  kernels: Kernels,
  weight: (shape: number[], seed: number) => ReturnType<typeof parameter>,
) => OpResult;

/** Compares an operation's output and gradients between a tier's kernels and the portable ones. */
const comparing = (tier: Tier) => (operation: Operation, seed: number, tolerance?: number) => {
  const outcome = (kernels: Kernels) => {
    const weights: ReturnType<typeof parameter>[] = [];
    const result = operation(kernels, (shape, at) => {
      const made = parameter(`w${weights.length}`, normal(shape, seed + at, 0.3), { kernels });
      weights.push(made);
      return made;
    });
    const dy = normal([...result.output.shape], seed + 99);
    return { result, inputs: result.backward(dy), gradients: weights.map((w) => w.gradient()) };
  };
  const [found, expected] = [outcome(tier.kernels()), outcome(tier.portable)];
  // A rounded operand of a product may differ by its last bit: by 2^-7 of itself, times another operand.
  const size = tolerance && expected.result.inputsForBackward.reduce((most, x) => largestOf(values(x), most), 1);
  const close = (found: unknown, expected: unknown, what: string) =>
    expectClose(found, expected, what, { tolerance, size });
  close(found.result.output, expected.result.output, 'value');
  found.inputs.forEach((dx, i) => close(dx, expected.inputs[i], `gradient of input ${i}`));
  found.gradients.forEach((dw, i) => close(dw, expected.gradients[i], `gradient of weight ${i}`));
};

export const property = <T>(arbitrary: fc.Arbitrary<T>, check: (value: T, seed: number) => void) =>
  fc.assert(
    fc.property(arbitrary, seeds, (value, seed) => {
      tf.engine().startScope();
      try {
        check(value, seed);
      } finally {
        tf.engine().endScope();
      }
    }),
    { numRuns: 40 },
  );

const asyncProperty = <T>(arbitrary: fc.Arbitrary<T>, check: (value: T, seed: number) => Promise<void>) =>
  fc.assert(
    fc.asyncProperty(arbitrary, seeds, async (value, seed) => {
      tf.engine().startScope();
      try {
        await check(value, seed);
      } finally {
        tf.engine().endScope();
      }
    }),
    { numRuns: 40 },
  );

/** Tests that compare a tier's kernels with the portable ones, values and gradients, on random shapes, windows and masks. */
export function testKernels(tier: Tier): void {
  const kernels = tier.kernels();

  testActivations(tier);

  test('dropout keeps the same values', () => {
    const shapes = fc.record({
      heads: size(3),
      tokens: size(50),
      features: size(70),
      rate: fc.constantFrom(0, 0.05, 0.5, 0.999),
      byFeature: fc.boolean(),
    });
    property(shapes, ({ heads, tokens, features, rate, byFeature }, seed) => {
      const keys = Int32Array.from({ length: tokens }, (_, i) => Math.imul(seed + i, 0x9e3779b1));
      const x = normal(byFeature ? [heads, features, tokens] : [tokens, features], seed);
      const dropped = (kernels: Kernels) => values(kernels.dropout(x, { keys, rate, byFeature }));
      expect(dropped(kernels)).toEqual(dropped(tier.portable));
    });
  });

  test('sums of gradients: add and addRows', () => {
    property(fc.record({ rows: size(60), width: size(60), count: size(30) }), ({ rows, width, count }, seed) => {
      const indices = Int32Array.from({ length: count }, (_, i) => (seed + i * i) % rows);
      const outcome = (kernels: Kernels) =>
        kernels.addRows(
          kernels.add(normal([rows, width], seed), normal([rows, width], seed + 1)),
          indices,
          normal([count, width], seed + 2),
          rows,
        );
      expectClose(outcome(kernels), outcome(tier.portable), 'sum');
      const fresh = (kernels: Kernels) => kernels.addRows(null, indices, normal([count, width], seed + 2), rows);
      expectClose(fresh(kernels), fresh(tier.portable), 'fresh sum');
    });
  });

  test('the gradient norm', async () => {
    const weights = (kernels?: Kernels) => {
      const made = [parameter('a', normal([67, 33], 1), { kernels }), parameter('b', normal([5000], 2), { kernels })];
      made.forEach((w, i) => w.assignGradient(normal([...w.shape], 10 + i)));
      return made;
    };
    const [found, expected] = [await tier.norm(weights(tier.kernels())), await gradientNorm(weights())];
    expect(Math.abs(found / expected - 1)).toBeLessThan(1e-6);
  });

  test.each(Object.entries(optimizers))('%s over several steps', async (_, optimizerOf) => {
    const run = async (kernel: OptimizerKernel, kernels?: Kernels) => {
      const optimizer = optimizerOf({ weightDecay: 0.1, kernel });
      const weights = [
        parameter('a', normal([130, 33], 1), { kernels }),
        parameter('norm', normal([50], 2), { decay: false, kernels }),
        parameter('embedding', normal([67, 99], 3), { kernels }),
        parameter('vector', normal([5000], 4), { decay: false, kernels }),
      ];
      for (let step = 0; step < 5; step++) {
        weights.forEach((w, i) => w.assignGradient(normal([...w.shape], 10 * step + i)));
        await optimizer.step({ parameters: weights, learningRate: 1e-2, gradientScale: 0.7 });
        for (const w of weights) w.zeroGradient();
      }
      const state = new Map<string, Float32Array | Uint8Array>();
      for (const { name, shape, read } of optimizer.state().tensors) {
        state.set(name, await read(0, tf.util.sizeFromShape([...shape])));
      }
      return { weights, state };
    };
    const [found, expected] = [await run(tier.optimizer, tier.kernels()), await run(portableOptimizer)];
    found.weights.forEach((w, i) => expectClose(w.value(), expected.weights[i]!.value(), w.name));
    expect([...found.state.keys()]).toEqual([...expected.state.keys()]);
    for (const [name, values] of found.state) {
      const others = expected.state.get(name)!;
      if (values instanceof Uint8Array) {
        // a value between two codes may be rounded to either
        const differences = Array.from(values, (code, i) => Math.abs(code - others[i]!));
        expect(Math.max(...differences), name).toBeLessThanOrEqual(1);
        expect(differences.filter((by) => by > 0).length, name).toBeLessThanOrEqual(values.length / 1000);
      } else expectClose(tf.tensor1d(values), tf.tensor1d(others), name, { size: 1e-30 });
    }
  });
}

/** The same of operations whose results depend on the precision: those with matrix products, and those that these read. */
export function testActivations(tier: Tier): void {
  const kernels = tier.kernels();
  const compare = comparing(tier);

  test('RMSNorm, with and without a residual', () => {
    property(fc.record({ rows: size(70), width: size(70), added: fc.boolean() }), ({ rows, width, added }, seed) => {
      compare(
        (kernels, weight) => {
          const residual = added ? normal([rows, width], seed + 2) : undefined;
          // a smaller epsilon would amplify the rounding of near-zero rows hundreds of times
          return kernels.rmsNorm(normal([rows, width], seed), weight([width], 3), 1e-2, residual);
        },
        seed,
        tier.tolerance,
      );
    });
  });

  test('rotary embedding', () => {
    property(fc.record({ heads: size(5), half: size(20), tokens: size(40) }), ({ heads, half, tokens }, seed) => {
      const positions = Int32Array.from({ length: tokens }, (_, i) => (i * 37) % 8192);
      compare(
        (kernels) =>
          kernels.rope(normal([heads, 2 * half, tokens], seed), kernels.rotaryTables(positions, 2 * half, 10000)),
        seed,
        tier.tolerance,
      );
    });
  });

  test('products with a weight, for few and for many rows', () => {
    const shapes = fc.record({ rows: size(24), width: size(70), heads: size(4), head: size(20) });
    property(shapes, ({ rows, width, heads, head }, seed) => {
      const out = heads * head;
      const linears: Operation[] = [
        (kernels, weight) => kernels.linear(normal([rows, width], seed), weight([out, width], 3)),
        (kernels, weight) => kernels.linearToHeads(normal([rows, width], seed), weight([out, width], 3), heads),
        (kernels, weight) => kernels.linearFromHeads(normal([heads, head, rows], seed), weight([width, out], 3)),
      ];
      for (const linear of linears) compare(linear, seed, tier.tolerance);
    });
  });

  test('GeGLU with the product after it', () => {
    property(fc.record({ rows: size(50), width: size(60), out: size(30) }), ({ rows, width, out }, seed) => {
      compare(
        (kernels, weight) => {
          const [gate, up] = [normal([rows, width], seed, 4), normal([rows, width], seed + 1)];
          return kernels.gegluLinear(gate, up, weight([out, width], 2));
        },
        seed,
        tier.tolerance,
      );
    });
  });

  test('the operations of adapters: products that are added, GeGLU, scaling', () => {
    const shapes = fc.record({
      rows: size(40),
      columns: size(40),
      depth: size(40),
      transposeA: fc.boolean(),
      transposeB: fc.boolean(),
      added: fc.boolean(),
      isActivation: fc.boolean(),
      factor: fc.constantFrom(1, 0.5, -3),
    });
    property(shapes, ({ rows, columns, depth, transposeA, transposeB, added, isActivation, factor }, seed) => {
      const [a, b] = [
        normal(transposeA ? [depth, rows] : [rows, depth], seed),
        normal(transposeB ? [columns, depth] : [depth, columns], seed + 1),
      ];
      const shape = [1, rows, columns];
      const of = (kernels: Kernels) => {
        const addTo = added ? kernels.scale(normal(shape, seed + 2), 1) : null;
        return kernels.product(a, b, { transposeA, transposeB, shape, addTo, isActivation });
      };
      expectClose(of(kernels), of(tier.portable), 'product', isActivation ? { tolerance: tier.tolerance } : {});
      compare(
        ({ geglu }) => geglu(normal([rows, depth], seed, 4), normal([rows, depth], seed + 1)),
        seed,
        tier.tolerance,
      );
      const scaled = (kernels: Kernels) => kernels.scale(normal([rows, depth], seed), factor);
      expectClose(scaled(kernels), scaled(tier.portable), 'scaled');
    });
  });

  test('attention with head groups, windows, soft caps and two key ranges', () => {
    const shapes = fc.record({
      keyHeads: size(3),
      group: size(3),
      width: fc.oneof(size(12), size(40)),
      prompt: fc.oneof({ weight: 3, arbitrary: size(40) }, size(300)), // more than a query block
      answer: fc.oneof({ weight: 3, arbitrary: size(40) }, size(300)),
      window: fc.constantFrom(1, 3, 17, 150, Number.POSITIVE_INFINITY),
      softcap: fc.constantFrom(null, 1, 50),
    });
    property(shapes, ({ keyHeads, group, width, prompt, answer, window, softcap }, seed) => {
      const tokens = prompt + 2 * answer; // the prompt, and two answers that do not see each other
      const blocks = [
        { start: 0, count: prompt, keyRanges: [{ start: 0, count: prompt }], positionOffset: 0, window },
        { start: prompt, count: answer, keyRanges: [{ start: prompt, count: answer }], positionOffset: 0, window },
        {
          start: prompt + answer,
          count: answer,
          keyRanges: [
            { start: 0, count: prompt },
            { start: prompt + answer, count: answer },
          ],
          positionOffset: prompt,
          window,
        },
      ];
      compare(
        (kernels) =>
          kernels.attention(
            normal([keyHeads * group, width, tokens], seed, 2),
            normal([keyHeads, width, tokens], seed + 1, 2),
            normal([keyHeads, width, tokens], seed + 2),
            blocks,
            { scale: 1 / Math.sqrt(width), softcap },
          ),
        seed,
        tier.tolerance,
      );
    });
  });

  test('attention of one query per sequence over a key-value cache, and writes to the cache', () => {
    const shapes = fc.record({
      keyHeads: size(3),
      group: size(3),
      width: size(20),
      lengths: fc.array(size(40), { minLength: 1, maxLength: 4 }),
      window: fc.constantFrom(1, 9, Number.POSITIVE_INFINITY),
      softcap: fc.constantFrom(null, 1, 50),
    });
    property(shapes, ({ keyHeads, group, width, lengths, window, softcap }, seed) => {
      const starts = lengths.map((_, i) => lengths.slice(0, i).reduce((sum, n) => sum + n, 0) + i); // with an unused column between sequences
      const count = starts.at(-1)! + lengths.at(-1)! + 1;
      const blocks = lengths.map((length, i) => {
        const keys = Math.min(length, window);
        const keyRanges = [{ start: starts[i]! + length - keys, count: keys }];
        return { start: i, count: 1, keyRanges, positionOffset: keys - 1, window };
      });
      const columns = Int32Array.from(lengths, (length, i) => starts[i]! + length - 1);
      compare(
        (kernels) => {
          const cached = (at: number) => {
            const before = kernels.setColumns(null, Int32Array.of(0), normal([keyHeads, width, 1], at), count);
            const filled = kernels.add(before, normal([keyHeads, width, count], at + 1));
            return kernels.setColumns(filled, columns, normal([keyHeads, width, columns.length], at + 2), count);
          };
          const q = normal([keyHeads * group, width, lengths.length], seed, 2);
          return kernels.attention(q, cached(seed + 3), cached(seed + 6), blocks, {
            scale: 1 / Math.sqrt(width),
            softcap,
          });
        },
        seed,
        tier.tolerance,
      );
    });
  });

  test('answer log-probs and alignment terms', async () => {
    const shapes = fc.record({
      answers: size(30),
      width: size(20),
      vocabulary: fc.integer({ min: 2, max: 300 }),
      softcap: fc.constantFrom(null, 3, 30),
      chunk: fc.constantFrom(700, 1 << 20), // in values: a few rows at a time, or all
    });
    await asyncProperty(shapes, async ({ answers, width, vocabulary, softcap, chunk }, seed) => {
      const targets = Int32Array.from({ length: answers }, (_, i) => (seed + i * 7919) % vocabulary);
      const limits = { train: chunk, frozen: chunk, forward: chunk, kept: 2 * chunk };
      const dLogps = normal([answers], seed + 5) as tf.Tensor1D;
      const outcome = async (kernels: Kernels) => {
        const table = parameter('table', normal([vocabulary, width], seed), { kernels });
        const head = await kernels.answerLogps(normal([answers, width], seed + 1, 2), table, targets, softcap, true);
        return { ...head, dHidden: await head.backward(dLogps), dTable: table.gradient() };
      };
      const [found, expected] = [await outcome(tier.kernels(limits)), await outcome(tier.portable)];
      for (const part of ['logps', 'logSumSquares', 'logMax', 'dHidden', 'dTable'] as const) {
        expectClose(found[part], expected[part], part, { tolerance: tier.tolerance });
      }
      const frozen = frozenWeight('table', normal([vocabulary, width], seed));
      const { answerLogps } = tier.kernels(limits);
      const head = await answerLogps(normal([answers, width], seed + 1, 2), frozen, targets, softcap, true);
      expect(values(head.logps)).toEqual(values(found.logps));
      expect(values(await head.backward(dLogps))).toEqual(values(found.dHidden));
    });
  });
}
