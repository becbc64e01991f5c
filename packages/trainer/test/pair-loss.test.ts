import * as tf from '@tensorflow/tfjs';
import { preferenceLoss, wpoWeights } from '@wpo/loss';
import { type LossType, lossTypes } from '@wpo/loss/scalar';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type PairLoss,
  type PreferencePairLossOptions,
  preferencePairLoss,
  type ScoredPair,
  type TokenTerms,
  tensorLoss,
  wpoPairLoss,
} from '../src';

const termsOf = (logps: readonly number[]): TokenTerms => ({
  logps: Float32Array.from(logps),
  logSumSquares: Float32Array.from(logps, (x) => x / 2),
  logMax: Float32Array.from(logps, (x) => x / 4),
});

/** log π(y_w) = −1 in 2 tokens, log π(y_l) = −3 in 3; reference −2 and −2; w = exp(½(−½) + ⅓(−1½)) = e^−¾. */
const pair = (weight = 1): ScoredPair => ({
  id: 'pair',
  chosen: termsOf([-0.5, -0.5]),
  rejected: termsOf([-1, -1, -1]),
  reference: { chosen: -2, rejected: -2 },
  weight,
});

const resultOf = async (loss: PairLoss, given = pair()) => (await loss([given]))[0]!;
const lossOf = async (loss: PairLoss, given = pair()) => (await resultOf(loss, given)).loss;
const softplus = (x: number) => Math.log1p(Math.exp(x));

describe('preferencePairLoss', () => {
  it('is the WPO loss by default', async () => {
    // Δ = 1 + 1 = 2, β 0.1
    expect(await lossOf(preferencePairLoss())).toBeCloseTo(Math.exp(-0.75) * softplus(-0.2), 12);
    expect(await lossOf(wpoPairLoss({ beta: 0.5 }))).toBeCloseTo(Math.exp(-0.75) * softplus(-1), 12);
  });

  it('multiplies by the weight from the data, with WPO weights and without', async () => {
    expect(await lossOf(preferencePairLoss(), pair(3))).toBeCloseTo(3 * Math.exp(-0.75) * softplus(-0.2), 12);
    const plain = await resultOf(preferencePairLoss({ useWeighting: false }), pair(3));
    expect(plain.loss).toBeCloseTo(3 * softplus(-0.2), 12);
    expect(plain.weight).toBe(3);
  });

  it('applies alignment, clamp and temperature of the weights', async () => {
    const weight = async (options: PreferencePairLossOptions) => (await resultOf(preferencePairLoss(options))).weight;
    // greedy: ½(−¾) + ⅓(−2¼) = −1⅛
    expect(await weight({ alignment: 'greedy' })).toBeCloseTo(Math.exp(-1.125), 12);
    expect(await weight({ temperature: 2 })).toBeCloseTo(Math.exp(-0.375), 12);
  });

  it('adds up several losses: MPO', async () => {
    const mpo = preferencePairLoss({
      lossType: ['sigmoid', 'bco_pair', 'sft'],
      lossWeights: [0.8, 0.2, 1],
      beta: 0.5,
      useWeighting: false,
    });
    // 0.8 · 0.313262 + 0.2 · 2 · 0.474077 + ½
    expect(await lossOf(mpo)).toBeCloseTo(0.94024, 5);
  });

  it('applies ldAlpha past the shorter answer to log-ratios, and not to a likelihood term', async () => {
    const ld = preferencePairLoss({ lossType: ['sigmoid', 'sft'], ldAlpha: 0.5, beta: 1, useWeighting: false });
    const { loss, gradient } = await resultOf(ld);
    // log π(y_l) = −2 − ½; Δ = 1 − (−2.5 + 2) = 1.5; and 1 / 2
    expect(loss).toBeCloseTo(softplus(-1.5) + 0.5, 12);
    expect(ld.ldAlpha).toBe(0.5);
    const slope = 1 / (1 + Math.exp(1.5)); // σ(−Δ)
    Array.from(gradient.chosen).forEach((value) => expect(value).toBeCloseTo(-slope - 0.5, 12));
    Array.from(gradient.rejected).forEach((value, t) => expect(value).toBeCloseTo(t < 2 ? slope : slope / 2, 12));
  });

  it('applies an f-divergence to the log-ratios only, also with LD-DPO', async () => {
    const loss = preferencePairLoss({
      lossType: ['sigmoid', 'sft'],
      fDivergenceType: 'forward_kl',
      ldAlpha: 1,
      beta: 0.5,
      useWeighting: false,
    });
    // scores 1 − e^−1 and 1 − e: softplus(−½ · 2.350402) = 0.269078
    expect(await lossOf(loss)).toBeCloseTo(0.769078, 5);
  });

  it('says whether it needs the reference and the whole batch', () => {
    expect(preferencePairLoss().needsReference).toBe(true);
    expect(preferencePairLoss({ lossType: ['simpo', 'sft'] }).needsReference).toBe(false);
    expect(preferencePairLoss({ refFree: true }).needsReference).toBe(false);
    expect(preferencePairLoss({ lossType: 'aot', useWeighting: false }).needsBatch).toBe(true);
    expect(preferencePairLoss().needsBatch).toBe(false);
  });

  it('treats the weight as a constant, unless it is attached', async () => {
    const gradient = async (attached: boolean) =>
      (await resultOf(preferencePairLoss({ beta: 0.5, attached }))).gradient.chosen[0]!;
    const w = Math.exp(-0.75);
    const dLoss = -0.5 / (1 + Math.E);
    expect(await gradient(false)).toBeCloseTo(w * dLoss, 12);
    // dw / dl_t = w / 2
    expect(await gradient(true)).toBeCloseTo(w * dLoss + (w / 2) * softplus(-1), 12);
  });

  it('rejects contradictions before any pair runs', () => {
    expect(() => preferencePairLoss({ lossType: 'sigmod' })).toThrow(/expected one of dpo, sigmoid.*found 'sigmod'/);
    expect(() => preferencePairLoss({ beta: 0 })).toThrow(/preferencePairLoss: beta/);
    expect(() => preferencePairLoss({ lossType: 'exo_pair' })).toThrow(/labelSmoothing/);
    expect(() => preferencePairLoss({ lossType: ['sigmoid', 'sft'], lossWeights: [1] })).toThrow('lossWeights');
    expect(() => preferencePairLoss({ lossType: 'nca_pair', fDivergenceType: 'forward_kl' })).toThrow(
      /fDivergenceType.*forward_kl/,
    );
    expect(() => preferencePairLoss({ lossType: 'aot' })).toThrow('take no weights, found use_weighting true');
    expect(() => preferencePairLoss({ lossType: 'kto' })).toThrow('loss type kto: expected kl, found none');
    expect(() => preferencePairLoss({ ldAlpha: 1.5 })).toThrow('ldAlpha: expected a number from 0 to 1, found 1.5');
  });

  it('rejects a weight from the data where it ranks pairs', async () => {
    const aot = preferencePairLoss({ lossType: 'aot' satisfies LossType, useWeighting: false });
    expect(() => aot([pair(0.5)])).toThrow('pair "pair": weight: expected none, found 0.5');
    // one pair is its own quantiles: the DPO loss
    expect(await lossOf(aot)).toBeCloseTo(softplus(-0.2), 12);
  });
});

