// V vocabulary, N tokens of all answers.
import * as tf from '@tensorflow/tfjs';
import type { Forward, GradientOffload, Optimizer, Parameter, Policy, SavedTensor, TokenPair } from '../src';

/** The smallest policy that learns: logits = table[previous token] + bias. */
export interface ToyPolicy extends Policy {
  readonly parameters: readonly ToyParameter[];
  values(): Record<string, number[]>;
  dispose(): void;
}

export function toyPolicy(vocab: number, table: readonly number[], bias: readonly number[]): ToyPolicy {
  const parameters = [
    toyParameter('table.weight', true, tf.tensor2d([...table], [vocab, vocab])),
    toyParameter('bias', false, tf.tensor1d([...bias])),
  ];
  return {
    parameters,
    forward: (pairs, { train }) => toyForward(vocab, parameters, pairs, train),
    async forwardPacks(packs, { train, gradientsReady }) {
      let left = packs.length;
      return packs.map((pairs) => {
        const pass = toyForward(vocab, parameters, pairs, train);
        const backward = async (dLogps: Float32Array) => {
          pass.backward(dLogps);
          left -= 1;
          if (left > 0) return;
          for (const parameter of [...parameters].reverse()) await gradientsReady?.([parameter]);
        };
        return { ...pass, backward };
      });
    },
    values: () =>
      Object.fromEntries(parameters.map((parameter) => [parameter.name, [...parameter.value().dataSync()]])),
    dispose() {
      for (const parameter of parameters) {
        parameter.zeroGradient();
        parameter.value().dispose();
      }
    },
  };
}

/** Memory for gradients, and what was done with it: the names of gradients that were added, and `clear`. */
export function toyOffload(): { readonly offload: GradientOffload; readonly calls: string[] } {
  const kept = new Map<string, tf.Tensor>();
  const calls: string[] = [];
  const offload: GradientOffload = {
    async add(parameters) {
      for (const p of parameters) kept.set(p.name, tf.clone(p.gradient() as tf.Tensor));
      calls.push(parameters.map(({ name }) => name).join());
    },
    norm: () => Math.hypot(...[...kept.values()].flatMap((gradient) => [...gradient.dataSync()])),
    offloaded: (parameters) => parameters.map((p) => ({ ...p, gradient: () => kept.get(p.name) ?? null })),
    clear() {
      tf.dispose([...kept.values()]);
      kept.clear();
      calls.push('clear');
    },
    dispose() {},
  };
  return { offload, calls };
}

/** The values of an optimizer's state, by name. */
export async function readState(optimizer: Optimizer): Promise<Record<string, Float32Array | Uint8Array>> {
  const read = [...optimizer.state().tensors].map(
    async ({ name, shape, read }) =>
      [
        name,
        await read(
          0,
          shape.reduce((size, n) => size * n, 1),
        ),
      ] as const,
  );
  return Object.fromEntries(await Promise.all(read));
}

/** A tensor of a checkpoint that is in memory. */
export const saved = (name: string, shape: readonly number[], values: Float32Array): SavedTensor => ({
  name,
  shape,
  type: 'F32',
  read: async (start, count) => values.subarray(start, start + count),
});

/** Deterministic values, each different. */
export const spread = (count: number, scale = 1): number[] =>
  Array.from({ length: count }, (_, i) => scale * Math.sin(1 + 7.3 * i));

/** Deterministic pairs with answers of 1 to 6 tokens. */
export function toyPairs(count: number, vocab: number): TokenPair[] {
  const ids = (length: number, seed: number) => Array.from({ length }, (_, i) => (seed * 31 + i * i * 7 + i) % vocab);
  return Array.from({ length: count }, (_, i) => ({
    id: `pair-${i}`,
    prompt: ids(1 + (i % 4), i + 1),
    chosen: ids(1 + ((i * 5) % 6), i + 40),
    rejected: ids(1 + ((i * 3) % 5), i + 90),
  }));
}

export interface ToyParameter extends Parameter {
  value(): tf.Tensor;
  gradient(): tf.Tensor | null;
  accumulate(gradient: tf.Tensor): void;
}

export function toyParameter(name: string, decay: boolean, initial: tf.Tensor): ToyParameter {
  let value = initial;
  let gradient: tf.Tensor | null = null;
  return {
    name,
    decay,
    shape: initial.shape,
    value: () => value,
    assign(next) {
      value.dispose();
      value = next;
    },
    gradient: () => gradient,
    assignGradient(next) {
      gradient?.dispose();
      gradient = next;
    },
    accumulate(more) {
      this.assignGradient(tf.keep(gradient ? tf.add(gradient, more) : tf.clone(more)));
    },
    zeroGradient() {
      gradient?.dispose();
      gradient = null;
    },
  };
}

function toyForward(
  vocab: number,
  parameters: readonly ToyParameter[],
  pairs: readonly TokenPair[],
  train: boolean,
): Forward {
  const answers = pairs.flatMap((pair) => [
    { prompt: pair.prompt, answer: pair.chosen },
    { prompt: pair.prompt, answer: pair.rejected },
  ]);
  const labels = answers.flatMap(({ answer }) => Array.from(answer)); // [N]
  const previous = answers.flatMap(({ prompt, answer }) => [
    prompt[prompt.length - 1]!,
    ...Array.from(answer).slice(0, -1),
  ]);
  const logProbs = (table: tf.Tensor, bias: tf.Tensor) =>
    tf.logSoftmax(tf.add(tf.matMul(tf.oneHot(previous, vocab).toFloat() as tf.Tensor2D, table as tf.Tensor2D), bias)); // [N, V]
  const pick = (logps: tf.Tensor) => tf.sum(tf.mul(logps, tf.oneHot(labels, vocab)), 1); // [N]
  const values = parameters.map((parameter) => parameter.value()) as [tf.Tensor, tf.Tensor];

  const terms = tf.tidy(() => {
    const logps = logProbs(...values); // [N, V]
    return [pick(logps), tf.logSumExp(tf.mul(logps, 2), 1), tf.max(logps, 1)] as tf.Tensor1D[]; // each [N]
  });
  return {
    async terms() {
      const [logps, logSumSquares, logMax] = (await Promise.all(terms.map((term) => term.data()))) as Float32Array[];
      return { logps: logps!, logSumSquares: logSumSquares!, logMax: logMax! };
    },
    backward(dLogps) {
      if (!train) throw new Error('expected a pass with train: true');
      tf.tidy(() => {
        const gradients = tf.grads((table, bias) => pick(logProbs(table, bias)))(values, tf.tensor1d(dLogps));
        for (const [i, gradient] of gradients.entries()) parameters[i]!.accumulate(gradient);
      });
    },
    dispose: () => tf.dispose(terms),
  };
}
