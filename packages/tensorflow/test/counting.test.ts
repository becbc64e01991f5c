import '@wpo/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import {
  adapted,
  type Gemma2,
  gemmaPolicy,
  type LoraConfig,
  loraDefaults,
  modelOfShapes,
  type Parameter,
  type Precision,
} from '@wpo/gemma';
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { randomModel, smallConfig } from '../../gemma/test/models';
import { countedWeights, countingKernels } from '../src/kernels/counting';
import { nativeKernels } from '../src/kernels/kernels';
import type { LogitLimits } from '../src/kernels/logit-limits';
import { MemoryCounter } from '../src/kernels/memory-counter';
import { type OutputShape, Program } from '../src/kernels/program';
import { storedBytes } from '../src/kernels/store';

// `countingKernels` must record what the native kernels record, and take the memory that they take.

/** More than 16 answer tokens: passes of fewer rows have operations of their own, which take less memory. */
const pairOf = (vocabSize: number) => {
  const tokens = (minLength: number, maxLength: number) =>
    fc.array(fc.integer({ min: 0, max: vocabSize - 1 }), { minLength, maxLength });
  return fc.record({ prompt: tokens(1, 20), chosen: tokens(17, 30), rejected: tokens(1, 20) });
};

const cases = smallConfig.chain((config) =>
  fc.record({
    config: fc.constant(config),
    pairs: fc.array(pairOf(config.vocabSize), { minLength: 1, maxLength: 2 }),
    activationCheckpointing: fc.constantFrom('always' as const, 'never' as const),
    targetModules: fc.constantFrom(null, 'all-linear', ['q_proj', 'down_proj']),
    loraDropout: fc.constantFrom(0, 0.5),
    precision: fc.constantFrom('float32' as const, 'bfloat16' as const),
    useDora: fc.boolean(),
    /** Answer rows of a chunk of the output head. */
    rows: fc.integer({ min: 1, max: 50 }),
  }),
);
type Case = typeof cases extends fc.Arbitrary<infer T> ? T : never;

/** With DoRA only modules whose output no other operation keeps: tfjs counts the bytes of a clone, which takes no memory. */
const settingsOf = ({ targetModules: targets, loraDropout, useDora }: Case): LoraConfig | undefined => {
  if (targets === null) return undefined;
  const ofDora = { targetModules: ['q_proj', 'k_proj'], useDora };
  return { ...loraDefaults, r: 2, ...(useDora ? ofDora : { targetModules: targets, loraDropout }) };
};

const limitsOf = ({ rows, config: { vocabSize } }: Case): LogitLimits => ({
  train: rows * vocabSize,
  frozen: rows * vocabSize,
  forward: rows * vocabSize,
  kept: 2 * rows * vocabSize,
});

const named = ({ pairs }: Case) => pairs.map((pair, i) => ({ id: `pair-${i}`, ...pair }));

/** The outputs of each operation that is recorded, and the sizes of what an operation in place reads. */
type Recorded = (OutputShape | readonly (number | 'into')[])[][];

/** Runs two micro-batches on the native kernels: what they record, and the bytes of the tensors that they leave. */
async function native(given: Case) {
  const recorded: Recorded = [];
  const { record } = Program.prototype;
  const spy = vi.spyOn(Program.prototype, 'record').mockImplementation(function (
    this: Program,
    name,
    inputs,
    ...shapes
  ) {
    recorded.push([...shapes]);
    return record.call(this, name, inputs, ...shapes);
  });
  const { recordInto } = Program.prototype;
  const spyInto = vi.spyOn(Program.prototype, 'recordInto').mockImplementation(function (this: Program, sum, ...how) {
    recorded.push([['into', ...sum.shape]]);
    return recordInto.call(this, sum, ...how);
  });
  try {
    const limits = limitsOf(given);
    const kernels = nativeKernels({ limits, precision: given.precision });
    const base = await randomModel(given.config, 1, kernels);
    const settings = settingsOf(given);
    const model: Gemma2 = settings ? adapted(base, settings, { kernels }) : base;
    const policy = gemmaPolicy(model, { kernels, activationCheckpointing: given.activationCheckpointing });
    const heldBytes = () => tf.memory().numBytes + storedBytes().allocated;
    const before = heldBytes();
    const held: number[] = [];
    recorded.splice(0);
    for (let pass = 0; pass < 2; pass++) {
      const forward = await policy.forward(named(given), { train: true, step: 0 });
      const { logps } = await forward.terms();
      held.push(heldBytes() - before);
      await forward.backward(new Float32Array(logps.length).fill(1));
      forward.dispose();
      for (const parameter of policy.parameters) await parameter.gradient()!.data();
      held.push(heldBytes() - before);
    }
    for (const parameter of policy.parameters) parameter.zeroGradient();
    held.push(heldBytes() - before);
    return { recorded, held, trained: policy.parameters as readonly Parameter[] };
  } finally {
    spy.mockRestore();
    spyInto.mockRestore();
  }
}

