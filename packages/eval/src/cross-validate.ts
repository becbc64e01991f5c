import { crossEntropy, dot, type Example, fitL1Logistic } from './l1-logistic';

const FOLDS = 5;

/** Inverse strengths of the penalty to choose from: ten from 10⁻⁴ to 10⁴, evenly spaced in their logarithms. */
const STRENGTHS = Array.from({ length: 10 }, (_, i) => 10 ** (-4 + (8 * i) / 9));

/** The fewest examples that can be split. */
export const leastExamples = FOLDS;

/**
 * Fits by the penalty that predicts left-out examples best: what scikit-learn's `LogisticRegressionCV` does with
 * `penalty="l1"`, `fit_intercept=False` and five folds of `GroupKFold`, each example a group of its own.
 *
 * `GroupKFold` sorts its groups by size without a promise for ties, so its folds depend on the processor that numpy finds.
 * Here ties keep their order, as they do with numpy on processors with AVX-512 or AVX2.
 *
 * @param examples at least `leastExamples`
 */
export function fitCrossValidated(examples: readonly Example[]): number[] {
  const losses = STRENGTHS.map((strength) => leftOutLoss(examples, strength));
  return fitL1Logistic(examples, STRENGTHS[losses.indexOf(Math.min(...losses))]!);
}

/** The mean loss of each fold under weights fitted on the others, summed over folds. */
function leftOutLoss(examples: readonly Example[], strength: number): number {
  let total = 0;
  for (let fold = 0; fold < FOLDS; fold++) {
    const isLeftOut = (_: Example, i: number) => (examples.length - 1 - i) % FOLDS === fold;
    const leftOut = examples.filter(isLeftOut);
    const weights = fitL1Logistic(
      examples.filter((example, i) => !isLeftOut(example, i)),
      strength,
    );
    const losses = leftOut.map(({ features, probability }) => crossEntropy(dot(weights, features), probability));
    total += losses.reduce((sum, loss) => sum + loss, 0) / leftOut.length;
  }
  return total;
}
