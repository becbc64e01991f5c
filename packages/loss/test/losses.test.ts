import '@tensorflow/tfjs';
import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import * as tensor from '../src/index';
import {
  aotLoss,
  aotUnpairedLoss,
  apoDownLoss,
  apoZeroLoss,
  bcoLoss,
  cpoLoss,
  discopopLoss,
  dpoLoss,
  exoLoss,
  hingeLoss,
  ipoLoss,
  klEstimate,
  ktoLoss,
  type LossResult,
  lossTypes,
  ncaLoss,
  orpoLoss,
  robustLoss,
  sftLoss,
  sigmoidNormLoss,
  simpoLoss,
  sppoLoss,
} from '../src/index';
import type { MixtureOptions } from '../src/loss-table';
import * as scalar from '../src/scalar/index';
import { IMPLEMENTATIONS } from './implementations';
import { values } from './tensors';

// log π moved from −2 to −1 for the chosen answer of 2 tokens and from −2 to −3 for the rejected one of 4:
// ρ_w = 1, ρ_l = −1, Δ = 2; with β = ½, r_w = ½, r_l = −½, βΔ = 1.
const moved = {
  chosenLogps: [-1],
  rejectedLogps: [-3],
  refChosenLogps: [-2],
  refRejectedLogps: [-2],
  chosenLengths: [2],
  rejectedLengths: [4],
};
const beta = 0.5;

const WORKED: readonly (readonly [MixtureOptions, number, string])[] = [
  [{ lossType: 'sigmoid' }, 0.313262, 'log(1 + e^−1)'],
  [{ lossType: 'sigmoid', labelSmoothing: 0.1 }, 0.413262, '0.9 · 0.313262 + 0.1 · 1.313262'],
  [{ lossType: 'dpo' }, 0.313262, 'sigmoid under its paper’s name'],
  [{ lossType: 'hinge', beta: 0.25 }, 0.5, '1 − ¼ · 2'],
  [{ lossType: 'hinge', beta: 1 }, 0, 'max(0, 1 − 2)'],
  [{ lossType: 'ipo' }, 0.0625, '(1/2 + 1/4 − 1/(2 · ½))²'],
  [{ lossType: 'exo_pair', labelSmoothing: 0.1 }, 0.114082, '.731059 log(.731059/.9) + .268941 log(.268941/.1)'],
  [{ lossType: 'nca_pair' }, 1.198154, '.474077 + ½ · .974077 + ½ · .474077'],
  [{ lossType: 'robust', labelSmoothing: 0.1 }, 0.188262, '(0.9 · 0.313262 − 0.1 · 1.313262) / 0.8'],
  [{ lossType: 'bco_pair' }, 0.948154, '2 log(1 + e^−½)'],
  [{ lossType: 'bco_pair', bcoDelta: 0.25 }, 0.96281, 'log(1 + e^−¼) + log(1 + e^−¾)'],
  [{ lossType: 'sppo_hard', beta: 0.25 }, 2, '(1 − 2)² + (−1 + 2)²'],
  [{ lossType: 'aot' }, 0.313262, 'with one pair, DPO'],
  [{ lossType: 'aot_unpaired' }, 0.313262, 'the same'],
  [{ lossType: 'apo_zero' }, 0.755081, '(1 − σ(½)) + σ(−½) = 2 · 0.377541'],
  [{ lossType: 'apo_down' }, 0.891401, 'σ(½) + (1 − σ(1)) = .622459 + .268941'],
  [{ lossType: 'discopop', discopopTau: 0.5 }, 0.361369, 'm = σ(2) = .880797: .119203 · .313262 + m · e^−1'],
  [{ lossType: 'sft' }, 0.5, '1 / 2'],
  [{ lossType: 'sigmoid_norm' }, 0.523123, 'log(1 + e^−3/8): ½ (1/2 + 1/4) = 3/8'],
  [{ lossType: 'simpo', beta: 2, simpoGamma: 0.5 }, Math.LN2, '2 (−1/2 + 3/4) − ½ = 0'],
  [{ lossType: 'cpo' }, 0.813262, '½ (−1 + 3) = 1: 0.313262 + 1 · 1/2'],
  [{ lossType: 'cpo', cpoAlpha: 0 }, 0.313262, 'without the likelihood'],
  [{ lossType: 'orpo' }, 0.728956, 'log odds of e^−½ .432752, of e^−¾ −.110647: ½ + ½ log(1 + e^−.543399)'],
  [{ lossType: 'kto' }, 0.758645, 'z₀ = ½: (1 − σ(¼)) + (1 − σ(¾)) = .437823 + .320821'],
  [{ lossType: 'kto', desirableWeight: 2, undesirableWeight: 0.5 }, 1.036058, '2 · .437823 + ½ · .320821'],
  [{ lossType: 'sigmoid', fDivergenceType: 'forward_kl' }, 0.269078, '(1 − e^−1) − (1 − e) = 2.350402'],
  [{ lossType: 'sigmoid', fDivergenceType: 'js_divergence' }, 0.474077, 'log(2e/(e+1)) − log(2/(e+1)) = 1'],
  [{ lossType: 'sigmoid', fDivergenceType: 'alpha_divergence' }, 0.302089, '(e^−½ − 1)/−½ − (e^½ − 1)/−½ = 2.084381'],
  [{ lossType: 'sigmoid', refFree: true }, 0.313262, '½ (−1 + 3) = 1'],
  [{ lossType: ['sigmoid', 'bco_pair', 'sft'], lossWeights: [0.8, 0.2, 1] }, 0.94024, 'MPO: .25061 + .189631 + .5'],
  [{ lossType: ['sigmoid', 'sft'], lossWeights: [1, 0.5] }, 0.563262, 'RPO: .313262 + ½ · ½'],
];

