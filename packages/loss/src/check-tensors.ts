import * as tf from '@tensorflow/tfjs-core';
import { checkLogp } from './checks';

/** A shape, or the names of its dimensions (`pairs, tokens`) where only their number is known. */
type Shape = readonly number[] | string;

/**
 * `where` is the function that the user called, `name` the argument as the user knows it. Without `dtype`, any dtype is accepted.
 *
 * @throws where it is not a tensor of this shape, or is empty.
 */
export function checkShape(where: string, name: string, tensor: unknown, shape: Shape, dtype?: tf.DataType): void {
  const fail: (expected: string, found: string, hint?: string) => never = (expected, found, hint = '') => {
    throw new Error(`${where}: ${name}: expected ${expected}, found ${found}.${hint}`);
  };
  if (!(tensor instanceof tf.Tensor)) {
    const found = tensor === undefined ? 'none' : `a ${Array.isArray(tensor) ? 'plain array' : typeof tensor}`;
    fail(`a tfjs tensor of shape [${shape}]`, found);
  }
  const found = `[${tensor.shape}]`;
  const matches = typeof shape === 'string' ? tensor.rank === shape.split(',').length : found === `[${shape}]`;
  if (!matches) fail(`shape [${shape}]`, found);
  if (tensor.size === 0)
    fail(`at least one ${tensor.shape[0] ? 'token' : 'pair'}`, `shape ${found}`, ' Skip empty batches.');
  if (dtype && tensor.dtype !== dtype) fail(`dtype ${dtype}`, tensor.dtype, ` Cast it with tf.cast(x, '${dtype}').`);
}

/** @throws where it is not a float32 tensor of this shape, or is empty. */
export function checkFloats(where: string, name: string, tensor: unknown, shape: Shape): void {
  checkShape(where, name, tensor, shape, 'float32');
}

export interface CheckLogpsOptions {
  /** The name of the log-probs in errors. Default `logps`. */
  name?: string;
  /** Of `logps`' shape: only entries where it is not 0 are checked, and each row of `[B, T]` must have at least one. */
  mask?: tf.Tensor;
}

/**
 * Checks that values are log-probabilities: not NaN, and not above 0 by more than rounding. With a mask, it also checks that
 * each answer has tokens. −∞ is valid: it is the log-probability of a masked vocabulary entry. It reads the values, so it
 * waits for the device: call it on log-probs that come from outside, not in every step.
 *
 * @param logps `[B]` or `[B, T]`, float32.
 * @throws naming the first wrong entry by its indices, with its value.
 */
export function checkLogps(logps: tf.Tensor, options: CheckLogpsOptions = {}): void {
  const { name = 'logps', mask } = options;
  checkFloats('checkLogps', name, logps, logps.rank === 1 ? 'pairs' : 'pairs, tokens');
  if (mask) checkShape('checkLogps', `mask of ${name}`, mask, logps.shape);
  const values = logps.dataSync();
  const maskValues = mask?.dataSync();
  const columns = logps.rank === 1 ? 1 : logps.shape[1]!;
  for (let start = 0; start < values.length; start += columns) {
    const row = start / columns;
    let tokens = 0;
    for (let column = 0; column < columns; column++) {
      if (maskValues && !maskValues[start + column]) continue;
      tokens++;
      const indices = logps.rank === 1 ? row : `${row}, ${column}`;
      checkLogp('checkLogps', `${name}[${indices}]`, values[start + column]!);
    }
    if (tokens === 0) {
      throw new Error(
        `checkLogps: ${name}[${row}]: expected at least one token, found a mask of zeros. Remove this pair.`,
      );
    }
  }
}
