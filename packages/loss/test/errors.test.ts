import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { dpoLoss, ipoLoss, klEstimate, ldLogps, lossNeeds, preferenceLoss, wpoLoss, wpoWeights } from '../src/index';
import type { MixtureOptions } from '../src/loss-table';
import * as scalar from '../src/scalar/index';
import { IMPLEMENTATIONS } from './implementations';

const two = {
  chosenLogps: [-1, -2],
  rejectedLogps: [-3, -4],
  refChosenLogps: [-2, -2],
  refRejectedLogps: [-2, -2],
};
const input = Object.fromEntries(Object.entries(two).map(([name, xs]) => [name, tf.tensor1d(xs)])) as Record<
  keyof typeof two,
  tf.Tensor1D
>;

// JavaScript callers have no types, so the functions check what the types reject
const untyped = <T>(x: unknown) => x as T;

describe.each(IMPLEMENTATIONS)('over %s', (_, lossOf) => {
  const refused =
    (options: unknown, columns: unknown = two) =>
    () =>
      lossOf(columns as Parameters<typeof lossOf>[0], options as MixtureOptions);

  it.each(['sigmod', 'SimPO', 'discopop ', 'grpo2'])('an unknown lossType %j lists the known ones', (lossType) => {
    expect(refused({ lossType })).toThrow(`sigmoid_norm, simpo, orpo, cpo, kto, found '${lossType}'.`);
  });

  it('names of object properties are not losses', () => {
    for (const lossType of ['constructor', 'toString', '__proto__', undefined, null, 3]) {
      expect(refused({ lossType: [lossType] })).toThrow(
        `lossType: expected one of dpo, sigmoid, hinge, ipo, exo_pair, nca_pair, robust, bco_pair, sppo_hard, aot, aot_unpaired, apo_zero, apo_down, discopop, sft, sigmoid_norm, simpo, orpo, cpo, kto, found '${lossType}'.`,
      );
    }
  });

  it('an unknown f-divergence suggests the most similar one', () => {
    expect(refused({ fDivergenceType: 'js' })).toThrow(
      "preferenceLoss: fDivergenceType: expected one of reverse_kl, forward_kl, js_divergence, alpha_divergence, found 'js'.",
    );
  });

  it.each([
    ['beta', [0, -1, Number.NaN, Number.POSITIVE_INFINITY], 'a finite number above 0'],
    ['labelSmoothing', [-0.1, 0.51, Number.NaN], 'a number from 0 to 0.5'],
    ['discopopTau', [0, -1], 'a finite number above 0'],
    ['simpoGamma', [-1, Number.POSITIVE_INFINITY], 'a finite number of at least 0'],
    ['cpoAlpha', [-1], 'a finite number of at least 0'],
    ['desirableWeight', [-1], 'a finite number of at least 0'],
    ['undesirableWeight', [-1], 'a finite number of at least 0'],
    ['bcoDelta', [Number.NaN, Number.POSITIVE_INFINITY], 'a finite number'],
    ['fAlphaDivergenceCoef', [Number.NEGATIVE_INFINITY], 'a finite number'],
  ] as const)('%s out of range: the error gives the range', (name, bad, expected) => {
    for (const value of bad) {
      expect(refused({ [name]: value })).toThrow(`preferenceLoss: ${name}: expected ${expected}, found ${value}.`);
    }
  });

  it('an option that is undefined has its default', () => {
    expect(lossOf(two, { beta: undefined, labelSmoothing: undefined, fDivergenceType: undefined }).losses).toEqual(
      lossOf(two).losses,
    );
  });

  it('a loss may narrow the range of label smoothing', () => {
    expect(refused({ lossType: 'exo_pair' })).toThrow('labelSmoothing: expected a finite number above 0, found 0.');
    expect(refused({ lossType: ['sigmoid', 'robust'], labelSmoothing: 0.5 })).toThrow(
      'labelSmoothing: expected a number from 0 to 0.4999, found 0.5.',
    );
  });

  it('a mixture needs one finite weight per loss', () => {
    expect(refused({ lossType: ['sigmoid', 'sft'], lossWeights: [1] })).toThrow(
      'preferenceLoss: lossWeights: expected 2 values, found 1.',
    );
    expect(refused({ lossType: ['sigmoid'], lossWeights: [Number.NaN] })).toThrow(
      'lossWeights[0]: expected a finite number, found NaN.',
    );
    expect(refused({ lossType: [] })).toThrow('lossWeights: expected 1 values, found 0.');
  });

  it('losses in which log Z(x) does not cancel reject an f-divergence', () => {
    for (const lossType of ['nca_pair', 'aot', 'kto', 'simpo', ['sigmoid', 'bco_pair']]) {
      expect(refused({ lossType, fDivergenceType: 'forward_kl' })).toThrow(
        'preferenceLoss: fDivergenceType: expected reverse_kl with these losses, found forward_kl. Others go with losses',
      );
    }
    expect(lossOf(two, { lossType: ['sigmoid', 'sft'], fDivergenceType: 'forward_kl' }).losses).toHaveLength(2);
  });

  it('ranked losses reject weights and say why', () => {
    for (const lossType of ['aot', 'aot_unpaired', ['sigmoid', 'aot']]) {
      expect(refused({ lossType }, { ...two, weights: [1, 1] })).toThrow(
        'preferenceLoss: weights: expected none with aot, which compares quantiles of a batch, found weights.',
      );
    }
  });
});