/** The same on the counting kernels. */
async function counted(given: Case) {
  const recorded: Recorded = [];
  const counter = new MemoryCounter('cpu');
  const recordAs = counter.recordAs.bind(counter);
  vi.spyOn(counter, 'recordAs').mockImplementation((kind, inputs, ...shapes) => {
    recorded.push([...shapes]);
    return recordAs(kind, inputs, ...shapes);
  });
  const recordInto = counter.recordInto.bind(counter);
  vi.spyOn(counter, 'recordInto').mockImplementation((sum, inputs) => {
    recorded.push([['into', ...sum.shape]]);
    recordInto(sum, inputs);
  });
  const model = modelOfShapes(given.config, countedWeights(counter), settingsOf(given));
  const kernels = countingKernels(counter, { precision: given.precision, limits: limitsOf(given) });
  const policy = gemmaPolicy(model, { kernels, activationCheckpointing: given.activationCheckpointing });
  const heldBytes = () => Object.values(counter.bytes).reduce((sum, bytes) => sum + bytes, 0);
  const held: number[] = [];
  for (let pass = 0; pass < 2; pass++) {
    const forward = await policy.forward(named(given), { train: true, step: 0 });
    const { logps } = await forward.terms();
    counter.run();
    held.push(heldBytes());
    await forward.backward(new Float32Array(logps.length));
    forward.dispose();
    counter.run();
    held.push(heldBytes());
  }
  counter.zeroGradients();
  held.push(heldBytes());
  return { recorded, held, counter, trained: policy.parameters };
}

/** Bytes that the output head holds during a pass and that are not counted: four numbers of each answer token, and its results. */
const uncounted = ({ pairs }: Case) =>
  pairs.reduce((total, { chosen, rejected }) => total + chosen.length + rejected.length, 0) * 4 * 4;

/** Output features of all adapted modules. */
const features = (trained: readonly { readonly name: string; readonly shape: readonly number[] }[]) =>
  trained.reduce((sum, { name, shape }) => sum + (name.endsWith('magnitude_vector') ? shape[0]! : 0), 0);

describe('the counting kernels', () => {
  test('record the operations of the native kernels, and hold their memory', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (given) => {
        const [real, count] = [await native(given), await counted(given)];
        expect(count.trained.map(({ shape }) => shape)).toEqual(real.trained.map(({ shape }) => shape));
        const small = [uncounted(given), 0, uncounted(given), 0, 0];
        const differences = real.held.map((bytes, i) => bytes - count.held[i]! - small[i]!);
        if (given.targetModules !== null && given.useDora) {
          // norms and factors, one of each for a feature, are not counted, and DoRA's operations are those of tfjs
          for (const bytes of differences) {
            expect(bytes).toBeGreaterThanOrEqual(0);
            expect(bytes).toBeLessThanOrEqual(2 * 4 * features(count.trained));
          }
        } else {
          expect(count.recorded).toEqual(real.recorded);
          expect(differences).toEqual([0, 0, 0, 0, 0]);
        }
      }),
      { numRuns: 60, seed: 5 },
    );
  });

  test.each([
    { device: 'cpu', kept: 1 },
    { device: 'gpu', kept: 2 },
  ] as const)(
    'count $kept of the input and the output of RMSNorm for its backward pass: $device',
    ({ device, kept }) => {
      const counter = new MemoryCounter(device);
      const { rmsNorm } = countingKernels(counter);
      const { discard } = rmsNorm(counter.allocate([100, 50]), countedWeights(counter)('w', [50], true), 1e-6);
      discard?.();
      counter.run();
      expect(counter.bytes.activations).toBe(4 * (kept * 100 * 50 + 100)); // and a number of each row
    },
  );

  test('count what attention takes on a GPU while it runs', () => {
    const peak = (precision: Precision, headSize: number, tokens: number) => {
      const counter = new MemoryCounter('gpu');
      const { attention } = countingKernels(counter, { precision });
      const [q, k, v] = [4, 2, 2].map((heads) => counter.allocate([heads, headSize, tokens]));
      const keyRanges = [{ start: 0, count: tokens }];
      const block = { start: 0, count: tokens, keyRanges, positionOffset: 0, window: Number.POSITIVE_INFINITY };
      attention(q!, k!, v!, [block], { scale: 1, softcap: 50 });
      counter.run();
      return counter.peak.activations;
    };
    const values = (heads: number, headSize: number) => 4 * heads * headSize * 100;
    const scores = 4 * 100 * 100;
    // q, k, v and the output; scores
    expect(peak('float32', 128, 100)).toBe(values(12, 128) + 4 * scores);
    // the output in both types; bfloat16 copies of the operands, and of scores
    expect(peak('bfloat16', 64, 100)).toBe(values(12, 64) + values(4, 64) / 2 + values(8, 64) / 2 + (4 + 2) * scores);
    // the output in bfloat16; a number of each query of each head; bfloat16 copies of 128 instead of 100 tokens
    expect(peak('bfloat16', 128, 100)).toBe(values(8, 128) + values(4, 128) / 2 + 4 * 400 + 2 * 8 * 128 * 128);
    expect(peak('bfloat16', 256, 8192)).toBe(2 * peak('bfloat16', 256, 4096)); // no matrix of scores
  });
});
