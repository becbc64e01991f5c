import '@tensorflow/tfjs';
import fc from 'fast-check';
import { describe, it } from 'vitest';
import type { MixtureOptions } from '../src/loss-types';
import { batch, lossOptions } from './arbitraries';
import { close } from './close';
import { type Columns, FACES, ones, plain, repeated } from './faces';

describe.each(FACES)('over %s', (_, face) => {
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
  ] as const)('%s goes to a constant as beta goes to 0', (lossType, options, limit) => {
    fc.assert(
      fc.property(batch, (columns) => {
        const { losses } = face(plain(columns), { ...options, lossType, beta: 1e-9 });
        close(losses, repeated(columns, limit), 1e-6);
      }),
      { numRuns: 20 },
    );
  });

  it('orpo goes to the plain likelihood as beta goes to 0', () => {
    fc.assert(
      fc.property(batch, (columns) => {
        close(
          face(plain(columns), { lossType: 'orpo', beta: 1e-9 }).losses,
          face(plain(columns), { lossType: 'sft' }).losses,
        );
      }),
      { numRuns: 20 },
    );
  });

  it.each([
    ['sigmoid_norm', {}, 'sigmoid', {}],
    ['ipo', { beta: 0.5 }, 'ipo', { beta: 0.5 }],
    ['simpo', { simpoGamma: 0 }, 'cpo', { cpoAlpha: 0 }],
  ] as const)('%s of answers of one token is %3$s', (lossType, options, other, otherOptions) => {
    fc.assert(
      fc.property(batch, (columns) => {
        const short = { ...plain(columns), chosenLengths: ones(columns), rejectedLengths: ones(columns) };
        const wanted =
          other === 'ipo'
            ? columns.chosenLogps.map((c, i) => {
                const delta =
                  c - columns.refChosenLogps[i]! - (columns.rejectedLogps[i]! - columns.refRejectedLogps[i]!);
                return (delta - 1) ** 2;
              })
            : face(short, { ...otherOptions, lossType: other }).losses;
        close(face(short, { ...options, lossType }).losses, wanted);
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
  ] as const)('%s is the same as what it comes down to', (_name, options, other) => {
    fc.assert(
      fc.property(batch, (columns) => {
        const given = { ...plain(columns), kl: 0 };
        close(face(given, options as MixtureOptions).losses, face(given, other as MixtureOptions).losses);
      }),
      { numRuns: 20 },
    );
  });

  it('one pair is its own quantiles: aot and aot_unpaired are sigmoid', () => {
    fc.assert(
      fc.property(batch, lossOptions, (columns, options) => {
        const first = Object.fromEntries(
          Object.entries(plain(columns)).map(([name, xs]) => [name, typeof xs === 'number' ? xs : xs.slice(0, 1)]),
        ) as unknown as Columns;
        const wanted = face(first, { ...options, lossType: 'sigmoid' }).losses;
        close(face(first, { ...options, lossType: 'aot' }).losses, wanted);
        close(face(first, { ...options, lossType: 'aot_unpaired' }).losses, wanted);
      }),
      { numRuns: 30 },
    );
  });
});
