// node e2e/threads.mjs
//
// Trains a small model with random weights for three steps with the native kernels on WPO_THREADS threads, and prints a hash of
// the weights before and after. Uses the built packages.
import { createHash } from 'node:crypto';
import {
  gemma2_2b,
  gemmaPolicy,
  loadWeights,
  parametersOf,
  seededRandom,
  tensorShapes,
} from '../packages/gemma/dist/index.js';
import '../packages/tensorflow/dist/index.js';
import { tensorflowGradientNorm, tensorflowKernels, tensorflowOptimizer } from '../packages/tensorflow/dist/kernels.js';
import { adamW, precomputeReference, step, wpoPairLoss } from '../packages/trainer/dist/index.js';

// wide and long enough that every operation that can use several threads does
const config = {
  ...gemma2_2b,
  vocabSize: 1500,
  hiddenSize: 96,
  intermediateSize: 400,
  numHiddenLayers: 2,
  layerTypes: ['sliding_attention', 'full_attention'],
  slidingWindow: 200,
  numAttentionHeads: 4,
  numKeyValueHeads: 2,
  headDim: 32,
  queryPreAttnScalar: 32,
};
const random = seededRandom(1);
const shapes = tensorShapes(config);
const source = {
  names: () => [...shapes.keys()],
  info: (name) => ({ shape: shapes.get(name) }),
  read: async (name) =>
    Float32Array.from({ length: shapes.get(name).reduce((a, b) => a * b, 1) }, () => (random() - 0.5) / 4),
};
const tokens = (length) => Array.from({ length }, () => Math.floor(random() * config.vocabSize));
const pairs = [
  { id: 'long', prompt: tokens(350), chosen: tokens(90), rejected: tokens(120) },
  { id: 'short', prompt: tokens(40), chosen: tokens(200), rejected: tokens(33) },
];

const kernels = tensorflowKernels();
const model = await loadWeights(config, source, { kernels });
const policy = gemmaPolicy(model, { kernels });
const references = await precomputeReference({ policy, pairs });
const options = {
  policy,
  optimizer: adamW({ kernel: tensorflowOptimizer() }),
  computeNorm: tensorflowGradientNorm(),
  loss: wpoPairLoss({ beta: 0.1 }),
  learningRate: 1e-2,
  maxGradNorm: 1,
};
const hash = async () => {
  const sum = createHash('sha256');
  for (const parameter of parametersOf(model)) sum.update(await parameter.value().data());
  return sum.digest('hex');
};
console.log(await hash());
for (let i = 0; i < 3; i++) {
  await step({ ...options, microBatches: pairs.map((pair, at) => ({ pairs: [pair], references: [references[at]] })) });
}
console.log(await hash());
