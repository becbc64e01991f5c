import * as tf from '@tensorflow/tfjs-core';
import type { Gemma2Config } from '../src/model';

/** Weights by checkpoint name. */
export type Weights = Record<string, tf.Tensor>;

/**
 * Gemma-2 on one sequence, as the papers write it, from plain tfjs operations with tfjs's automatic gradients: the reference
 * for the packed pass with its hand-derived gradients. `[T]` ids → logits `[T, V]`.
 */
export function plainLogits(config: Gemma2Config, weights: Weights, ids: readonly number[]): tf.Tensor2D {
  const { numAttentionHeads: N, numKeyValueHeads: K, headDim: D } = config;
  const T = ids.length;
  const get = (name: string) => weights[`${name}.weight`]!;
  const norm = (x: tf.Tensor, w: tf.Tensor) =>
    tf.mul(tf.div(x, tf.sqrt(tf.add(tf.mean(tf.square(x), -1, true), config.rmsNormEps))), tf.add(1, w));
  const project = (x: tf.Tensor, w: tf.Tensor) => tf.matMul(x as tf.Tensor2D, w as tf.Tensor2D, false, true);

  const angles = tf.mul(
    tf.reshape(tf.range(0, T), [T, 1]),
    tf.pow(config.ropeTheta, tf.mul(tf.range(0, D / 2), -2 / D)),
  ); // [T, D/2]
  const cos = tf.concat([tf.cos(angles), tf.cos(angles)], 1);
  const sin = tf.concat([tf.sin(angles), tf.sin(angles)], 1);
  const rotate = (x: tf.Tensor) => {
    const [a, b] = tf.split(x, 2, -1);
    return tf.add(tf.mul(x, cos), tf.mul(tf.concat([tf.neg(b!), a!], -1), sin)); // [heads, T, D]
  };
  const intoHeads = (x: tf.Tensor, count: number) => tf.transpose(tf.reshape(x, [T, count, D]), [1, 0, 2]);

  let x: tf.Tensor = tf.mul(
    tf.gather(get('model.embed_tokens'), tf.tensor1d([...ids], 'int32')),
    Math.sqrt(config.hiddenSize),
  );
  for (let layer = 0; layer < config.numHiddenLayers; layer++) {
    const at = (part: string) => get(`model.layers.${layer}.${part}`);
    const window = config.layerTypes[layer] === 'sliding_attention' ? config.slidingWindow : T;
    const mask = tf.tensor2d(
      Array.from({ length: T }, (_, i) => Array.from({ length: T }, (_, j) => (j <= i && i - j < window ? 0 : -1e9))),
      [T, T],
    );
    const h = norm(x, at('input_layernorm'));
    const q = rotate(intoHeads(project(h, at('self_attn.q_proj')), N));
    // each key-value head serves N / K query heads
    const spread = Array.from({ length: N }, (_, n) => Math.floor((n * K) / N));
    const k = tf.gather(rotate(intoHeads(project(h, at('self_attn.k_proj')), K)), spread);
    const v = tf.gather(intoHeads(project(h, at('self_attn.v_proj')), K), spread);
    let scores = tf.div(tf.matMul(q, k, false, true), Math.sqrt(config.queryPreAttnScalar)); // [N, T, T]
    const cap = config.attnLogitSoftcapping;
    if (cap !== null) scores = tf.mul(tf.tanh(tf.div(scores, cap)), cap);
    const attended = tf.matMul(tf.softmax(tf.add(scores, mask)), v); // [N, T, D]
    const mixed = tf.reshape(tf.transpose(attended, [1, 0, 2]), [T, N * D]);
    x = tf.add(x, norm(project(mixed, at('self_attn.o_proj')), at('post_attention_layernorm')));
    const m = norm(x, at('pre_feedforward_layernorm'));
    const gate = project(m, at('mlp.gate_proj'));
    const cubed = tf.mul(tf.mul(gate, gate), gate);
    const gelu = tf.mul(
      tf.mul(0.5, gate),
      tf.add(1, tf.tanh(tf.mul(Math.sqrt(2 / Math.PI), tf.add(gate, tf.mul(0.044715, cubed))))),
    );
    const fed = project(tf.mul(gelu, project(m, at('mlp.up_proj'))), at('mlp.down_proj'));
    x = tf.add(x, norm(fed, at('post_feedforward_layernorm')));
  }
  const out = project(norm(x, get('model.norm')), get('model.embed_tokens'));
  const cap = config.finalLogitSoftcapping;
  return (cap === null ? out : tf.mul(tf.tanh(tf.div(out, cap)), cap)) as tf.Tensor2D;
}

/** log p of each answer token after the prompt: `[answer tokens]`. */
export function plainLogps(
  config: Gemma2Config,
  weights: Weights,
  prompt: readonly number[],
  answer: readonly number[],
): tf.Tensor1D {
  const logits = tf.slice(
    plainLogits(config, weights, [...prompt, ...answer]),
    [prompt.length - 1, 0],
    [answer.length, -1],
  );
  const picked = tf.sum(tf.mul(tf.logSoftmax(logits), tf.oneHot([...answer], config.vocabSize)), 1);
  return picked as tf.Tensor1D;
}
