import * as tf from '@tensorflow/tfjs-core';

/** A shape, or its dimensions' names where only their number is known. */
type Shape = readonly number[] | string;

/**
 * Refuses what is no tensor of a shape, or has nothing in it. `where` names the function that was called, `name` the
 * argument as its caller knows it; any dtype will do where none is asked for.
 */
export function checkShape(where: string, name: string, tensor: unknown, wanted: Shape, dtype?: tf.DataType): void {
  const refuse: (problem: string) => never = (problem) => {
    throw new Error(`${where}: ${name} ${problem}`);
  };
  if (!(tensor instanceof tf.Tensor)) {
    const found = tensor === undefined ? 'missing' : `a ${Array.isArray(tensor) ? 'plain array' : typeof tensor}`;
    refuse(`is ${found}, but a tfjs tensor was wanted.`);
  }
  const shape = `[${tensor.shape}]`;
  const right = typeof wanted === 'string' ? tensor.rank === wanted.split(',').length : shape === `[${wanted}]`;
  if (!right) refuse(`has shape ${shape}, but [${wanted}] was wanted.`);
  if (tensor.size === 0) {
    refuse(`has shape ${shape}: there are no ${tensor.shape[0] ? 'tokens' : 'pairs'} in it. Leave such a batch out.`);
  }
  if (dtype && tensor.dtype !== dtype) {
    refuse(`is ${tensor.dtype}, but ${dtype} was wanted. Cast it with tf.cast(x, '${dtype}').`);
  }
}

export function checkFloats(where: string, name: string, tensor: unknown, wanted: Shape): void {
  checkShape(where, name, tensor, wanted, 'float32');
}
