import type * as tf from '@tensorflow/tfjs-core';
import { checkFloats, checkShape } from './checks';
import { checkLogp } from './logp';

export interface CheckLogpsOptions {
  /** What the log-probs are called in an error. Default `logps`. */
  name?: string;
  /** Of `logps`' shape: only where it is not 0 is looked at, and a row of `[B, T]` without any is an error. */
  mask?: tf.Tensor;
}

/**
 * Refuses log-probabilities that are none: NaN, or above 0 by more than rounding; and, with a mask, answers of no tokens.
 * −∞ passes: it is the log-probability of what a model rules out. Reads the values, so it waits for the device: call it
 * where log-probs come from outside, not in every step.
 *
 * @param logps `[B]` or `[B, T]`, float32.
 * @throws naming the first bad entry, its place and its value.
 */
export function checkLogps(logps: tf.Tensor, options: CheckLogpsOptions = {}): void {
  const { name = 'logps', mask } = options;
  checkFloats('checkLogps', name, logps, logps.rank === 1 ? 'pairs' : 'pairs, tokens');
  if (mask) checkShape('checkLogps', `the mask of ${name}`, mask, logps.shape);
  const values = logps.dataSync();
  const counted = mask?.dataSync();
  const columns = logps.rank === 1 ? 1 : logps.shape[1]!;
  for (let start = 0; start < values.length; start += columns) {
    const row = start / columns;
    let tokens = 0;
    for (let column = 0; column < columns; column++) {
      if (counted && !counted[start + column]) continue;
      tokens++;
      const place = logps.rank === 1 ? row : `${row}, ${column}`;
      checkLogp('checkLogps', `${name}[${place}]`, values[start + column]!);
    }
    if (tokens === 0) {
      throw new Error(`checkLogps: ${name}[${row}] has no tokens: its mask is 0 throughout. Leave this pair out.`);
    }
  }
}
