// Checks of plain values, without tfjs. `where` is the function that the user called, `name` the argument as the user knows it.

/** The range of a number option. Infinity and NaN are never allowed. */
export interface NumberRange {
  /** Exclusive lower bound. */
  readonly above?: number;
  /** Inclusive lower bound. */
  readonly min?: number;
  /** Inclusive upper bound. */
  readonly max?: number;
}

export const POSITIVE: NumberRange = { above: 0 };
export const NON_NEGATIVE: NumberRange = { min: 0 };
export const FINITE: NumberRange = {};

/** A range in words: `a finite number above 0`. */
export const rangeText = ({ above, min, max }: NumberRange): string =>
  max === undefined
    ? `a finite number${above === undefined ? '' : ` above ${above}`}${min === undefined ? '' : ` of at least ${min}`}`
    : `a number from ${min} to ${max}`;

/** @throws where `value` is outside the range, NaN or infinite. */
export function checkRange(where: string, name: string, value: number, range: NumberRange): void {
  const { above = -Infinity, min = -Infinity, max = Infinity } = range;
  if (value > above && value >= min && value <= max && value < Infinity) return;
  throw new Error(`${where}: ${name}: expected ${rangeText(range)}, found ${value}.`);
}

/** @throws where `name` is not among those known. */
export function checkName(where: string, option: string, name: unknown, known: readonly string[]): void {
  const found = String(name);
  if (known.includes(found)) return;
  throw new Error(`${where}: ${option}: expected one of ${known.join(', ')}, found '${found}'.`);
}

/** log p ≤ 0, but float32 rounds log-probs of logits near ±1e4 by about this much. */
const LOG_PROB_ROUNDING = 1e-3;

/** @throws where `value` is NaN, or above 0 by more than rounding. −∞ is a valid log-probability: that of a masked token. */
export function checkLogp(where: string, name: string, value: number): void {
  if (value <= LOG_PROB_ROUNDING) return;
  const hint = value > 0 ? 'Apply log_softmax to the logits first.' : 'Check the logits for NaN and infinity.';
  throw new Error(`${where}: ${name}: expected a log-probability, at most 0, found ${value}. ${hint}`);
}

/** One number for one pair, or an array with one number per pair. */
export type Numbers = number | ArrayLike<number>;

/**
 * Returns `given` as an array of numbers. Checks each against `range`; without a range, checks that it is a log-probability.
 *
 * @throws naming the first wrong number, or where there are not `count` numbers (at least 1 without `count`).
 */
export function checkNumbers(
  where: string,
  name: string,
  given: Numbers | undefined,
  range?: NumberRange,
  count?: number,
): number[] {
  const values = typeof given === 'number' ? [given] : Array.from(given ?? []);
  if (values.length !== (count ?? (values.length || 1))) {
    const expected = count ?? 'at least 1';
    throw new Error(
      `${where}: ${name}: expected ${expected} values, found ${given === undefined ? 'none' : values.length}.`,
    );
  }
  values.forEach((value, i) => {
    if (range) checkRange(where, `${name}[${i}]`, value, range);
    else checkLogp(where, `${name}[${i}]`, value);
  });
  return values;
}
