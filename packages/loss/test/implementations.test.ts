import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { answerScores, ldLogps, lossTypes, preferenceLoss, sumLogps, wpoLoss, wpoWeights } from '../src/index';
import type { LossType, MixtureOptions } from '../src/loss-table';
import * as scalar from '../src/scalar/index';
import { batch, lossOptions, mixture, pairs } from './arbitraries';
import { IMPLEMENTATIONS, isRanked, type Numbers } from './implementations';
import { answerBatch, values } from './tensors';

const [[, overTensors], [, overNumbers]] = IMPLEMENTATIONS as [
  (typeof IMPLEMENTATIONS)[number],
  (typeof IMPLEMENTATIONS)[number],
];

/** Compares float32 with float64, relative to the number or to the operands of the subtraction that made it. */
function expectAlike(found: readonly number[], expected: readonly number[], scale = 1) {
  expect(found).toHaveLength(expected.length);
  for (const [i, x] of found.entries()) {
    if (x === expected[i]) continue;
    const bound = 3e-5 * Math.max(Math.abs(expected[i]!), scale);
    if (!(Math.abs(x - expected[i]!) <= bound))
      throw new Error(`expected ${expected[i]} as over numbers, found ${x} over tensors`);
  }
}

describe('losses over tensors and over numbers', () => {
  it('have the same losses, weights and rewards for any losses and options', () => {
    fc.assert(
      fc.property(batch, mixture, lossOptions, (columns, { lossType, lossWeights }, options) => {
        const ranked = lossType.some(isRanked);
        const given = ranked ? { ...columns, weights: undefined } : columns;
        const all = { ...options, lossType, lossWeights } as MixtureOptions;
        const [tensors, numbers] = [overTensors(given, all), overNumbers(given, all)];
        for (const name of Object.keys(numbers) as (keyof Numbers)[]) {
          expectAlike(tensors[name], numbers[name], Math.max(1, ...numbers[name].map(Math.abs)));
        }
      }),
      { numRuns: 300 },
    );
  });

  it('agree under every f-divergence', () => {
    const scored = fc.constantFrom<LossType>(
      'sigmoid',
      'sigmoid_norm',
      'hinge',
      'ipo',
      'exo_pair',
      'robust',
      'discopop',
    );
    const divergence = fc.constantFrom('reverse_kl', 'forward_kl', 'js_divergence', 'alpha_divergence');
    const alpha = fc.double({ min: -0.5, max: 1.5, noNaN: true });
    fc.assert(
      fc.property(
        batch,
        scored,
        divergence,
        alpha,
        lossOptions,
        (columns, lossType, fDivergenceType, fAlphaDivergenceCoef, options) => {
          const all = { ...options, lossType, fDivergenceType, fAlphaDivergenceCoef } as MixtureOptions;
          const [tensors, numbers] = [overTensors(columns, all), overNumbers(columns, all)];
          expectAlike(tensors.losses, numbers.losses, Math.max(1, ...numbers.losses.map(Math.abs)));
        },
      ),
    );
  });

  it('have the same WPO weights, scores and losses', () => {
    const alignment = fc.constantFrom('sampled' as const, 'greedy' as const, 'none' as const);
    const temperature = fc.double({ min: 0.1, max: 10, noNaN: true });
    fc.assert(
      fc.property(pairs, alignment, fc.boolean(), temperature, (drawn, alignment, clamp, temperature) => {
        const [chosen, rejected] = [drawn.map((pair) => pair.chosen), drawn.map((pair) => pair.rejected)];
        const tensors = { chosen: answerBatch(chosen, Number.NaN), rejected: answerBatch(rejected, Number.NaN) };
        const options = { alignment, clamp, temperature };
        const weights = drawn.map((pair) => scalar.wpoWeights(pair, options));
        expectAlike(values(wpoWeights(tensors, options)), weights, Math.max(1, ...weights));
        expectAlike(
          values(answerScores(tensors.chosen, alignment)),
          chosen.map((answer) => scalar.answerScores(answer, alignment)),
        );
        const sums = chosen.map((answer) => scalar.sumLogps(answer));
        expectAlike(values(sumLogps(tensors.chosen)), sums);
        const logps = {
          chosenLogps: sums,
          rejectedLogps: rejected.map((answer) => scalar.sumLogps(answer)),
          refChosenLogps: sums.map(() => -2),
          refRejectedLogps: sums.map(() => -3),
          weights,
        };
        const tensorLogps = Object.fromEntries(Object.entries(logps).map(([name, xs]) => [name, tf.tensor1d(xs)]));
        const result = wpoLoss(tensorLogps as unknown as Parameters<typeof wpoLoss>[0], { beta: 0.5 });
        const numbers = scalar.wpoLoss(logps, { beta: 0.5 });
        expectAlike(values(result.losses), [...numbers.losses], Math.max(1, ...numbers.losses));
        expectAlike(values(result.dpoLosses), [...numbers.dpoLosses]);
      }),
    );
  });

  it('have the same LD-DPO log-probs', () => {
    fc.assert(
      fc.property(pairs, fc.double({ min: 0, max: 1, noNaN: true }), (drawn, alpha) => {
        const [chosen, rejected] = [drawn.map((pair) => pair.chosen), drawn.map((pair) => pair.rejected)];
        const found = ldLogps({ chosen: answerBatch(chosen, Number.NaN), rejected: answerBatch(rejected) }, alpha);
        const expected = drawn.map((pair) => scalar.ldLogps(pair, alpha));
        expectAlike(
          values(found.chosen),
          expected.map((pair) => pair.chosen),
        );
        expectAlike(
          values(found.rejected),
          expected.map((pair) => pair.rejected),
        );
      }),
    );
  });
});

