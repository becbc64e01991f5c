/** From the least to the most that a finite number may be. */
export type Range = readonly [least: number, most: number];

export const ABOVE_0: Range = [5e-324, Infinity]; // the least number above 0
/** Robust DPO divides by 1 − 2ε. */
export const BELOW_HALF: Range = [0, 0.4999];
export const FROM_0: Range = [0, Infinity];
export const FINITE: Range = [-1e308, Infinity];

/** @throws where `value` is no number in the range. */
export function checkRange(where: string, name: string, value: number, [least, most]: Range): void {
  if (value >= least && value <= most && Math.abs(value) < Infinity) return;
  const wanted =
    most < Infinity
      ? `${least} to ${most}`
      : `a finite number${least < 0 ? '' : least ? ' above 0' : ' of at least 0'}`;
  throw new Error(`${where}: ${name} is ${value}, but ${wanted} was wanted.`);
}
