import * as tf from '@tensorflow/tfjs-core';
import {
  type Gemma2Config,
  gemmaPolicy,
  type Kernels,
  parametersOf,
  portableBf16Kernels,
  portableKernels,
  type QueryBlock,
} from '@wpo/gemma';
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { randomModel } from '../../../gemma/test/models';
import { nativeKernels } from '../../src/kernels/kernels';
import { float32Bits, nativeStore, runProgram } from '../../src/kernels/native';
import { Program } from '../../src/kernels/program';
import { normal, values } from '../kernel-properties';
import { call, stored, withArena } from '../stored';
import { type NativeStore, useEmulatedGpu } from './addons';

// native/gpu/fused-attention.cu on an emulated GPU, whose matrix units are emulated lane by lane. On it heads may also have 32
// features, which is faster to emulate than the 128 and 256 of Gemma-2.

await useEmulatedGpu();

const fused = nativeKernels({ precision: 'bfloat16' });

interface Case {
  readonly headSize: number;
  readonly keyHeads: number;
  readonly group: number;
  readonly prompt: number;
  readonly answers: readonly number[];
  readonly window: number;
  readonly softcap: number | null;
  /** The queries of a block. */
  readonly size: number;
  readonly seed: number;
}

/** Blocks of a prompt and its answers, each of which sees the prompt and itself. */
function queryBlocks({ prompt, answers, window, size }: Case): QueryBlock[] {
  const blocks: QueryBlock[] = [];
  let start = 0;
  for (const [i, count] of [prompt, ...answers].entries()) {
    const before = i === 0 ? 0 : prompt; // positions before this part
    for (let done = 0; done < count; done += size) {
      const queries = Math.min(size, count - done);
      const own = { start, count: done + queries };
      const keyRanges = i === 0 ? [own] : [{ start: 0, count: prompt }, own];
      blocks.push({ start: start + done, count: queries, keyRanges, positionOffset: before + done, window });
    }
    start += count;
  }
  return blocks;
}

const tokensOf = ({ prompt, answers }: Case) => answers.reduce((sum, n) => sum + n, prompt);

/** q, k, v and dy. */
function inputsOf(given: Case): [q: tf.Tensor, k: tf.Tensor, v: tf.Tensor, dy: tf.Tensor] {
  const { keyHeads, group, headSize, seed } = given;
  const [query, key] = [keyHeads * group, keyHeads].map((heads) => [heads, headSize, tokensOf(given)]);
  return [normal(query!, seed, 2), normal(key!, seed + 1, 2), normal(key!, seed + 2), normal(query!, seed + 3)];
}

/** The output, and the gradients of q, k and v. */
function outcome(kernels: Kernels, given: Case): Float32Array[] {
  const [q, k, v, dy] = inputsOf(given);
  const options = { scale: 1 / Math.sqrt(given.headSize), softcap: given.softcap };
  const { output, backward } = kernels.attention(q, k, v, queryBlocks(given), options);
  return [output, ...backward(dy)].map(values);
}

const largest = (x: Float32Array) => x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
const difference = (x: Float32Array, y: Float32Array) => x.map((value, i) => value - y[i]!);
const rms = (x: Float32Array) => Math.sqrt(x.reduce((sum, value) => sum + value ** 2, 0) / x.length);

const inScope = <T>(use: () => T): T => {
  tf.engine().startScope();
  try {
    return use();
  } finally {
    tf.engine().endScope();
  }
};

/**
 * The portable kernels round probabilities once they are normalized, the fused ones before. Each rounds by 2^-9 of a probability, so
 * outputs, which are means of values, differ by at most 2^-8 of the largest value; and both round them by 2^-9.
 */
const BOUND = 2 ** -7;

/**
 * How far gradients may be from the portable kernels', as a multiple of these kernels' own distance from float32. The gradient of a
 * score subtracts Σ dy · o, where o is of rounded probabilities.
 */
const GRADIENT_BOUND = 2;

