import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lossTypes, preferenceLoss } from '../src/index';
import type { LossType, MixtureOptions } from '../src/loss-table';
import { batch, lossOptions } from './arbitraries';
import { type Columns, IMPLEMENTATIONS, isRanked, ones, optionsFor, plain, repeated } from './implementations';
import { close, values } from './tensors';

describe.each(IMPLEMENTATIONS)('over %s', (_, lossOf) => {
  it.each([
    ['sigmoid', {}, Math.LN2],
    ['hinge', {}, 1],
    // ½ log(½/.9) + ½ log(½/.1)
    ['exo_pair', { labelSmoothing: 0.1 }, 0.5 * Math.log(0.25 / 0.09)],
    ['nca_pair', {}, 2 * Math.LN2],
    ['robust', { labelSmoothing: 0.1 }, Math.LN2],
    ['bco_pair', {}, 2 * Math.LN2],
    ['aot', {}, Math.LN2],
    ['aot_unpaired', {}, Math.LN2],
    ['apo_zero', {}, 1],
    ['apo_down', {}, 1],
    // ½ log 2 + ½ e⁰
    ['discopop', {}, 0.5 * Math.LN2 + 0.5],
    ['sigmoid_norm', {}, Math.LN2],
    ['simpo', { simpoGamma: 0 }, Math.LN2],
    ['cpo', { cpoAlpha: 0 }, Math.LN2],
    ['kto', { desirableWeight: 2 }, 1.5],
  ] as const)('%s converges to a constant as beta goes to 0', (lossType, options, limit) => {
    fc.assert(
      fc.property(batch, (columns) => {
        const { losses } = lossOf(plain(columns), { ...options, lossType, beta: 1e-9 });
        close(losses, repeated(columns, limit), 1e-6);
      }),
      { numRuns: 20 },
    );
  });

  it('orpo converges to the NLL as beta goes to 0', () => {
    fc.assert(
      fc.property(batch, (columns) => {
        close(
          lossOf(plain(columns), { lossType: 'orpo', beta: 1e-9 }).losses,
          lossOf(plain(columns), { lossType: 'sft' }).losses,
        );
      }),
      { numRuns: 20 },
    );
  });

  it.each([
    ['sigmoid_norm', {}, 'sigmoid', {}],
    ['ipo', { beta: 0.5 }, 'ipo', { beta: 0.5 }],
    ['simpo', { simpoGamma: 0 }, 'cpo', { cpoAlpha: 0 }],
  ] as const)('%s of answers of one token equals %3$s', (lossType, options, other, otherOptions) => {
    fc.assert(
      fc.property(batch, (columns) => {
        const short = { ...plain(columns), chosenLengths: ones(columns), rejectedLengths: ones(columns) };
        const expected =
          other === 'ipo'
            ? columns.chosenLogps.map((c, i) => {
                const delta =
                  c - columns.refChosenLogps[i]! - (columns.rejectedLogps[i]! - columns.refRejectedLogps[i]!);
                return (delta - 1) ** 2;
              })
            : lossOf(short, { ...otherOptions, lossType: other }).losses;
        close(lossOf(short, { ...options, lossType }).losses, expected);
      }),
      { numRuns: 20 },
    );
  });

  it.each([
    ['kto with z₀ 0', { lossType: 'kto' }, { lossType: 'apo_zero' }],
    ['robust without flipped labels', { lossType: 'robust' }, { lossType: 'sigmoid' }],
    ['cpo without the likelihood', { lossType: 'cpo', cpoAlpha: 0 }, { lossType: 'sigmoid', refFree: true }],
    ['α-divergence with α 1', { fDivergenceType: 'alpha_divergence', fAlphaDivergenceCoef: 1 }, {}],
    [
      'α-divergence with α 0',
      { fDivergenceType: 'alpha_divergence', fAlphaDivergenceCoef: 0 },
      { fDivergenceType: 'forward_kl' },
    ],
    ['two halves', { lossType: ['hinge', 'hinge'], lossWeights: [0.25, 0.75] }, { lossType: 'hinge' }],
    ['a loss of weight 0', { lossType: ['hinge', 'sppo_hard'], lossWeights: [1, 0] }, { lossType: 'hinge' }],
  ] as const)('%s equals its simpler form', (_name, options, other) => {
    fc.assert(
      fc.property(batch, (columns) => {
        const given = { ...plain(columns), kl: 0 };
        close(lossOf(given, options as MixtureOptions).losses, lossOf(given, other as MixtureOptions).losses);
      }),
      { numRuns: 20 },
    );
  });

  it('aot and aot_unpaired of one pair equal sigmoid', () => {
    fc.assert(
      fc.property(batch, lossOptions, (columns, options) => {
        const first = Object.fromEntries(
          Object.entries(plain(columns)).map(([name, xs]) => [name, typeof xs === 'number' ? xs : xs.slice(0, 1)]),
        ) as unknown as Columns;
        const expected = lossOf(first, { ...options, lossType: 'sigmoid' }).losses;
        close(lossOf(first, { ...options, lossType: 'aot' }).losses, expected);
        close(lossOf(first, { ...options, lossType: 'aot_unpaired' }).losses, expected);
      }),
      { numRuns: 30 },
    );
  });
});