describe.each(IMPLEMENTATIONS)('a loss worked by hand, over %s', (_, lossOf) => {
  it.each(WORKED)('%j is %d: %s', (options, expected) => {
    const { losses } = lossOf({ ...moved, kl: 0.5 }, { beta, ...options });
    expect(losses[0]).toBeCloseTo(expected, 6);
  });

  it('covers every loss', () => {
    expect(new Set(WORKED.flatMap(([{ lossType }]) => lossType))).toEqual(new Set(lossTypes()));
  });

  // Policy margins 2 and 0, reference margins −1 and 1: DPO has 3 and −1, AOT 2 − 1 = 1 and 0 − (−1) = 1.
  const crossed = {
    chosenLogps: [-1, -3],
    rejectedLogps: [-3, -3],
    refChosenLogps: [-3, -2],
    refRejectedLogps: [-2, -3],
  };

  it('aot matches margins by rank', () => {
    expect(lossOf(crossed, { lossType: 'aot', beta: 1 }).losses).toEqual([
      expect.closeTo(0.313262, 6),
      expect.closeTo(0.313262, 6),
    ]);
    // rewards are not matched by rank
    expect(lossOf(crossed, { lossType: 'aot', beta: 1 }).margins).toEqual([3, -1]);
  });

  it('aot_unpaired matches log-ratios by rank', () => {
    // chosen log-ratios 2 and −1, rejected −1 and 0: 2 − 0 and −1 − (−1)
    expect(lossOf(crossed, { lossType: 'aot_unpaired', beta: 1 }).losses).toEqual([
      expect.closeTo(0.126928, 6),
      expect.closeTo(Math.LN2, 6),
    ]);
  });

  it('multiplies the loss by the weight, and returns the loss before that', () => {
    const result = lossOf({ ...moved, weights: [0.25] }, { beta });
    expect(result.losses[0]).toBeCloseTo(0.078315, 6);
    expect(result.unweightedLosses[0]).toBeCloseTo(0.313262, 6);
    expect(result.weights).toEqual([0.25]);
  });

  it.each([
    ['sigmoid', [0.5, -0.5, 1]],
    ['simpo', [-0.25, -0.375, 0.125]],
    ['cpo', [-0.5, -1.5, 1]],
    ['sft', [-0.25, -0.375, 0.125]],
  ] as const)('rewards of %s are β times its measure', (lossType, [chosen, rejected, margin]) => {
    const result = lossOf(moved, { lossType, beta });
    expect([result.chosenRewards, result.rejectedRewards, result.margins]).toEqual([[chosen], [rejected], [margin]]);
  });

  it('an f-divergence’s exponent is at most 80, so that e^80 is a float32 number', () => {
    // ρ_w = −1000: 1 − e^80 instead of 1 − e^1000; ρ_l = 0; the loss is β (e^80 − 1)
    const far = { chosenLogps: [-1000], rejectedLogps: [-1], refChosenLogps: [0], refRejectedLogps: [-1] };
    const { losses } = lossOf(far, { fDivergenceType: 'forward_kl', beta });
    expect(losses[0]! / (beta * Math.exp(80))).toBeCloseTo(1, 5);
  });

  it('rewards of a mixture are those of the log-ratio where any loss reads the reference', () => {
    expect(lossOf(moved, { lossType: ['sft', 'sigmoid'], beta }).chosenRewards).toEqual([0.5]);
  });
});

