import * as tf from '@tensorflow/tfjs-core';
import type { Gemma2Config } from '@wpo/gemma';
import { tensorflowProduct } from '@wpo/tensorflow/kernels';
import { type PairLengths, type Product, stepProducts } from '../products';
import { made } from './open';

/** A step's matrix products and nothing else, on this machine now. */
export interface ProductTime {
  readonly flop: number;
  readonly seconds: number;
  /** By instructions that multiply floats as they are. */
  readonly asFloats: number;
}

/** Runs of each product, of which the fastest counts: nothing but the product itself is to be in it. */
const RUNS = 3;

/** Products that a GPU is given at once in a run: to wait for it takes longer than most of them. */
const AT_ONCE = 32;

/**
 * Runs each of a step's matrix products by itself, by ours and by TensorFlow's own, and adds up the times of the faster.
 * Those of attention are few and small: they are timed on one block of queries, and counted by their operations.
 */
export async function timeProducts(config: Gemma2Config, lengths: PairLengths): Promise<ProductTime> {
  const { linear, linearFlop, attentionFlop } = stepProducts(config, lengths);
  const attention = attentionFlop * (await timeAttention(config, lengths));
  const total = { flop: linearFlop + attentionFlop, seconds: attention, asFloats: attention };
  for (const product of linear) {
    const { seconds, asFloats } = await timeProduct(product);
    total.seconds += seconds * product.times;
    total.asFloats += asFloats * product.times;
  }
  return total;
}

async function timeProduct({ kind, m, k, n }: Product): Promise<Omit<ProductTime, 'flop'>> {
  const a = values(kind === 'weight' ? [k, m] : [m, k]) as tf.Tensor2D;
  const b = values(kind === 'forward' ? [n, k] : [k, n]) as tf.Tensor2D;
  const [turnA, turnB] = [kind === 'weight', kind === 'forward'];
  const ours = () => fastest(() => tensorflowProduct(a, b, turnA, turnB));
  const seconds = await ours();
  const asFloats = Math.min(await withFloats(ours), await fastest(() => tf.matMul(a, b, turnA, turnB)));
  tf.dispose([a, b]);
  return { seconds: Math.min(seconds, asFloats), asFloats };
}

/** What our products take where AMX's tiles are left alone. */
async function withFloats<T>(work: () => Promise<T>): Promise<T> {
  const asked = process.env.WPO_LANES;
  process.env.WPO_LANES = String(Math.min(16, Number(asked ?? 16)));
  try {
    return await work();
  } finally {
    if (asked === undefined) delete process.env.WPO_LANES;
    else process.env.WPO_LANES = asked;
  }
}

const SAMPLE = Float32Array.from({ length: 1 << 16 }, () => Math.random() - 0.5);

/** All bits of these come and go: a processor takes more power for them than for one value over and over, and so more time. */
const values = (shape: number[]): tf.Tensor =>
  tf.tidy(() => {
    const size = shape.reduce((product, n) => product * n, 1);
    const repeated = tf.tile(tf.tensor1d(SAMPLE), [Math.ceil(size / SAMPLE.length)]);
    return tf.reshape(size % SAMPLE.length ? tf.slice(repeated, 0, size) : repeated, shape);
  });

/** Seconds of one floating-point operation in attention's products. */
async function timeAttention(config: Gemma2Config, { prompt, chosen, rejected }: PairLengths): Promise<number> {
  const { numAttentionHeads, numKeyValueHeads, headDim } = config;
  const keys = prompt + Math.max(chosen, rejected);
  const queries = (numAttentionHeads / numKeyValueHeads) * Math.min(256, keys);
  const q = values([numKeyValueHeads, headDim, queries]) as tf.Tensor3D;
  const kv = values([numKeyValueHeads, headDim, keys]) as tf.Tensor3D;
  const p = values([numKeyValueHeads, queries, keys]) as tf.Tensor3D;
  const scores = await fastest(() => tf.matMul(q, kv, true, false));
  const mixed = await fastest(() => tf.matMul(kv, p, false, true));
  tf.dispose([q, kv, p]);
  return (scores + mixed) / (2 * 2 * numKeyValueHeads * headDim * queries * keys);
}

async function fastest(run: () => tf.Tensor): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i <= RUNS; i++) {
    const start = performance.now();
    const count = onGpu() ? AT_ONCE : 1;
    for (let one = 1; one < count; one++) run().dispose();
    const result = run();
    if (onGpu()) await made(result); // it works on meanwhile
    best = Math.min(best, (performance.now() - start) / 1000 / count);
    result.dispose();
  }
  return best;
}

const onGpu = () => (tf.backend() as unknown as { readonly isUsingGpuDevice: boolean }).isUsingGpuDevice;
