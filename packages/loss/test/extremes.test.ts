import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lossTypes, preferenceLoss } from '../src/index';
import type { MixtureOptions } from '../src/loss-types';
import { FACES, optionsFor } from './faces';
import { values } from './tensors';

describe.each(FACES)('over %s', (_, face) => {
  it.each(lossTypes())('%s makes no NaN of extreme log-probs', (lossType) => {
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
        const { losses } = face(columns, { ...optionsFor(lossType), beta });
        for (const loss of losses) expect(loss).not.toBeNaN();
      }),
      { numRuns: 200 },
    );
  });

  it.each(['forward_kl', 'js_divergence', 'alpha_divergence'] as const)(
    'a score by %s makes no NaN of extreme log-probs',
    (fDivergenceType) => {
      const extreme = fc.constantFrom(0, -1, -88, -1e4, -1e30, Number.NEGATIVE_INFINITY);
      fc.assert(
        fc.property(extreme, extreme, extreme, extreme, (c, r, rc, rr) => {
          const columns = { chosenLogps: [c], rejectedLogps: [r], refChosenLogps: [rc], refRejectedLogps: [rr] };
          expect(face(columns, { fDivergenceType }).losses[0]).not.toBeNaN();
        }),
        { numRuns: 200 },
      );
    },
  );
});

describe('gradients of extreme log-probs', () => {
  it.each(lossTypes())('of %s are finite where log-probs are', (lossType) => {
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

  it('reach the reference too, the other way', () => {
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