describe('the function of each loss', () => {
  const input = Object.fromEntries(Object.entries(moved).map(([name, xs]) => [name, tf.tensor1d(xs)])) as Record<
    keyof typeof moved,
    tf.Tensor1D
  >;
  const NAMED: readonly (readonly [string, () => LossResult, MixtureOptions])[] = [
    ['dpoLoss', () => dpoLoss(input, { beta, labelSmoothing: 0.1 }), { lossType: 'sigmoid', labelSmoothing: 0.1 }],
    ['hingeLoss', () => hingeLoss(input, { beta: 0.25 }), { lossType: 'hinge', beta: 0.25 }],
    ['ipoLoss', () => ipoLoss(input, { beta }), { lossType: 'ipo' }],
    ['exoLoss', () => exoLoss(input, { beta, labelSmoothing: 0.1 }), { lossType: 'exo_pair', labelSmoothing: 0.1 }],
    ['ncaLoss', () => ncaLoss(input, { beta }), { lossType: 'nca_pair' }],
    ['robustLoss', () => robustLoss(input, { beta, labelSmoothing: 0.1 }), { lossType: 'robust', labelSmoothing: 0.1 }],
    ['bcoLoss', () => bcoLoss(input, { beta, bcoDelta: 0.25 }), { lossType: 'bco_pair', bcoDelta: 0.25 }],
    ['sppoLoss', () => sppoLoss(input, { beta: 0.25 }), { lossType: 'sppo_hard', beta: 0.25 }],
    ['aotLoss', () => aotLoss(input, { beta }), { lossType: 'aot' }],
    ['aotUnpairedLoss', () => aotUnpairedLoss(input, { beta }), { lossType: 'aot_unpaired' }],
    ['apoZeroLoss', () => apoZeroLoss(input, { beta }), { lossType: 'apo_zero' }],
    ['apoDownLoss', () => apoDownLoss(input, { beta }), { lossType: 'apo_down' }],
    ['discopopLoss', () => discopopLoss(input, { beta }), { lossType: 'discopop' }],
    ['sftLoss', () => sftLoss(input), { lossType: 'sft' }],
    ['sigmoidNormLoss', () => sigmoidNormLoss(input, { beta }), { lossType: 'sigmoid_norm' }],
    ['simpoLoss', () => simpoLoss(input, { beta }), { lossType: 'simpo' }],
    ['cpoLoss', () => cpoLoss(input, { beta }), { lossType: 'cpo' }],
    ['orpoLoss', () => orpoLoss(input, { beta }), { lossType: 'orpo' }],
    ['ktoLoss', () => ktoLoss({ ...input, kl: 0.5 }, { beta }), { lossType: 'kto' }],
  ];

  it.each(NAMED)('%s equals preferenceLoss with its lossType', (_name, loss, options) => {
    const [, tensors] = IMPLEMENTATIONS[0]!;
    expect(values(loss().losses)).toEqual(tensors({ ...moved, kl: 0.5 }, { beta, ...options }).losses);
  });

  it('allocates no tensor other than its results', () => {
    for (const [name, loss] of NAMED) {
      const before = tf.memory().numTensors;
      tf.dispose(loss());
      expect(tf.memory().numTensors, name).toBe(before);
    }
  });

  it('exists for every loss', () => {
    expect(new Set(NAMED.map(([, , { lossType }]) => lossType))).toEqual(
      new Set(lossTypes().filter((lossType) => lossType !== 'dpo')),
    );
  });
});

describe('KTO’s reference point', () => {
  const [logps, refLogps] = [
    [-1, -4],
    [-2, -3.5],
  ] as [number[], number[]];

  it('is the mean log-ratio of answers to other prompts, at least 0', () => {
    // ½ (1 − ½) = ¼
    expect(values(klEstimate(tf.tensor1d(logps), tf.tensor1d(refLogps)))).toEqual([0.25]);
    expect(scalar.klEstimate(logps, refLogps)).toBe(0.25);
    expect(values(klEstimate(tf.tensor1d(refLogps), tf.tensor1d(logps)))).toEqual([0]);
    expect(scalar.klEstimate(refLogps, logps)).toBe(0);
  });

  it('is a constant, and may be a number, a scalar or a tensor with one element', () => {
    const input = {
      chosenLogps: tf.tensor1d([-1]),
      rejectedLogps: tf.tensor1d([-3]),
      refChosenLogps: tf.tensor1d([-2]),
      refRejectedLogps: tf.tensor1d([-2]),
    };
    const expected = values(ktoLoss({ ...input, kl: 0.25 }).losses);
    for (const kl of [tf.scalar(0.25), tf.tensor1d([0.25])])
      expect(values(ktoLoss({ ...input, kl }).losses)).toEqual(expected);
    const through = (x: tf.Tensor) =>
      ktoLoss({ ...input, chosenLogps: x as tf.Tensor1D, kl: klEstimate(x as tf.Tensor1D, input.refChosenLogps) })
        .losses;
    const held = (x: tf.Tensor) => ktoLoss({ ...input, chosenLogps: x as tf.Tensor1D, kl: 1 }).losses;
    expect(values(tf.grad(through)(input.chosenLogps))).toEqual(values(tf.grad(held)(input.chosenLogps)));
  });
});

describe('docs/losses.md', () => {
  const page = readFileSync(new URL('../../../docs/losses.md', import.meta.url), 'utf8');

  it.each(lossTypes())('lists %s', (lossType) => {
    expect(page).toContain(`\`${lossType}\``);
  });

  it('lists every function', () => {
    const functions = Object.keys(tensor).filter((name) => name.endsWith('Loss') && name !== 'preferenceLoss');
    for (const name of functions.filter((name) => name !== 'wpoLoss')) expect(page).toContain(`\`${name}\``);
    expect(functions).toHaveLength(20);
  });
});
