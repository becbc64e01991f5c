import * as tf from '@tensorflow/tfjs-core';

/** `where` names the function that was called; `name` the argument as its caller knows it. */
export function checkShape(where: string, name: string, tensor: tf.Tensor, wanted: readonly number[] | string): void {
  checkTensor(where, name, tensor);
  const found = `[${tensor.shape}]`;
  const right = typeof wanted === 'string' ? tensor.rank === wanted.split(',').length : found === `[${wanted}]`;
  if (!right) throw new Error(`${where}: ${name} has shape ${found}, but [${wanted}] was wanted.`);
  if (tensor.size === 0) {
    const empty = tensor.shape[0] === 0 ? 'no pairs' : 'no tokens';
    throw new Error(`${where}: ${name} has shape ${found}: there are ${empty} in it. Leave such a batch out.`);
  }
}

export function checkFloats(where: string, name: string, tensor: tf.Tensor, wanted: readonly number[] | string): void {
  checkShape(where, name, tensor, wanted);
  if (tensor.dtype !== 'float32') {
    throw new Error(
      `${where}: ${name} is ${tensor.dtype}, but float32 was wanted. Cast it with tf.cast(x, 'float32').`,
    );
  }
}

function checkTensor(where: string, name: string, tensor: unknown): void {
  if (!(tensor instanceof tf.Tensor)) {
    const found = tensor === undefined ? 'missing' : `a ${Array.isArray(tensor) ? 'plain array' : typeof tensor}`;
    throw new Error(`${where}: ${name} is ${found}, but a tfjs tensor was wanted.`);
  }
}
