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
export type {
  AnswerLogps,
  AttentionOptions,
  Kernels,
  KeyRange,
  OpResult,
  QueryBlock,
  RotaryTables,
  Value,
  Weight,
} from './ops/contract';
export { type Geglu, gatherRows, gegluLinearWith, portableKernels } from './ops/portable';
export type { TokenPair } from './pack';
export { type Parameter, parameter } from './parameter';
export {
  type ActivationCheckpointing,
  type Forward,
  type GemmaPolicy,
  gemmaPolicy,
  type PolicyOptions,
  type TokenTerms,
} from './policy';
export { type SamplingOptions, seededRandom } from './sample';
export {
  type LoadOptions,
  loadWeights,
  parametersOf,
  readTensor,
  type TensorLoader,
  type TensorLocation,
  type TensorSource,
  tensorShapes,
} from './weights';