const answer = fc
  .array(fc.double({ min: -6, max: -0.01, noNaN: true }), { minLength: 1, maxLength: 5 })
  .map((logps) => termsOf(logps));
const pairs = fc.array(
  fc.record({
    chosen: answer,
    rejected: answer,
    reference: fc.record({
      chosen: fc.double({ min: -20, max: -0.1, noNaN: true }),
      rejected: fc.double({ min: -20, max: -0.1, noNaN: true }),
    }),
    weight: fc.double({ min: 0.1, max: 2, noNaN: true }),
  }),
  { minLength: 1, maxLength: 3 },
);

/** The tensor implementation of the same loss, differentiated by tfjs. */
const byTensors = (lossType: LossType, attached: boolean): PairLoss =>
  tensorLoss(({ chosen, rejected, pairWeights, ...logps }) => {
    const ranked = lossType.startsWith('aot');
    const weights = tf.mul(wpoWeights({ chosen, rejected }, { attached }), pairWeights) as tf.Tensor1D;
    const lengths = { chosenLengths: tf.sum(chosen.mask, 1), rejectedLengths: tf.sum(rejected.mask, 1) };
    const result = preferenceLoss(
      {
        ...logps,
        ...(lengths as Record<keyof typeof lengths, tf.Tensor1D>),
        kl: 0.5,
        ...(ranked ? {} : { weights }),
      },
      { lossType: lossType as 'kto', labelSmoothing: 0.1, attached },
    );
    return { ...result, weights: ranked ? tf.onesLike(pairWeights) : weights };
  });

it.each(lossTypes().flatMap((lossType) => [false, true].map((attached) => [lossType, attached] as const)))(
  '%s (attached: %s) has the losses, weights, rewards and gradients of the tensor implementation',
  async (lossType, attached) => {
    const ranked = lossType.startsWith('aot');
    const options = { lossType, labelSmoothing: 0.1, kl: 0.5, attached, useWeighting: !ranked };
    await fc.assert(
      fc.asyncProperty(pairs, async (given) => {
        const scored = given.map((one, i) => ({ ...one, id: `${i}`, weight: ranked ? 1 : one.weight }));
        const before = tf.memory().numTensors;
        const expected = await byTensors(lossType, attached)(scored);
        expect(tf.memory().numTensors).toBe(before);
        const found = await preferencePairLoss(options)(scored);
        found.forEach((result, i) => {
          const close = (a: number, b: number, name: string) =>
            expect(Math.abs(a - b) / Math.max(1, Math.abs(b)), name).toBeLessThan(2e-5);
          for (const name of ['loss', 'weight', 'chosenReward', 'rejectedReward'] as const) {
            close(result[name], expected[i]![name], name);
          }
          for (const side of ['chosen', 'rejected'] as const) {
            const gradient = expected[i]!.gradient[side];
            expect(result.gradient[side].length).toBe(gradient.length);
            for (let t = 0; t < gradient.length; t++) close(result.gradient[side][t]!, gradient[t]!, `${side}[${t}]`);
          }
        });
      }),
      { numRuns: 25 },
    );
  },
);
