import { checkLogp } from './logp';
import { checkRange, type Range } from './range';

/** One pair's number, or one a pair. */
export type Numbers = number | ArrayLike<number>;

/** The numbers under a name, checked as log-probs or to be in `range`. @throws naming the first that is wrong. */
export function column(
  where: string,
  name: string,
  given: Numbers | undefined,
  range?: Range | false,
  count?: number,
): number[] {
  const values = typeof given === 'number' ? [given] : Array.from(given ?? []);
  if (values.length !== (count ?? (values.length || 1))) {
    throw new Error(
      `${where}: ${name} ${given === undefined ? 'is missing' : `has length ${values.length}`}, but ${count ?? 'at least 1'} was wanted.`,
    );
  }
  values.forEach((value, i) => {
    if (range) checkRange(where, `${name}[${i}]`, value, range);
    else checkLogp(where, `${name}[${i}]`, value);
  });
  return values;
}
