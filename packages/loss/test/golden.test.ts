import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { type Alignment, answerScores, sumLogps, wpoLoss, wpoWeights } from '../src/index';
import golden from './fixtures/pairs.json';
import { answerBatch, maxDifference, values } from './tensors';

type Side = 'chosen' | 'rejected';

/** An answer whose log-probs add up to the golden sum and whose aligned mean is the golden one, unevenly over its tokens. */
function answers(side: Side, alignment: Alignment) {
  return answerBatch(
    golden.pairs.map((pair) => {
      const length = pair[`${side}_tokens`];
      const uneven = (t: number) => t - (length - 1) / 2; // adds up to 0
      const logps = Array.from({ length }, (_, t) => pair[`${side}_logps`] / length + 0.05 * uneven(t));
      const terms = logps.map((logp, t) => logp - pair.alignment[side][alignment] + 0.02 * uneven(t));
      return { logps, logSumSquares: terms, logMax: terms };
    }),
    Number.NaN,
  );
}

const column = (name: Exclude<keyof (typeof golden.pairs)[number], 'alignment'>) =>
  golden.pairs.map((pair) => pair[name]);

describe('PyTorch’s values for 16 pairs', () => {
  it.each(['sampled', 'greedy', 'none'] as const)('scores both answers alike under %s alignment', (alignment) => {
    for (const side of ['chosen', 'rejected'] as const) {
      const wanted = golden.pairs.map((pair) => pair.alignment[side][alignment]);
      expect(maxDifference(values(answerScores(answers(side, alignment), alignment)), wanted)).toBeLessThan(2e-6);
      expect(maxDifference(values(sumLogps(answers(side, alignment))), column(`${side}_logps`))).toBeLessThan(1e-5);
    }
  });

  it('weighs the pairs alike, and takes the same losses', () => {
    const pair = { chosen: answers('chosen', 'sampled'), rejected: answers('rejected', 'sampled') };
    const weights = wpoWeights(pair);
    expect(maxDifference(values(weights), column('weight'))).toBeLessThan(2e-6);
    const { losses, dpoLosses } = wpoLoss(
      {
        chosenLogps: sumLogps(pair.chosen),
        rejectedLogps: sumLogps(pair.rejected),
        refChosenLogps: tf.tensor1d(column('ref_chosen_logps')),
        refRejectedLogps: tf.tensor1d(column('ref_rejected_logps')),
        weights,
      },
      { beta: golden.beta },
    );
    expect(maxDifference(values(dpoLosses), column('dpo_loss'))).toBeLessThan(2e-6);
    expect(maxDifference(values(losses), column('wpo_loss'))).toBeLessThan(2e-6);
  });
});