const OF_MARGIN: LossType[] = ['sigmoid', 'hinge', 'exo_pair', 'robust', 'discopop', 'aot', 'aot_unpaired'];
const UNRANKED = lossTypes().filter((lossType) => !isRanked(lossType));

describe.each(IMPLEMENTATIONS)('over %s', (_, lossOf) => {
  it.each(OF_MARGIN)('%s does not change when both answers’ log-probs change by the same amount', (lossType) => {
    fc.assert(
      fc.property(batch, lossOptions, fc.integer({ min: 0, max: 640 }), (columns, options, down) => {
        const shifted = {
          ...plain(columns),
          chosenLogps: columns.chosenLogps.map((x) => x - down / 64),
          rejectedLogps: columns.rejectedLogps.map((x) => x - down / 64),
        };
        const all = { ...options, lossType };
        close(lossOf(shifted, all).losses, lossOf(plain(columns), all).losses);
      }),
      { numRuns: 30 },
    );
  });

  it.each(['sppo_hard', 'apo_zero', 'bco_pair'] as const)(
    '%s does not change when answers are swapped and log-ratios negated',
    (lossType) => {
      fc.assert(
        fc.property(batch, lossOptions, (columns, { beta }) => {
          const mirrored = {
            chosenLogps: columns.refRejectedLogps,
            rejectedLogps: columns.refChosenLogps,
            refChosenLogps: columns.rejectedLogps,
            refRejectedLogps: columns.chosenLogps,
          };
          close(lossOf(mirrored, { lossType, beta }).losses, lossOf(plain(columns), { lossType, beta }).losses);
        }),
        { numRuns: 30 },
      );
    },
  );

  it('sigmoid with labelSmoothing 0.5 does not change when answers are swapped', () => {
    fc.assert(
      fc.property(batch, (columns) => {
        const swapped = {
          chosenLogps: columns.rejectedLogps,
          rejectedLogps: columns.chosenLogps,
          refChosenLogps: columns.refRejectedLogps,
          refRejectedLogps: columns.refChosenLogps,
        };
        const options: MixtureOptions = { labelSmoothing: 0.5 };
        close(lossOf(swapped, options).losses, lossOf(plain(columns), options).losses);
      }),
      { numRuns: 30 },
    );
  });

  it.each(UNRANKED)('%s: weight 1 changes nothing, weight 2 doubles the loss', (lossType) => {
    fc.assert(
      fc.property(batch, lossOptions, (columns, options) => {
        const all = { ...options, lossType };
        const unweighted = lossOf(plain(columns), all).losses;
        expect(lossOf({ ...columns, weights: ones(columns) }, all).losses).toEqual(unweighted);
        const doubled = lossOf({ ...columns, weights: repeated(columns, 2) }, all).losses;
        close(
          doubled,
          unweighted.map((loss) => 2 * loss),
          1e-6,
        );
      }),
      { numRuns: 20 },
    );
  });

  it('aot of a batch that contains a pair twice is not aot with that pair’s loss doubled, so it takes no weights', () => {
    // policy margins 4 and 0, reference margins −3 and −2: 4 is compared with −2, and 0 with −3
    const once = {
      chosenLogps: [-1, -3],
      rejectedLogps: [-5, -3],
      refChosenLogps: [-5, -4],
      refRejectedLogps: [-2, -2],
    };
    // with the second pair twice, 4 and one 0 are compared with the two −2
    const twice = Object.fromEntries(
      Object.entries(once).map(([name, xs]) => [name, [...xs, xs[1]!]]),
    ) as unknown as Columns;
    const softplus = (x: number) => Math.log1p(Math.exp(x));
    const [first, second] = lossOf(once, { lossType: 'aot', beta: 1 }).losses as [number, number];
    close([first, second], [softplus(-6), softplus(-3)]);
    const counted = lossOf(twice, { lossType: 'aot', beta: 1 }).losses;
    close(counted, [softplus(-6), softplus(-2), softplus(-3)]);
    const weighted = first + 2 * second;
    expect(counted.reduce((sum, loss) => sum + loss, 0) - weighted).toBeCloseTo(softplus(-2) - softplus(-3), 6);
  });

  it.each(lossTypes())('%s: each pair’s loss does not depend on the order of the batch', (lossType) => {
    const reordered = batch.chain((columns) =>
      fc.tuple(
        fc.constant(columns),
        fc.shuffledSubarray([...columns.chosenLogps.keys()], { minLength: columns.chosenLogps.length }),
      ),
    );
    fc.assert(
      fc.property(reordered, lossOptions, ([columns, order], options) => {
        const given = isRanked(lossType) ? plain(columns) : columns;
        const shuffled = Object.fromEntries(
          Object.entries(given).map(([name, xs]) => [name, typeof xs === 'number' ? xs : order.map((i) => xs[i]!)]),
        ) as unknown as Columns;
        const all = { ...options, lossType };
        const sorted = (xs: readonly number[]) => [...xs].sort((a, b) => a - b);
        const [found, straight] = [lossOf(shuffled, all).losses, lossOf(given, all).losses];
        // pairs of equal rank may swap their losses
        if (isRanked(lossType)) close(sorted(found), sorted(straight));
        else
          close(
            found,
            order.map((i) => straight[i]!),
          );
      }),
      { numRuns: 20 },
    );
  });
});

