// @ts-check
// Loads TensorFlow, multiplies matrices with it and prints the result as one line of JSON. It runs in another process, so
// that a library that crashes does not end the caller.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
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

/**
 * @param {boolean} usesGpu
 * @returns {boolean} whether the native operations have a store, which holds bfloat16 weights and counts its bytes
 */
function hasStore(usesGpu) {
  const folder = join(dirname(require.resolve('@tensorflow/tfjs-node-gpu/package.json')), 'lib', 'napi-v8');
  const addons = (usesGpu ? ['kernels.node', 'gpu.node'] : ['kernels.node']).map((name) => join(folder, name));
  if (!addons.every(existsSync)) return false;
  const { store, missing } = addons.map((addon) => require(addon)).at(-1); // gpu.node needs the operations of kernels.node
  if (!store || missing) return false;
  const arena = store.allocate(SIZE);
  const held = store.bytes().allocated;
  store.free(arena);
  return held === SIZE && store.bytes().allocated === 0;
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
    store: hasStore(binding.isUsingGpuDevice()),
    gflops: Math.round((2 * SIZE ** 3) / seconds / 1e9),
  }),
);