describe('over tensors', () => {
  it('a missing input is named', () => {
    expect(() => dpoLoss(untyped({ ...input, refChosenLogps: undefined }))).toThrow(
      'dpoLoss: refChosenLogps: expected a tfjs tensor of shape [2], found none.',
    );
    expect(() => ipoLoss(untyped(input))).toThrow(
      'ipoLoss: chosenLengths: expected a tfjs tensor of shape [2], found none.',
    );
    expect(() => preferenceLoss(input, { lossType: 'kto' })).toThrow(
      "preferenceLoss: kl: expected KTO's reference point (see klEstimate), found none.",
    );
    expect(() => wpoLoss(untyped(input))).toThrow(
      'wpoLoss: weights: expected a tfjs tensor of shape [pairs], found none.',
    );
  });

  it('a wrong shape or dtype is reported with the expected one', () => {
    expect(() => ipoLoss({ ...input, chosenLengths: tf.tensor1d([1]), rejectedLengths: tf.tensor1d([1, 1]) })).toThrow(
      'ipoLoss: chosenLengths: expected shape [2], found [1].',
    );
    expect(() => dpoLoss({ ...input, weights: tf.tensor1d([1, 1], 'int32') })).toThrow(
      "dpoLoss: weights: expected dtype float32, found int32. Cast it with tf.cast(x, 'float32').",
    );
    expect(() => klEstimate(tf.tensor1d([-1]), tf.tensor1d([-1, -1]))).toThrow(
      'klEstimate: refLogps: expected shape [1], found [2].',
    );
    const counts = tf.tensor1d([1, 2], 'int32');
    expect(() => ipoLoss({ ...input, chosenLengths: counts, rejectedLengths: counts })).not.toThrow();
  });

  it('lossNeeds rejects wrong options before there is any input', () => {
    expect(() => lossNeeds({ beta: -1 })).toThrow('lossNeeds: beta: expected a finite number above 0, found -1.');
    expect(() => lossNeeds({ lossType: 'exo_pair' }, 'train')).toThrow(
      'train: labelSmoothing: expected a finite number above 0, found 0.',
    );
    expect(lossNeeds()).toEqual({ reference: true, lengths: false, kl: false, batch: false });
    expect(lossNeeds({ lossType: 'kto' })).toEqual({ reference: true, lengths: false, kl: true, batch: false });
    expect(lossNeeds({ lossType: ['sft', 'simpo'] })).toEqual({
      reference: false,
      lengths: true,
      kl: false,
      batch: false,
    });
    expect(lossNeeds({ lossType: 'aot' })).toEqual({ reference: true, lengths: false, kl: false, batch: true });
    expect(lossNeeds({ refFree: true })).toMatchObject({ reference: false });
  });

  it('wpoWeights and ldLogps name the wrong option or answer', () => {
    const tokens = (rows: number) => ({ logps: tf.zeros<tf.Rank.R2>([rows, 1]), mask: tf.ones([rows, 1]) });
    const pair = { chosen: tokens(2), rejected: tokens(2) };
    expect(() => wpoWeights(pair, { alignment: 'none', temperature: 0 })).toThrow(
      'wpoWeights: temperature: expected a finite number above 0, found 0.',
    );
    expect(() => ldLogps(pair, 1.5)).toThrow('ldLogps: alpha: expected a number from 0 to 1, found 1.5.');
    expect(() => ldLogps({ chosen: tokens(2), rejected: tokens(1) }, 1)).toThrow(
      'ldLogps: rejected: expected 2 answers, as many as chosen, found 1.',
    );
  });
});