describe.each(IMPLEMENTATIONS)('over %s', (_, lossOf) => {
  it.each(lossTypes())('%s: extreme log-probs make no NaN', (lossType) => {
    const extreme = fc.constantFrom(0, -1e-30, -1e-7, -1, -88, -1e4, -1e30, Number.NEGATIVE_INFINITY);
    const row = fc.tuple(extreme, extreme, extreme, extreme);
    fc.assert(
      fc.property(fc.array(row, { minLength: 1, maxLength: 4 }), fc.constantFrom(1e-3, 0.1, 10), (rows, beta) => {
        const columns = {
          chosenLogps: rows.map(([c]) => c),
          rejectedLogps: rows.map(([, r]) => r),
          refChosenLogps: rows.map(([, , c]) => c),
          refRejectedLogps: rows.map(([, , , r]) => r),
        };
        const { losses } = lossOf(columns, { ...optionsFor(lossType), beta });
        for (const loss of losses) expect(loss).not.toBeNaN();
      }),
      { numRuns: 200 },
    );
  });

  it.each(['forward_kl', 'js_divergence', 'alpha_divergence'] as const)(
    'the score of %s: extreme log-probs make no NaN',
    (fDivergenceType) => {
      const extreme = fc.constantFrom(0, -1, -88, -1e4, -1e30, Number.NEGATIVE_INFINITY);
      fc.assert(
        fc.property(extreme, extreme, extreme, extreme, (c, r, rc, rr) => {
          const columns = { chosenLogps: [c], rejectedLogps: [r], refChosenLogps: [rc], refRejectedLogps: [rr] };
          expect(lossOf(columns, { fDivergenceType }).losses[0]).not.toBeNaN();
        }),
        { numRuns: 200 },
      );
    },
  );
});

describe('gradients at extreme log-probs', () => {
  it.each(lossTypes())('of %s are finite where the log-probs are', (lossType) => {
    const extreme = fc.constantFrom(0, -1e-7, -1, -88, -1e4);
    const four = fc.tuple(extreme, extreme, extreme, extreme);
    fc.assert(
      fc.property(four, fc.constantFrom(1e-3, 0.1, 10), ([c, r, rc, rr], beta) => {
        tf.tidy(() => {
          const one = tf.ones<tf.Rank.R1>([1]);
          const gradients = tf.grads((x, y) => {
            const input = {
              chosenLogps: x as tf.Tensor1D,
              rejectedLogps: y as tf.Tensor1D,
              refChosenLogps: tf.tensor1d([rc]),
              refRejectedLogps: tf.tensor1d([rr]),
              chosenLengths: one,
              rejectedLengths: one,
              kl: 0,
            };
            const { losses } = preferenceLoss(input, { ...optionsFor(lossType), beta } as MixtureOptions<'kto'>);
            return tf.add(losses, tf.mul(y!, 0));
          })([tf.tensor1d([c]), tf.tensor1d([r])]);
          for (const gradient of gradients) expect(Number.isFinite(values(gradient)[0])).toBe(true);
        });
      }),
      { numRuns: 100 },
    );
  });

  it('flow to the reference with the opposite sign', () => {
    const four = ['chosenLogps', 'rejectedLogps', 'refChosenLogps', 'refRejectedLogps'] as const;
    const at = four.map((_, i) => tf.tensor1d([-1 - i / 2]));
    const gradients = tf.grads((...xs) => {
      const input = Object.fromEntries(four.map((name, i) => [name, xs[i]])) as unknown as Parameters<
        typeof preferenceLoss<'nca_pair'>
      >[0];
      return preferenceLoss(input, { lossType: 'nca_pair' }).losses;
    })(at);
    const [c, r, rc, rr] = gradients.map((gradient) => values(gradient)[0]!);
    expect([rc, rr]).toEqual([-c!, -r!]);
  });
});
