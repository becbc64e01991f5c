/** log p ≤ 0, but logits of ±1e4 in float32 round by about this much. */
const ROUNDING = 1e-3;

/**
 * Refuses what is no log-probability: NaN, or above 0 by more than rounding. −∞ passes: it is the log-probability of what
 * a model rules out.
 *
 * @throws naming the function, the place and the value.
 */
export function checkLogp(where: string, place: string, value: number): void {
  if (value <= ROUNDING) return;
  const mend = value > 0 ? 'Take log_softmax of the logits first.' : 'Look for NaN or infinity in the logits.';
  throw new Error(`${where}: ${place} is ${value}, but a log-probability is a number of at most 0. ${mend}`);
}