function expectPortable(given: Case): void {
  inScope(() => {
    const record = vi.spyOn(Program.prototype, 'record');
    const found = outcome(fused, given);
    const names = record.mock.calls.map(([name]) => name);
    record.mockRestore();
    expect(names.filter((name) => name.includes('Attention'))).toEqual(['WpoFusedAttention', 'WpoFusedAttentionGrad']);
    const [expected, exact] = [portableBf16Kernels, portableKernels].map((kernels) => outcome(kernels, given));
    const [q, k, v, dy] = inputsOf(given).map(values);
    expect(largest(difference(found[0]!, expected![0]!))).toBeLessThan(BOUND * largest(v!));
    for (const [i, gradient] of found.entries()) {
      const rounding = rms(difference(expected![i]!, exact![i]!));
      // Where a query gives one key nearly all its attention, the gradient of a score is a difference of nearly equal numbers,
      // Σ dy · v − Σ dy · o, of which o has the rounding of its probabilities. The gradients of q and k multiply it by k and q.
      // Over few tokens the rounding of o may have the direction of dy (Cauchy and Schwarz's bound), over more it has none.
      const direction = tokensOf(given) < 32 ? Math.sqrt(given.headSize) : 1;
      const least = 2 ** -9 * rms(dy!) * rms(v!) * Math.max(1, rms(q!), rms(k!)) * direction;
      expect(rms(difference(gradient, expected![i]!)), `result ${i}`).toBeLessThan(
        Math.max(GRADIENT_BOUND * rounding, least),
      );
    }
  });
}

const pair: Case = {
  ...{ headSize: 256, keyHeads: 1, group: 2, prompt: 70, answers: [41, 33] },
  ...{ window: Number.POSITIVE_INFINITY, softcap: 50, size: 1024, seed: 7 },
};

describe('fused attention', () => {
  const cases = fc.record({
    headSize: fc.constant(32),
    keyHeads: fc.integer({ min: 1, max: 2 }),
    group: fc.integer({ min: 1, max: 3 }),
    prompt: fc.integer({ min: 2, max: 150 }),
    answers: fc.array(fc.integer({ min: 1, max: 80 }), { maxLength: 3 }),
    window: fc.constantFrom(1, 3, 17, 64, 100, Number.POSITIVE_INFINITY),
    softcap: fc.constantFrom(null, 1, 50, 200),
    size: fc.constantFrom(30, 1024),
    seed: fc.nat(2 ** 30),
  });

  test('gives the values and gradients of the portable kernels, for any query blocks and windows', () => {
    fc.assert(fc.property(cases, expectPortable), { numRuns: 30 });
  });

  test('with the smaller tiles too', () => {
    process.env.WPO_EMULATED_SHARED_KB = '16';
    try {
      fc.assert(fc.property(cases, expectPortable), { numRuns: 10 });
    } finally {
      delete process.env.WPO_EMULATED_SHARED_KB;
    }
  });

  test.each([
    [256, 99],
    [256, 163],
    [128, 99],
  ])("with Gemma-2's heads of %i features and %i KB of shared memory", (headSize, kilobytes) => {
    process.env.WPO_EMULATED_SHARED_KB = String(kilobytes);
    try {
      expectPortable({ ...pair, headSize });
      expectPortable({ ...pair, headSize, softcap: null, window: 40 });
    } finally {
      delete process.env.WPO_EMULATED_SHARED_KB;
    }
  });

  test('gives the same bits each time', () => {
    inScope(() => {
      const [first, second] = [1, 2].map(() => outcome(fused, { ...pair, headSize: 128 }));
      expect(second).toEqual(first);
    });
  });

  test('writes its results and nothing beside them', () => {
    inScope(() => {
      const given = { ...pair, headSize: 32, keyHeads: 2 };
      const [q, k, v, dy] = inputsOf(given);
      const layout = queryBlocks(given).flatMap(({ start, count, positionOffset, keyRanges }) => [
        ...[start, count, positionOffset, 2 ** 30, keyRanges.length],
        ...keyRanges.flatMap((range) => [range.start, range.count]),
      ]);
      const numbers = [layout, float32Bits([0.01, 50])];
      const sums = tf.zeros([q.shape[0]!, q.shape[2]!]);
      const [output, logSums] = runGuarded('WpoFusedAttention', [q, k, v], numbers, [q, sums]);
      const gradients = runGuarded('WpoFusedAttentionGrad', [dy, q, k, v, output!, logSums!], numbers, [q, k, v]);
      for (const result of [output!, logSums!, ...gradients]) {
        expect(values(result).every((value) => Number.isFinite(value) && value !== GUARD)).toBe(true);
      }
    });
  });

  test('refuses what it does not compute', () => {
    const run = (headSize: number, layout: number[]) => () =>
      inScope(() => {
        const [q, k] = [tf.zeros([2, headSize, 3]), tf.zeros([1, headSize, 9])];
        runGuarded('WpoFusedAttention', [q, k, k], [layout, float32Bits([1, 50])], [q, tf.zeros([2, 3])]);
      });
    expect(run(32, [0, 3, 6, 99, 3, 0, 3, 4, 2, 7, 2])).toThrow('expected queries that see at most two ranges of keys');
    expect(run(48, [0, 3, 0, 99, 1, 0, 3])).toThrow(
      'expected a head size for which this GPU has fused attention, found 48',
    );
  });
});

