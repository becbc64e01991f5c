import * as tf from '@tensorflow/tfjs-core';
import { seededRandom } from '@wpo/internal/random';
import fc from 'fast-check';
import type { Gemma2, Gemma2Config } from '../src/model';
import type { Kernels } from '../src/ops/contract';
import type { Parameter } from '../src/parameter';
import { loadWeights, type TensorLoader, type TensorSource, tensorShapes } from '../src/weights';

/** Small Gemma-2 configurations that vary heads, key-value heads, window, soft caps and layer types. */
export const smallConfig: fc.Arbitrary<Gemma2Config> = fc
  .record({
    vocabSize: fc.integer({ min: 8, max: 24 }),
    numKeyValueHeads: fc.integer({ min: 1, max: 3 }),
    group: fc.integer({ min: 1, max: 3 }),
    headDim: fc.constantFrom(2, 4, 6),
    hiddenSize: fc.integer({ min: 4, max: 10 }),
    intermediateSize: fc.integer({ min: 3, max: 12 }),
    layerTypes: fc.array(fc.constantFrom('sliding_attention' as const, 'full_attention' as const), {
      minLength: 1,
      maxLength: 3,
    }),
    slidingWindow: fc.integer({ min: 1, max: 12 }),
    attnLogitSoftcapping: fc.constantFrom(null, 2, 50),
    finalLogitSoftcapping: fc.constantFrom(null, 3, 30),
    queryPreAttnScalar: fc.integer({ min: 1, max: 16 }),
  })
  .map(({ group, ...rest }) => ({
    ...rest,
    numAttentionHeads: group * rest.numKeyValueHeads,
    numHiddenLayers: rest.layerTypes.length,
    // Large enough that a row of near-zero values does not amplify float32's rounding. The golden models have 1e-6.
    rmsNormEps: 1e-2,
    ropeTheta: 10000,
    maxPositionEmbeddings: 128,
    bosTokenId: 2,
    eosTokenId: [1],
    padTokenId: 0,
  }));

/** A model with random weights, large enough that soft caps and norms matter. `kernels` add up its gradients. */
export function randomModel(
  config: Gemma2Config,
  seed: number,
  kernels?: Kernels,
  loadTensor?: TensorLoader,
): Promise<Gemma2<Parameter>> {
  const random = seededRandom(seed);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const shapes = tensorShapes(config);
  const source: TensorSource = {
    names: () => [...shapes.keys()],
    info: (name) => ({ shape: shapes.get(name)! }),
    async read(name) {
      const shape = shapes.get(name)!;
      const spread = name.includes('norm') ? 0.2 : name.includes('embed') ? 0.7 : 1.5 / Math.sqrt(shape[1]!);
      return Float32Array.from({ length: tf.util.sizeFromShape([...shape]) }, () => spread * normal());
    },
  };
  return loadWeights(config, source, { kernels, loadTensor });
}

export const smallPair = (vocabSize: number, longest = 20) => {
  const tokens = (max: number) =>
    fc.array(fc.integer({ min: 0, max: vocabSize - 1 }), { minLength: 1, maxLength: max });
  return fc.record({ prompt: tokens(longest), chosen: tokens(longest), rejected: tokens(longest) });
};

/** A parameter's value, of any kernels. */
export function copyOf({ shape, value }: Parameter): tf.Tensor {
  const held = value();
  const values = held instanceof tf.Tensor ? held.dataSync().slice() : held.read(0, tf.util.sizeFromShape([...shape]));
  return tf.tensor(values, [...shape]);
}
