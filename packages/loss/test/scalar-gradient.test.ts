import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ldLogps, lossNeeds, lossTypes, preferenceLoss, wpoWeights } from '../src/index';
import type { LossType, MixtureOptions } from '../src/loss-table';
import * as scalar from '../src/scalar/index';
import { batch, lossOptions, mixture, pairs } from './arbitraries';
import { type Columns, isRanked, optionsFor, plain } from './implementations';
import { answerBatch, close, values } from './tensors';

type Gradient = Record<'chosenLogps' | 'rejectedLogps' | 'weights', number[]>;

/** The gradient of Σ losses by tfjs's automatic differentiation, in float32. */
function byTensors({ kl = 0, ...given }: Columns, options: MixtureOptions): Gradient {
  return tf.tidy(() => {
    const columns = Object.fromEntries(
      Object.entries(given).flatMap(([name, xs]) => (xs ? [[name, tf.tensor1d([...xs], 'float32')]] : [])),
    );
    const ones = tf.onesLike(columns.chosenLogps!);
    const [chosenLogps, rejectedLogps, weights] = tf
      .grads((chosenLogps, rejectedLogps, weights) => {
        const input = { ...columns, chosenLogps, rejectedLogps, kl, ...(given.weights ? { weights } : {}) };
        const { losses } = preferenceLoss(
          input as unknown as Parameters<typeof preferenceLoss<'kto', false>>[0],
          { ...options, attached: true } as MixtureOptions<'kto'>,
        );
        // tfjs refuses to differentiate by what a loss does not read
        return tf.addN([losses, tf.mul(rejectedLogps!, 0), tf.mul(weights!, 0)]);
      })([columns.chosenLogps!, columns.rejectedLogps!, columns.weights ?? ones])
      .map(values);
    return { chosenLogps: chosenLogps!, rejectedLogps: rejectedLogps!, weights: weights! };
  });
}

const byNumbers = ({ kl = 0, ...columns }: Columns, options: MixtureOptions) =>
  scalar.preferenceLossWithGradient({ ...columns, kl }, options as MixtureOptions<'kto'>);

/**
 * Compares float32 with float64, relative to the largest number of the gradient. Near a kink (hinge's corner at β Δ = 1) float32 may round
 * to the other side, so the slopes on both sides are right.
 */
function expectAlike(columns: Columns, options: MixtureOptions) {
  const near = [1 - 1e-6, 1, 1 + 1e-6].map((factor) => {
    const { beta } = options;
    return byNumbers(columns, { ...options, ...(beta !== undefined && { beta: beta * factor }) }).gradient;
  });
  const expected = byTensors(columns, options);
  for (const name of ['chosenLogps', 'rejectedLogps', 'weights'] as const) {
    if (name === 'weights' && !columns.weights) continue;
    const slack = 5e-5 * Math.max(1, ...expected[name].map(Math.abs));
    expect(near[1]![name]).toHaveLength(expected[name].length);
    for (const [i, value] of expected[name].entries()) {
      const slopes = near.map((gradient) => gradient[name][i]!);
      if (!(value >= Math.min(...slopes) - slack && value <= Math.max(...slopes) + slack)) {
        throw new Error(`d/d${name}[${i}] is ${slopes[1]} over numbers, ${value} over tensors`);
      }
    }
  }
}