describe('a policy with fused attention', () => {
  const config: Gemma2Config = {
    ...{ vocabSize: 20, hiddenSize: 12, intermediateSize: 16, numAttentionHeads: 2, numKeyValueHeads: 1, headDim: 32 },
    ...{ numHiddenLayers: 2, layerTypes: ['sliding_attention', 'full_attention'], slidingWindow: 9 },
    ...{
      attnLogitSoftcapping: 50,
      finalLogitSoftcapping: 30,
      queryPreAttnScalar: 32,
      rmsNormEps: 0.1,
      ropeTheta: 10000,
    },
    ...{ maxPositionEmbeddings: 128, bosTokenId: 2, eosTokenId: [1], padTokenId: 0 },
  };
  const tokens = (count: number, seed: number) => Array.from({ length: count }, (_, i) => (seed + i * i) % 20);
  const pairs = [0, 1].map((i) => ({
    ...{ id: `pair-${i}`, prompt: tokens(30, i), chosen: tokens(18, i + 5), rejected: tokens(11, i + 9) },
  }));

  /** Log-probs and gradients of all weights, and the tensors that a step leaves behind. */
  async function pass(kernels: Kernels, activationCheckpointing: 'always' | 'never') {
    const model = await randomModel(config, 3, kernels);
    const policy = gemmaPolicy(model, { kernels, activationCheckpointing });
    const before = tf.memory().numTensors;
    const forward = await policy.forward(pairs, { train: true });
    const { logps } = await forward.terms();
    await forward.backward(Float32Array.from(logps, (_, i) => Math.sin(i)));
    forward.dispose();
    const left = tf.memory().numTensors - before;
    const parameters = parametersOf(model);
    const gradients = await Promise.all(parameters.map(async (p) => (await p.gradient()!.data()) as Float32Array));
    for (const parameter of parameters) parameter.dispose();
    return { logps, gradients, left };
  }

  test('has the gradients of the portable kernels, with the same bits where layers are recomputed', async () => {
    const [kept, recomputed] = [await pass(fused, 'never'), await pass(fused, 'always')];
    expect(recomputed).toEqual(kept);
    expect(kept.left).toBe(0);
    const [expected, exact] = [await pass(portableBf16Kernels, 'never'), await pass(portableKernels, 'never')];
    const all = ({ logps, gradients }: typeof kept) => [logps, ...gradients];
    for (const [i, found] of all(kept).entries()) {
      const rounding = rms(difference(all(expected)[i]!, all(exact)[i]!));
      // of two roundings that do not depend on each other, √2 would be expected
      expect(rms(difference(found, all(expected)[i]!)), `result ${i}`).toBeLessThan(1.5 * rounding);
    }
  });
});

const GUARD = 1234.5;

/** Runs an operation whose outputs replace stored values, and expects that it leaves the values between them as they are. */
function runGuarded(
  name: string,
  inputs: readonly tf.Tensor[],
  numbers: readonly (readonly number[])[],
  outputs: readonly tf.Tensor[],
): tf.Tensor[] {
  const store = nativeStore() as NativeStore;
  const gap = 1000;
  const starts = outputs.map((_, i) => outputs.slice(0, i).reduce((sum, { size }) => sum + size + gap, gap));
  const total = starts.at(-1)! + outputs.at(-1)!.size + gap;
  return withArena(4 * total, (id) => {
    store.set(id, 0, new Float32Array(total).fill(GUARD), 'F32');
    const count = inputs.length + numbers.length;
    const code = [
      ...inputs.map(() => 0),
      ...numbers.flatMap((list) => [1, 1, list.length, ...list]),
      ...outputs.flatMap(({ shape }, i) => stored(id, starts[i]!, 'F32', ...shape)),
      ...call(name, ...Array(count).keys()),
      ...outputs.flatMap((_, i) => [-1, count + i]),
    ];
    runProgram(code, inputs, 0);
    const all = store.get(id, 0, total, 'F32');
    const results = outputs.map(({ shape, size }, i) => {
      const result = tf.tensor(all.slice(starts[i]!, starts[i]! + size), shape);
      all.fill(GUARD, starts[i]!, starts[i]! + size);
      return result;
    });
    expect(all.every((value) => value === GUARD)).toBe(true);
    return results;
  });
}
