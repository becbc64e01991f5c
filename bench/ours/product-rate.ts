import * as tf from '@tensorflow/tfjs-core';
import type { Gemma2Config } from '@wpo/gemma';
import { tensorflowProduct } from '@wpo/tensorflow/kernels';
import { type PairLengths, type Product, stepProducts } from '../products';

/** A step's matrix products and nothing else, on this machine now. */
export interface ProductTime {
  readonly flop: number;
  readonly seconds: number;
}

/** Runs of each product, of which the fastest counts: nothing but the product itself is to be in it. */
const RUNS = 3;

/**
 * Runs each of a step's matrix products by itself, by ours and by TensorFlow's own, and adds up the times of the faster.
 * Those of attention are few and small: they are timed on one block of queries, and counted by their operations.
 */
export async function timeProducts(config: Gemma2Config, lengths: PairLengths): Promise<ProductTime> {
  const { linear, linearFlop, attentionFlop } = stepProducts(config, lengths);
  let seconds = 0;
  for (const product of linear) seconds += (await timeProduct(product)) * product.times;
  const attention = await timeAttention(config, lengths);
  return {
    flop: linearFlop + attentionFlop,
    seconds: seconds + attentionFlop * attention,
  };
}

async function timeProduct({ kind, m, k, n }: Product): Promise<number> {
  const a = tf.fill(kind === 'weight' ? [k, m] : [m, k], 0.5) as tf.Tensor2D;
  const b = tf.fill(kind === 'forward' ? [n, k] : [k, n], 0.5) as tf.Tensor2D;
  const [turnA, turnB] = [kind === 'weight', kind === 'forward'];
  const ours = await fastest(() => tensorflowProduct(a, b, turnA, turnB));
  const seconds = Math.min(ours, await fastest(() => tf.matMul(a, b, turnA, turnB)));
  tf.dispose([a, b]);
  return seconds;
}

/** Seconds of one floating-point operation in attention's products. */
async function timeAttention(config: Gemma2Config, { prompt, chosen, rejected }: PairLengths): Promise<number> {
  const { heads, kvHeads, headDim } = config;
  const keys = prompt + Math.max(chosen, rejected);
  const queries = (heads / kvHeads) * Math.min(256, keys);
  const q = tf.fill([kvHeads, headDim, queries], 0.5) as tf.Tensor3D;
  const kv = tf.fill([kvHeads, headDim, keys], 0.5) as tf.Tensor3D;
  const p = tf.fill([kvHeads, queries, keys], 0.5) as tf.Tensor3D;
  const scores = await fastest(() => tf.matMul(q, kv, true, false));
  const mixed = await fastest(() => tf.matMul(kv, p, false, true));
  tf.dispose([q, kv, p]);
  return (scores + mixed) / (2 * 2 * kvHeads * headDim * queries * keys);
}

async function fastest(run: () => tf.Tensor): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i <= RUNS; i++) {
    const start = performance.now();
    const result = run();
    if (onGpu()) await tf.tidy(() => tf.sum(result)).data(); // a device works on while JavaScript goes on
    best = Math.min(best, (performance.now() - start) / 1000);
    result.dispose();
  }
  return best;
}

const onGpu = () => (tf.backend() as unknown as { readonly isUsingGpuDevice: boolean }).isUsingGpuDevice;
