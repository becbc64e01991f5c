export { type Gemma2Config, gemma2_2b, gemma2_9b, gemma2_27b, parseConfig, writeConfig } from './config';
export {
  type GenerateOptions,
  generate,
  generateBatch,
  generateBatchTokens,
  generateTokens,
  sequenceLogits,
  type WrittenToken,
} from './generate';
export type { Block, Gemma2 } from './model';
export { type Geglu, gatedLinearWith } from './ops/gated-linear';
export {
  type AnswerLogps,
  type AttentionScale,
  type AttentionSpan,
  composed,
  type Kernels,
  type Result,
  type Rotation,
  type Value,
  type Weight,
} from './ops/kernels';
export { type PickRows, pickRows } from './ops/shape';
export type { TokenPair } from './pack';
export { type Parameter, parameter } from './parameter';
export {
  type ActivationCheckpointing,
  type AnswerTerms,
  type Forward,
  type GemmaPolicy,
  gemmaPolicy,
  type PairGradient,
  type PolicyOptions,
} from './policy';
export { type SamplingOptions, seededRandom } from './sample';
export {
  type LoadOptions,
  loadWeights,
  type Place,
  parametersOf,
  readAndPlace,
  type TensorLocation,
  type TensorSource,
  tensorShapes,
} from './weights';
