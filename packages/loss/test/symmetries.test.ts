import '@tensorflow/tfjs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lossTypes } from '../src/index';
import type { LossType, MixtureOptions } from '../src/loss-types';
import { batch, lossOptions } from './arbitraries';
import { close } from './close';
import { type Columns, FACES, isRanked, ones, plain, repeated } from './faces';

const OF_MARGIN: LossType[] = ['sigmoid', 'hinge', 'exo_pair', 'robust', 'discopop', 'aot', 'aot_unpaired'];
const UNRANKED = lossTypes().filter((lossType) => !isRanked(lossType));

describe.each(FACES)('over %s', (_, face) => {
  it.each(OF_MARGIN)('%s does not change with both answers’ log-probs raised alike', (lossType) => {
    fc.assert(
      fc.property(batch, lossOptions, fc.integer({ min: 0, max: 640 }), (columns, options, down) => {
        const shifted = {
          ...plain(columns),
          chosenLogps: columns.chosenLogps.map((x) => x - down / 64),
          rejectedLogps: columns.rejectedLogps.map((x) => x - down / 64),
        };
        const all = { ...options, lossType };
        close(face(shifted, all).losses, face(plain(columns), all).losses);
      }),
      { numRuns: 30 },
    );
  });

  it.each(['sppo_hard', 'apo_zero', 'bco_pair'] as const)(
    '%s is the same with answers swapped and log-ratios negated',
    (lossType) => {
      fc.assert(
        fc.property(batch, lossOptions, (columns, { beta }) => {
          const mirrored = {
            chosenLogps: columns.refRejectedLogps,
            rejectedLogps: columns.refChosenLogps,
            refChosenLogps: columns.rejectedLogps,
            refRejectedLogps: columns.chosenLogps,
          };
          close(face(mirrored, { lossType, beta }).losses, face(plain(columns), { lossType, beta }).losses);
        }),
        { numRuns: 30 },
      );
    },
  );

  it('sigmoid with half the labels wrong does not know one answer from the other', () => {
    fc.assert(
      fc.property(batch, (columns) => {
        const swapped = {
          chosenLogps: columns.rejectedLogps,
          rejectedLogps: columns.chosenLogps,
          refChosenLogps: columns.refRejectedLogps,
          refRejectedLogps: columns.refChosenLogps,
        };
        const options: MixtureOptions = { labelSmoothing: 0.5 };
        close(face(swapped, options).losses, face(plain(columns), options).losses);
      }),
      { numRuns: 30 },
    );
  });

  it.each(UNRANKED)('%s of weight 1 is unweighted, and of weight 2 the pair twice', (lossType) => {
    fc.assert(
      fc.property(batch, lossOptions, (columns, options) => {
        const all = { ...options, lossType };
        const unweighted = face(plain(columns), all).losses;
        expect(face({ ...columns, weights: ones(columns) }, all).losses).toEqual(unweighted);
        const doubled = face({ ...columns, weights: repeated(columns, 2) }, all).losses;
        close(
          doubled,
          unweighted.map((loss) => 2 * loss),
          1e-6,
        );
      }),
      { numRuns: 20 },
    );
  });

  it('aot would not: with a pair twice, other quantiles meet, which is why it takes no weights', () => {
    // policy margins 4 and 0, reference margins −3 and −2: 4 meets −2 and 0 meets −3
    const once = {
      chosenLogps: [-1, -3],
      rejectedLogps: [-5, -3],
      refChosenLogps: [-5, -4],
      refRejectedLogps: [-2, -2],
    };
    // with the second pair twice, 4 and one 0 meet the two −2
    const twice = Object.fromEntries(
      Object.entries(once).map(([name, xs]) => [name, [...xs, xs[1]!]]),
    ) as unknown as Columns;
    const softplus = (x: number) => Math.log1p(Math.exp(x));
    const [first, second] = face(once, { lossType: 'aot', beta: 1 }).losses as [number, number];
    close([first, second], [softplus(-6), softplus(-3)]);
    const counted = face(twice, { lossType: 'aot', beta: 1 }).losses;
    close(counted, [softplus(-6), softplus(-2), softplus(-3)]);
    const weighted = first + 2 * second;
    expect(counted.reduce((sum, loss) => sum + loss, 0) - weighted).toBeCloseTo(softplus(-2) - softplus(-3), 6);
  });

  it.each(lossTypes())('%s goes with its pair through any order of the batch', (lossType) => {
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
        const [found, straight] = [face(shuffled, all).losses, face(given, all).losses];
        // ranked pairs that tie may change places
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