describe('preferenceLossWithGradient', () => {
  it('returns the losses, weights and rewards of preferenceLoss', () => {
    fc.assert(
      fc.property(batch, mixture, lossOptions, (columns, { lossType, lossWeights }, options) => {
        const given = lossType.some(isRanked) ? plain(columns) : columns;
        const all = { ...options, lossType, lossWeights } as MixtureOptions<'kto'>;
        const { gradient, ...result } = scalar.preferenceLossWithGradient(given, all);
        expect(result).toEqual(scalar.preferenceLoss(given, all));
        expect(gradient.weights).toEqual(result.unweightedLosses);
      }),
    );
  });

  it('meets gradients worked by hand', () => {
    const columns = { chosenLogps: [-1], rejectedLogps: [-3], refChosenLogps: [-2], refRejectedLogps: [-2] };
    // β = ½, Δ = 2, u = 1: −β σ(−1) = −½ · 0.268941, times the weight ¼
    const { gradient } = byNumbers({ ...columns, weights: [0.25] }, { beta: 0.5 });
    expect(gradient.chosenLogps[0]).toBeCloseTo(-0.033618, 6);
    expect(gradient.rejectedLogps[0]).toBeCloseTo(0.033618, 6);
    expect(gradient.weights[0]).toBeCloseTo(0.313262, 6);
  });

  it.each(lossTypes())('%s: the gradient is that of tfjs', (lossType) => {
    fc.assert(
      fc.property(batch, lossOptions, (columns, options) => {
        expectAlike(isRanked(lossType) ? plain(columns) : columns, { ...options, lossType });
      }),
      { numRuns: 60 },
    );
  });

  it('the gradient of a mixture is that of tfjs', () => {
    fc.assert(
      fc.property(batch, mixture, lossOptions, (columns, { lossType, lossWeights }, options) => {
        const given = lossType.some(isRanked) ? plain(columns) : columns;
        expectAlike(given, { ...options, lossType, lossWeights });
      }),
      { numRuns: 200 },
    );
  });

  it('the gradient through an f-divergence is that of tfjs, with and without a reference', () => {
    const scored = fc.constantFrom<LossType>('sigmoid', 'sigmoid_norm', 'hinge', 'ipo', 'exo_pair', 'robust');
    const divergence = fc.constantFrom('reverse_kl', 'forward_kl', 'js_divergence', 'alpha_divergence');
    const alpha = fc.double({ min: -0.5, max: 1.5, noNaN: true });
    fc.assert(
      fc.property(
        batch,
        scored,
        divergence,
        alpha,
        fc.boolean(),
        lossOptions,
        (columns, lossType, fDivergenceType, fAlphaDivergenceCoef, refFree, options) => {
          // log-probs near 0 without a reference: f′ of e^60 is not what training sees
          const given = refFree
            ? {
                ...columns,
                chosenLogps: columns.chosenLogps.map((x) => x / 16),
                rejectedLogps: columns.rejectedLogps.map((x) => x / 16),
              }
            : columns;
          expectAlike(given, {
            ...options,
            lossType,
            fDivergenceType,
            fAlphaDivergenceCoef,
            refFree,
          } as MixtureOptions);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('losses without a reference have the gradient of tfjs', () => {
    const unranked = fc.constantFrom(...lossTypes().filter((lossType) => !isRanked(lossType)));
    fc.assert(
      fc.property(batch, unranked, lossOptions, (columns, lossType, options) => {
        expectAlike(columns, { ...options, lossType, refFree: true });
      }),
      { numRuns: 100 },
    );
  });

  it.each(lossTypes())('%s: the gradient is the finite difference of the losses', (lossType) => {
    const h = 1e-5;
    fc.assert(
      fc.property(batch, lossOptions, (columns, options) => {
        const given = isRanked(lossType) ? plain(columns) : columns;
        const all = { ...options, lossType };
        const { gradient } = byNumbers(given, all);
        for (const name of ['chosenLogps', 'rejectedLogps', 'weights'] as const) {
          const column = given[name];
          if (!column) continue;
          for (const i of column.keys()) {
            const total = (step: number) => {
              const moved = {
                ...given,
                [name]: column.map((x, j) => (j === i ? Math.max(x, name === 'weights' ? h : x) + step : x)),
              };
              return byNumbers(moved, all).losses.reduce((sum, loss) => sum + loss, 0);
            };
            const [ahead, behind] = [(total(h) - total(0)) / h, (total(0) - total(-h)) / h];
            // a kink within the step (hinge's corner, two answers that swap ranks) has slopes between those of its sides
            const slack = 1e-3 * Math.max(1, Math.abs(ahead), Math.abs(behind));
            const [least, most] = [Math.min(ahead, behind) - slack, Math.max(ahead, behind) + slack];
            const found = gradient[name][i]!;
            if (!(found >= least && found <= most)) {
              throw new Error(`d/d${name}[${i}]: expected ${behind} to ${ahead}, found ${found}`);
            }
          }
        }
      }),
      { numRuns: 40 },
    );
  });

  it.each(lossTypes())('%s: no NaN at extreme log-probs, and finite where those are', (lossType) => {
    const extreme = fc.constantFrom(0, -1e-30, -1e-7, -1, -88, -1e4, Number.NEGATIVE_INFINITY);
    const row = fc.tuple(extreme, extreme, extreme, extreme);
    fc.assert(
      fc.property(fc.array(row, { minLength: 1, maxLength: 4 }), fc.constantFrom(1e-3, 0.1, 10), (rows, beta) => {
        const columns = {
          chosenLogps: rows.map(([c]) => c),
          rejectedLogps: rows.map(([, r]) => r),
          refChosenLogps: rows.map(([, , c]) => c),
          refRejectedLogps: rows.map(([, , , r]) => r),
          chosenLengths: rows.map(() => 1),
          rejectedLengths: rows.map(() => 1),
        };
        const { gradient } = byNumbers(columns, { ...optionsFor(lossType), beta });
        const finite = rows.flat().every(Number.isFinite);
        for (const x of [...gradient.chosenLogps, ...gradient.rejectedLogps]) {
          expect(x).not.toBeNaN();
          // DiscoPOP's e^−u is infinite in float64 past u = −709
          if (finite && lossType !== 'discopop') expect(Math.abs(x)).toBeLessThan(Number.POSITIVE_INFINITY);
        }
      }),
      { numRuns: 200 },
    );
  });

  it.each(lossTypes())('%s: where an answer has log-prob −∞, the gradient is that of tfjs', (lossType) => {
    const value = fc.constantFrom(-0.5, -3, Number.NEGATIVE_INFINITY);
    fc.assert(
      fc.property(value, value, value, value, (c, r, refC, refR) => {
        const columns = {
          chosenLogps: [c],
          rejectedLogps: [r],
          refChosenLogps: [refC],
          refRejectedLogps: [refR],
          chosenLengths: [2],
          rejectedLengths: [4],
        };
        const options = { ...optionsFor(lossType), beta: 0.5 };
        const [{ gradient }, expected] = [byNumbers(columns, options), byTensors(columns, options)];
        for (const name of ['chosenLogps', 'rejectedLogps'] as const) {
          const [x, value32] = [gradient[name][0]!, expected[name][0]!];
          if (Number.isNaN(value32)) expect(x).not.toBeNaN();
          else if (Number.isFinite(value32)) expect(x).toBeCloseTo(value32, 5);
          else expect(x).toBe(value32);
        }
      }),
      { numRuns: 81 },
    );
  });

  it('a pair of weight 0 has gradient 0, even where its loss is infinite', () => {
    const out = Number.NEGATIVE_INFINITY;
    const columns = { chosenLogps: [out], rejectedLogps: [-1], refChosenLogps: [-1], refRejectedLogps: [-1] };
    for (const lossType of ['sigmoid', 'hinge', 'sppo_hard', 'nca_pair'] as const) {
      const { losses, gradient } = byNumbers({ ...columns, weights: [0] }, { lossType });
      expect([losses[0], gradient.chosenLogps[0], gradient.rejectedLogps[0]].map((x) => x! + 0)).toEqual([0, 0, 0]);
    }
  });

  it('hinge has the slope of either side where float32 rounds β Δ to 1', () => {
    const one = { chosenLengths: [1], rejectedLengths: [1], weights: [1 / 64], kl: 0 };
    const logps = {
      chosenLogps: [-1 / 64],
      rejectedLogps: [-1 / 64],
      refChosenLogps: [-3.171875],
      refRejectedLogps: [-2.671875],
    };
    expectAlike({ ...one, ...logps }, { lossType: 'hinge', beta: 1.9999999403953552 });
  });

  it('hinge has slope 0 at its kink, as over tensors', () => {
    // β Δ = ½ · 2 = 1
    const columns = { chosenLogps: [-1], rejectedLogps: [-3], refChosenLogps: [-2], refRejectedLogps: [-2] };
    expect(byNumbers(columns, { lossType: 'hinge', beta: 0.5 }).gradient.chosenLogps[0]! + 0).toBe(0);
    expect(byTensors(columns, { lossType: 'hinge', beta: 0.5 }).chosenLogps[0]! + 0).toBe(0);
    expect(byNumbers(columns, { lossType: 'hinge', beta: 0.49 }).gradient.chosenLogps).toEqual(Float64Array.of(-0.49));
  });

  it('matches equal values by rank in the order of the batch, as over tensors', () => {
    // equal chosen log-ratios and equal rejected ones: the first meets the first
    const columns = {
      chosenLogps: [-1, -2, -1],
      rejectedLogps: [-3, -3, -5],
      refChosenLogps: [-2, -3, -3],
      refRejectedLogps: [-2, -2, -2],
    };
    for (const lossType of ['aot', 'aot_unpaired'] as const) expectAlike(columns, { lossType, beta: 1 });
  });

  it('leaves its arguments as they were', () => {
    const given = {
      chosenLogps: [-1, -2],
      rejectedLogps: [-3, -1],
      refChosenLogps: [-2, -2],
      refRejectedLogps: [-2, -2],
    };
    const before = structuredClone(given);
    scalar.preferenceLossWithGradient(given, { lossType: 'aot_unpaired' });
    expect(given).toEqual(before);
  });

  it('names itself in errors', () => {
    const columns = { chosenLogps: [-1], rejectedLogps: [Number.NaN], refChosenLogps: [-2], refRejectedLogps: [-2] };
    expect(() => scalar.preferenceLossWithGradient(columns)).toThrow('preferenceLossWithGradient: rejectedLogps[0]');
  });
});

describe('wpoWeightsWithGradient', () => {
  const options = fc.record({
    alignment: fc.constantFrom('sampled' as const, 'greedy' as const, 'none' as const),
    clamp: fc.boolean(),
    temperature: fc.double({ min: 0.5, max: 4, noNaN: true }),
  });

  it('has the weight of wpoWeights and the gradient of attached weights over tensors', () => {
    fc.assert(
      fc.property(pairs, options, (drawn, options) => {
        const chosen = answerBatch(drawn.map((pair) => pair.chosen));
        const rejected = answerBatch(drawn.map((pair) => pair.rejected));
        const [byChosen, byRejected] = tf
          .grads((c, r) =>
            wpoWeights(
              {
                chosen: { ...chosen, logps: c as tf.Tensor2D },
                rejected: { ...rejected, logps: r as tf.Tensor2D },
              },
              { ...options, attached: true },
            ),
          )([chosen.logps, rejected.logps])
          .map((x) => x.arraySync() as number[][]);
        for (const [i, pair] of drawn.entries()) {
          const { weight, gradient } = scalar.wpoWeightsWithGradient(pair, options);
          expect(weight).toBe(scalar.wpoWeights(pair, options));
          // within float32's rounding of the clamp, either side's slope is right
          if (options.clamp && Math.abs(weight - 1) < 1e-5) continue;
          close([gradient.chosen, gradient.rejected], [byChosen![i]![0]!, byRejected![i]![0]!]);
        }
      }),
    );
  });

  it('is w / (τ |y|) up to a weight of exactly 1, and 0 where the clamp lowers the weight', () => {
    const answer = (...logps: number[]) => ({ logps, logMax: logps.map(() => -1) });
    const gradient = (c: number, r: number, clamp = true) =>
      scalar.wpoWeightsWithGradient(
        { chosen: answer(c, c), rejected: answer(r) },
        { alignment: 'greedy', clamp, temperature: 2 },
      ).gradient;
    expect(gradient(-1, -1)).toEqual({ chosen: 1 / 4, rejected: 1 / 2 });
    expect(gradient(-0.5, -1)).toEqual({ chosen: 0, rejected: 0 });
    const w = Math.exp(0.25);
    expect(gradient(-0.5, -1, false)).toEqual({ chosen: w / 4, rejected: w / 2 });
    expect(gradient(Number.NEGATIVE_INFINITY, -1)).toEqual({ chosen: 0, rejected: 0 });
  });
});

describe('ldTokenWeights', () => {
  it('is 1 for tokens up to the shorter length and α past it', () => {
    expect(scalar.ldTokenWeights(3, 1, 0.5)).toEqual({
      chosen: Float64Array.of(1, 0.5, 0.5),
      rejected: Float64Array.of(1),
    });
    expect(scalar.ldTokenWeights(1, 2, 0)).toEqual({ chosen: Float64Array.of(1), rejected: Float64Array.of(1, 0) });
    expect(scalar.ldTokenWeights(2, 1, 1).chosen).toEqual(Float64Array.of(1, 1));
    expect(() => scalar.ldTokenWeights(1, 1, 2)).toThrow(
      'ldTokenWeights: alpha: expected a number from 0 to 1, found 2.',
    );
  });

  it('is the gradient of ldLogps over tensors', () => {
    fc.assert(
      fc.property(pairs, fc.integer({ min: 0, max: 64 }), (drawn, numerator) => {
        const alpha = numerator / 64;
        const chosen = answerBatch(drawn.map((pair) => pair.chosen));
        const rejected = answerBatch(drawn.map((pair) => pair.rejected));
        const gradient = tf.grad(
          (x) => ldLogps({ chosen: { ...chosen, logps: x as tf.Tensor2D }, rejected }, alpha).chosen,
        )(chosen.logps);
        for (const [i, row] of (gradient.arraySync() as number[][]).entries()) {
          const { chosen, rejected } = drawn[i]!;
          const weights = scalar.ldTokenWeights(chosen.logps.length, rejected.logps.length, alpha).chosen;
          expect(row.slice(0, chosen.logps.length)).toEqual([...weights]);
        }
      }),
    );
  });
});

describe('the needs of a loss, without tfjs', () => {
  it('lossTypes and lossNeeds are those of the tensor entry', () => {
    expect(scalar.lossTypes()).toEqual(lossTypes());
    for (const lossType of lossTypes()) {
      for (const refFree of [false, true]) {
        const options = { lossType, labelSmoothing: 0.1, refFree };
        expect(scalar.lossNeeds(options)).toEqual(lossNeeds(options));
      }
    }
  });
});
