/** Limits of a number; `above` and `below` are exclusive. NaN is in no range. */
export interface Range {
  readonly min?: number;
  readonly above?: number;
  readonly max?: number;
  readonly below?: number;
}

export const isInRange = (n: number, { min, above, max, below }: Range): boolean =>
  !Number.isNaN(n) &&
  (min === undefined || n >= min) &&
  (above === undefined || n > above) &&
  (max === undefined || n <= max) &&
  (below === undefined || n < below);

/** A range in words, to follow "a number": ` above 0`. */
export function describeRange({ min, above, max, below }: Range): string {
  if (above !== undefined) return ` above ${above}${max === undefined ? '' : `, at most ${max}`}`;
  if (max !== undefined) return ` from ${min} to ${max}`;
  if (below !== undefined) return ` from ${min} to below ${below}`;
  return min === undefined ? '' : ` of ${min} or more`;
}