describe('over numbers', () => {
  it('a wrong number of values is reported with the expected one', () => {
    expect(() => scalar.dpoLoss({ ...two, refChosenLogps: [-1] })).toThrow(
      'dpoLoss: refChosenLogps: expected 2 values, found 1.',
    );
    expect(() => scalar.dpoLoss(untyped({ ...two, rejectedLogps: -1 }))).toThrow(
      'rejectedLogps: expected 2 values, found 1.',
    );
    const none = { chosenLogps: [], rejectedLogps: [], refChosenLogps: [], refRejectedLogps: [] };
    expect(() => scalar.dpoLoss(none)).toThrow('dpoLoss: chosenLogps: expected at least 1 values, found 0.');
  });

  it('a missing input is named', () => {
    expect(() => scalar.dpoLoss(untyped({ ...two, refRejectedLogps: undefined }))).toThrow(
      'dpoLoss: refRejectedLogps: expected 2 values, found none.',
    );
    expect(() => scalar.wpoLoss(untyped(two))).toThrow('wpoLoss: weights: expected at least 1 values, found none.');
    expect(() =>
      scalar.preferenceLoss(untyped<typeof two & Record<'chosenLengths' | 'rejectedLengths', number[]>>(two), {
        lossType: 'ipo',
      }),
    ).toThrow('chosenLengths: expected 2 values, found none.');
    expect(() => scalar.preferenceLoss(two, { lossType: 'kto' })).toThrow("kl: expected KTO's reference point");
  });

  it('NaN and positive log-probs are named by their index', () => {
    expect(() => scalar.dpoLoss({ ...two, rejectedLogps: [-3, Number.NaN] })).toThrow(
      'dpoLoss: rejectedLogps[1]: expected a log-probability, at most 0, found NaN. Check the logits for NaN',
    );
    expect(() => scalar.dpoLoss({ ...two, refChosenLogps: [2, -2] })).toThrow(
      'dpoLoss: refChosenLogps[0]: expected a log-probability, at most 0, found 2. Apply log_softmax to the logits first.',
    );
    expect(scalar.dpoLoss({ ...two, chosenLogps: [5e-4, Number.NEGATIVE_INFINITY] }).losses[1]).toBe(Infinity);
  });

  it('answers without tokens and weights below 0 are named by their index', () => {
    const lengths = { chosenLengths: [3, 0], rejectedLengths: [1, 1] };
    expect(() => scalar.preferenceLoss({ ...two, ...lengths }, { lossType: 'ipo' })).toThrow(
      'preferenceLoss: chosenLengths[1]: expected a finite number above 0, found 0.',
    );
    expect(() => scalar.wpoLoss({ ...two, weights: [1, -1] })).toThrow(
      'wpoLoss: weights[1]: expected a finite number of at least 0, found -1.',
    );
    expect(() =>
      scalar.wpoWeights({ chosen: { logps: [] }, rejected: { logps: [-1] } }, { alignment: 'none' }),
    ).toThrow('wpoWeights: chosen.logps: expected at least 1 values, found 0.');
    expect(() => scalar.sumLogps({ logps: [] })).toThrow('sumLogps: logps: expected at least 1 values, found 0.');
  });

  it('a missing alignment term and an unknown alignment are named', () => {
    const answer = { logps: [-1, -2] };
    expect(() => scalar.wpoWeights({ chosen: answer, rejected: answer })).toThrow(
      'wpoWeights: chosen.logSumSquares: expected 2 values, found none.',
    );
    expect(() => scalar.answerScores(answer, untyped('greddy'))).toThrow(
      "answerScores: alignment: expected one of sampled, greedy, none, found 'greddy'.",
    );
    expect(() => scalar.answerScores({ ...answer, logMax: [0] }, 'greedy')).toThrow(
      'answerScores: logMax: expected 2 values, found 1.',
    );
    expect(() => scalar.wpoWeights({ chosen: answer, rejected: answer }, { temperature: -1 })).toThrow(
      'wpoWeights: temperature: expected a finite number above 0, found -1.',
    );
    expect(() => scalar.ldLogps({ chosen: answer, rejected: answer }, 2)).toThrow(
      'ldLogps: alpha: expected a number from 0 to 1, found 2.',
    );
  });
});

describe('the results over numbers', () => {
  it('are single numbers for single numbers, and Float64Arrays for arrays of any kind', () => {
    const one = { chosenLogps: -1, rejectedLogps: -3, refChosenLogps: -2, refRejectedLogps: -2 };
    expect(scalar.dpoLoss(one, { beta: 0.5 }).losses).toBeCloseTo(0.313262, 6);
    expect(scalar.wpoLoss({ ...one, weights: 0.25 }, { beta: 0.5 }).losses).toBeCloseTo(0.078315, 6);
    const { losses } = scalar.dpoLoss({
      chosenLogps: new Float32Array([-1]),
      rejectedLogps: [-3],
      refChosenLogps: new Float64Array([-2]),
      refRejectedLogps: Int8Array.of(-2),
    });
    expect(losses).toBeInstanceOf(Float64Array);
    expect(losses[0]).toBeCloseTo(Math.log1p(Math.exp(-0.2)), 12);
  });

  it('the arguments are not changed', () => {
    const given = { ...two, weights: [0.5, 1] };
    const before = structuredClone(given);
    scalar.wpoLoss(given);
    scalar.preferenceLoss(two, { lossType: 'aot_unpaired' });
    expect(given).toEqual(before);
  });
});
