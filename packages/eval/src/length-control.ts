import { crossEntropy, dot, type Example, fitL1Logistic, sigmoid } from './logistic-regression';
import { type Preference, standardDeviation, winProbability } from './win-rate';

/** The fields of an annotation that the length-controlled win rate needs. */
export interface LengthJudged {
  /** The baseline's answer. */
  readonly output_1: string;
  /** The model's answer. */
  readonly output_2: string;
  readonly generator_1: string;
  readonly generator_2: string;
  readonly preference: Preference;
}

/**
 * The win rate that the model would have if all its answers were as long as the baseline's, from 0 to 100
 * (Dubois et al., arXiv 2404.04475).
 *
 * A logistic regression predicts the preference from a constant and tanh(length difference / its standard deviation); the
 * result is the prediction at length difference 0. This is `length_controlled_minimal` of alpaca_eval
 * (`metrics/glm_winrate.py`). The AlpacaEval leaderboard shows `length_controlled_v1`, which adds the difficulty of each
 * instruction. That is known only for the leaderboard's own 805 instructions, so the two numbers differ.
 *
 * @returns 50 for a model against itself; NaN for fewer than five preferences, which are too few for the cross-validation,
 *   and if all lengths differ by the same amount, which the regression cannot separate from the constant
 */
export function lengthControlledWinRate(annotations: readonly LengthJudged[]): number {
  const [first] = annotations;
  if (first !== undefined && first.generator_1 === first.generator_2) return 50;
  const differences = standardize(annotations.map((row) => textLength(row.output_1) - textLength(row.output_2)));
  const examples = annotations.flatMap(({ preference }, i) => {
    const probability = winProbability(preference);
    return probability === undefined ? [] : [{ features: [Math.tanh(differences[i]!), 1], probability }];
  });
  if (examples.length < FOLDS || differences.some(Number.isNaN)) return Number.NaN;
  return 100 * sigmoid(fitCrossValidated(examples)[1]!);
}

/** Values divided by their standard deviation. If all values are equal, zeros stay 0 and others become NaN. */
function standardize(values: readonly number[]): number[] {
  if (values.every((value) => value === values[0])) return values.map((value) => (value === 0 ? 0 : Number.NaN));
  const deviation = standardDeviation(values);
  return values.map((value) => value / deviation);
}

/** Length in code points, as Python's `len` counts them. */
export function textLength(text: string): number {
  let length = 0;
  for (const _ of text) length += 1;
  return length;
}

const FOLDS = 5;

/** Candidates for the inverse regularization strength C: ten values from 10⁻⁴ to 10⁴, evenly spaced in log scale. */
const STRENGTHS = Array.from({ length: 10 }, (_, i) => 10 ** (-4 + (8 * i) / 9));

/**
 * Fits with the regularization strength that predicts held-out examples best, as scikit-learn's `LogisticRegressionCV`
 * does with `penalty="l1"`, `fit_intercept=False` and five folds of `GroupKFold`, in which each example is its own group.
 *
 * `GroupKFold` sorts its groups by size with an unstable sort, so in Python the folds depend on the CPU that numpy detects.
 * Here ties keep their order, as they do with numpy on CPUs that have AVX2 or AVX-512.
 *
 * @param examples at least `FOLDS`
 * @returns the weights, `[K]`
 */
function fitCrossValidated(examples: readonly Example[]): number[] {
  const losses = STRENGTHS.map((strength) => heldOutLoss(examples, strength));
  return fitL1Logistic(examples, STRENGTHS[losses.indexOf(Math.min(...losses))]!);
}

/** The sum over folds of the mean loss on the fold, with weights fitted on the other folds. */
function heldOutLoss(examples: readonly Example[], strength: number): number {
  let total = 0;
  for (let fold = 0; fold < FOLDS; fold++) {
    const isHeldOut = (_: Example, i: number) => (examples.length - 1 - i) % FOLDS === fold;
    const heldOut = examples.filter(isHeldOut);
    const weights = fitL1Logistic(
      examples.filter((example, i) => !isHeldOut(example, i)),
      strength,
    );
    const losses = heldOut.map(({ features, probability }) => crossEntropy(dot(weights, features), probability));
    total += losses.reduce((sum, loss) => sum + loss, 0) / heldOut.length;
  }
  return total;
}