describe('gradients over tensors', () => {
  it.each(lossTypes())('of %s are finite differences of the losses over numbers', (lossType) => {
    fc.assert(
      fc.property(batch, lossOptions, (columns, options) => {
        const { weights: _, ...given } = columns;
        const all = { ...options, lossType } as MixtureOptions<'kto'>;
        const total = (name: 'chosenLogps' | 'rejectedLogps', at: number, step: number) => {
          const moved = { ...given, [name]: given[name].map((x, i) => (i === at ? x + step : x)) };
          return overNumbers(moved, all).losses.reduce((sum, loss) => sum + loss, 0);
        };
        tf.tidy(() => {
          const input = Object.fromEntries(
            Object.entries(given).map(([name, xs]) => [name, typeof xs === 'number' ? xs : tf.tensor1d([...xs])]),
          ) as unknown as Parameters<typeof preferenceLoss<'kto'>>[0];
          const gradients = tf.grads((c, r) => {
            const { losses } = preferenceLoss(
              { ...input, chosenLogps: c as tf.Tensor1D, rejectedLogps: r as tf.Tensor1D },
              all,
            );
            return tf.sum(tf.add(losses, tf.mul(r!, 0)));
          })([input.chosenLogps, input.rejectedLogps]);
          for (const [k, name] of (['chosenLogps', 'rejectedLogps'] as const).entries()) {
            for (const [i, gradient] of values(gradients[k]!).entries()) {
              const [up, here, down] = [total(name, i, H), total(name, i, 0), total(name, i, -H)];
              const [ahead, behind] = [(up - here) / H, (here - down) / H];
              // a kink within the step (hinge's corner, two answers that swap ranks) has a slope between those of its sides
              const slack = 1e-3 * Math.max(1, Math.abs(ahead), Math.abs(behind));
              const [least, most] = [Math.min(ahead, behind) - slack, Math.max(ahead, behind) + slack];
              if (!(gradient >= least && gradient <= most)) {
                throw new Error(`d/d${name}[${i}]: expected ${behind} to ${ahead}, found ${gradient}`);
              }
            }
          }
        });
      }),
      { numRuns: 40 },
    );
  });
});
const H = 1e-5;
