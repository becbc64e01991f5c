import { fitCrossValidated, leastExamples } from './cross-validate';
import { logistic } from './l1-logistic';
import { deviation, type Preference, shareOf } from './win-rate';

/** What the length-controlled win rate reads of an annotation. */
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
 * The win rate that the model would have were all answers as long as the baseline's, from 0 to 100: preferences are
 * fitted by a logistic regression on a constant and tanh of the length difference over its standard deviation, and read
 * off at difference 0. This is `length_controlled_minimal` of the project alpaca_eval (`metrics/glm_winrate.py`; Dubois et
 * al., arXiv 2404.04475). Its leaderboard has `length_controlled_v1`, which adds how hard each instruction is, known for
 * its own 805 instructions alone: the two are not the same number.
 *
 * @returns 50 for a model against itself; NaN for fewer than five preferences, which cannot be cross-validated, and where
 *   all lengths differ by the same, which cannot be told from the constant
 */
export function lengthControlledWinRate(annotations: readonly LengthJudged[]): number {
  const [first] = annotations;
  if (first !== undefined && first.generator_1 === first.generator_2) return 50;
  const differences = standardised(annotations.map((row) => textLength(row.output_1) - textLength(row.output_2)));
  const examples = annotations.flatMap(({ preference }, i) => {
    const probability = shareOf(preference);
    return probability === undefined ? [] : [{ features: [Math.tanh(differences[i]!), 1], probability }];
  });
  if (examples.length < leastExamples || differences.some(Number.isNaN)) return Number.NaN;
  return 100 * logistic(fitCrossValidated(examples)[1]!);
}

/** Values over their standard deviation; zeros stay, and other values that are all equal are NaN. */
function standardised(values: readonly number[]): number[] {
  if (values.every((value) => value === values[0])) return values.map((value) => (value === 0 ? 0 : Number.NaN));
  const spread = deviation(values);
  return values.map((value) => value / spread);
}

/** Characters as Python counts them: code points. */
export function textLength(text: string): number {
  let length = 0;
  for (const _ of text) length += 1;
  return length;
}
