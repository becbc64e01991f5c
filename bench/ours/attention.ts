import * as tf from '@tensorflow/tfjs-core';
import { type Kernels, portableBf16Kernels, portableKernels, type QueryBlock, type Value } from '@wpo/gemma';
import { tensorflowKernels } from '@wpo/tensorflow/kernels';
import { secondsSince, waitForTensor } from './policy';

export interface AttentionAnswer {
  readonly forwardSeconds: number;
  readonly backwardSeconds: number;
  /**
   * Of the output and each gradient: its difference from that of the portable kernels with bfloat16 products, as a multiple of their
   * own difference from float32. Root mean squares; of the first turn only.
   */
  readonly differences: readonly number[];
}

/** Attention of one layer with products of bfloat16, forward and backward, on a pair whose prompt is half of its tokens. */
export async function openAttention(options: {
  readonly heads: number;
  readonly keyHeads: number;
  readonly headSize: number;
  readonly softcap: number;
  /** Whether to run the kernels around cuBLAS's products instead of the fused ones. */
  readonly unfused: boolean;
}) {
  const { heads, keyHeads, headSize, softcap, unfused } = options;
  const native = tensorflowKernels({ precision: 'bfloat16' });
  const scale = { scale: 1 / Math.sqrt(headSize), softcap };

  return async ({ tokens, round }: { tokens: number; round: number }): Promise<() => Promise<AttentionAnswer>> => {
    const [q, k, v, dy] = [heads, keyHeads, keyHeads, heads].map((count, i) =>
      tf.randomNormal<tf.Rank.R3>([count, headSize, tokens], 0, 1, 'float32', i + 1),
    ) as [tf.Tensor3D, tf.Tensor3D, tf.Tensor3D, tf.Tensor3D];
    const run = async (kernels: Kernels) => {
      const start = performance.now();
      const { output, saved, backward } = kernels.attention(q, k, v, blocksOf(tokens, unfused), scale);
      const tensor = (value: Value) => (kernels.materialize ? kernels.materialize(value) : (value as tf.Tensor));
      await waitForTensor(tensor(output));
      const forwardSeconds = secondsSince(start);
      const gradients = backward(dy);
      await waitForTensor(tensor(gradients[2]!));
      const backwardSeconds = secondsSince(start) - forwardSeconds;
      const results = [output, ...gradients];
      const values = round > 0 ? [] : await Promise.all(results.map((value) => tensor(value).data()));
      for (const value of [...results, ...saved]) value.dispose();
      return { forwardSeconds, backwardSeconds, values };
    };
    const { values, ...seconds } = await run(native);
    const [rounded, exact] =
      round > 0 ? [] : [(await run(portableBf16Kernels)).values, (await run(portableKernels)).values];
    tf.dispose([q, k, v, dy]);
    const differences = values.map((found, i) => distance(found, rounded![i]!) / distance(rounded![i]!, exact![i]!));
    return async () => ({ ...seconds, differences });
  };
}

function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let squares = 0;
  for (let i = 0; i < a.length; i++) squares += (a[i]! - b[i]!) ** 2;
  return Math.sqrt(squares);
}

/** Attention is not fused where a block has more than two key ranges: empty ones change nothing else. */
const EMPTY = { start: 0, count: 0 };

/** Query blocks of up to 1,024 queries, as on a GPU: a prompt, and two answers that see it and themselves. */
function blocksOf(tokens: number, unfused: boolean): QueryBlock[] {
  const prompt = Math.ceil(tokens / 2);
  const answer = Math.floor(tokens / 4);
  const parts = [
    { start: 0, count: prompt, before: 0 },
    { start: prompt, count: answer, before: prompt },
    { start: prompt + answer, count: tokens - prompt - answer, before: prompt },
  ];
  return parts.flatMap(({ start, count, before }) =>
    Array.from({ length: Math.ceil(count / 1024) }, (_, i) => {
      const done = 1024 * i;
      const queries = Math.min(1024, count - done);
      const own = { start, count: done + queries };
      const keyRanges = [...(before > 0 ? [{ start: 0, count: before }] : []), own, ...(unfused ? [EMPTY, EMPTY] : [])];
      const block = { start: start + done, count: queries, keyRanges, positionOffset: before + done };
      return { ...block, window: Number.POSITIVE_INFINITY };
    }),
  );
}
