import * as tf from '@tensorflow/tfjs-core';
import type { Gemma2Config } from '@wpo/gemma';
import { tensorflowMatMul } from '@wpo/tensorflow/kernels';
import { type PairLengths, type Product, stepProducts } from '../matrix-products';
import { waitForTensor } from './policy';

/** Time of a step's matrix products alone. */
export interface ProductTime {
  readonly flop: number;
  readonly seconds: number;
  /** The same with instructions that multiply float32 directly, without bf16x3. */
  readonly float32Seconds: number;
}

/** Runs of each product. The fastest counts, because other work disturbed it the least. */
const RUNS = 3;

/** Products per run on a GPU: waiting for the GPU takes longer than most single products. */
const PER_GPU_RUN = 32;

/**
 * Runs each of a step's matrix products alone, with our product and with TensorFlow's, and adds up the times of the faster.
 * Attention's products are few and small: they are timed on one block of queries and scaled by their operation count.
 */
export async function timeProducts(config: Gemma2Config, lengths: PairLengths): Promise<ProductTime> {
  const { linear, linearFlop, attentionFlop } = stepProducts(config, lengths);
  const attention = attentionFlop * (await timeAttention(config, lengths));
  const total = { flop: linearFlop + attentionFlop, seconds: attention, float32Seconds: attention };
  for (const product of linear) {
    const { seconds, float32Seconds } = await timeProduct(product);
    total.seconds += seconds * product.times;
    total.float32Seconds += float32Seconds * product.times;
  }
  return total;
}

async function timeProduct({ kind, m, k, n }: Product): Promise<Omit<ProductTime, 'flop'>> {
  const a = values(kind === 'weight' ? [k, m] : [m, k]) as tf.Tensor2D;
  const b = values(kind === 'forward' ? [n, k] : [k, n]) as tf.Tensor2D;
  const [transposeA, transposeB] = [kind === 'weight', kind === 'forward'];
  const ours = () => fastest(() => tensorflowMatMul(a, b, transposeA, transposeB));
  const seconds = await ours();
  const tensorflows = () => fastest(() => tf.matMul(a, b, transposeA, transposeB));
  const float32Seconds = Math.min(await withoutAmx(ours), await tensorflows());
  tf.dispose([a, b]);
  return { seconds: Math.min(seconds, float32Seconds), float32Seconds };
}

/** Runs our products without AMX, which multiplies float32 only in three bfloat16 parts. */
async function withoutAmx<T>(work: () => Promise<T>): Promise<T> {
  const before = process.env.WPO_ISA;
  process.env.WPO_ISA = before === undefined || before === 'amx' ? 'avx512' : before;
  try {
    return await work();
  } finally {
    if (before === undefined) delete process.env.WPO_ISA;
    else process.env.WPO_ISA = before;
  }
}

const SAMPLE = Float32Array.from({ length: 1 << 16 }, () => Math.random() - 0.5);

/** Random values: the same value over and over would draw less power, so that a CPU would run faster. */
const values = (shape: number[]): tf.Tensor =>
  tf.tidy(() => {
    const size = shape.reduce((product, n) => product * n, 1);
    const repeated = tf.tile(tf.tensor1d(SAMPLE), [Math.ceil(size / SAMPLE.length)]);
    return tf.reshape(size % SAMPLE.length ? tf.slice(repeated, 0, size) : repeated, shape);
  });

/** Seconds per floating-point operation in attention's products. */
async function timeAttention(config: Gemma2Config, { prompt, chosen, rejected }: PairLengths): Promise<number> {
  const { numAttentionHeads, numKeyValueHeads, headDim } = config;
  const keys = prompt + Math.max(chosen, rejected);
  const queries = (numAttentionHeads / numKeyValueHeads) * Math.min(256, keys);
  const q = values([numKeyValueHeads, headDim, queries]) as tf.Tensor3D;
  const kv = values([numKeyValueHeads, headDim, keys]) as tf.Tensor3D;
  const p = values([numKeyValueHeads, queries, keys]) as tf.Tensor3D;
  const scores = await fastest(() => tf.matMul(q, kv, true, false));
  const weighted = await fastest(() => tf.matMul(kv, p, false, true));
  tf.dispose([q, kv, p]);
  return (scores + weighted) / (2 * 2 * numKeyValueHeads * headDim * queries * keys);
}

async function fastest(run: () => tf.Tensor): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i <= RUNS; i++) {
    const start = performance.now();
    const count = onGpu() ? PER_GPU_RUN : 1;
    for (let one = 1; one < count; one++) run().dispose();
    const result = run();
    if (onGpu()) await waitForTensor(result); // a GPU computes asynchronously
    best = Math.min(best, (performance.now() - start) / 1000 / count);
    result.dispose();
  }
  return best;
}

const onGpu = () => (tf.backend() as unknown as { readonly isUsingGpuDevice: boolean }).isUsingGpuDevice;
