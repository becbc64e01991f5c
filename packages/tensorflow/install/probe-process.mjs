// @ts-check
// Loads TensorFlow, multiplies matrices with it and prints the result as one line of JSON. It runs in another process, so
// that a library that crashes does not end the caller.
import { createRequire } from 'node:module';
import { repairNode } from './repair-node.mjs';

const SIZE = 1024;

repairNode();
const require = createRequire(import.meta.url);
const tf = require('@tensorflow/tfjs-node-gpu');

/**
 * @returns {number} seconds for the product of two SIZE x SIZE matrices of ones
 * @throws {Error} if a value of the product is not SIZE
 */
function multiply() {
  return tf.tidy(() => {
    const ones = tf.ones([SIZE, SIZE]);
    const start = performance.now();
    const values = tf.matMul(ones, ones).dataSync();
    const seconds = (performance.now() - start) / 1000;
    if (values.length !== SIZE * SIZE || values.some((/** @type {number} */ value) => value !== SIZE)) {
      throw new Error(`matrix product of ${SIZE} x ${SIZE} ones: expected every value to be ${SIZE}, found others`);
    }
    return seconds;
  });
}

multiply();
const seconds = Math.min(...Array.from({ length: 5 }, multiply));
const { binding } = /** @type {{binding: {TF_Version: string, isUsingGpuDevice(): boolean}}} */ (
  /** @type {unknown} */ (tf.backend())
);
console.log(
  JSON.stringify({
    version: binding.TF_Version,
    usesGpu: binding.isUsingGpuDevice(),
    gflops: Math.round((2 * SIZE ** 3) / seconds / 1e9),
  }),
);
