export { seededRandom } from '@wpo/internal/random';
export type { ActivationOffload, OffloadedValue } from './activation-offload';
export {
  type AdaptedGemma2,
  type Adapter,
  type AdapterOptions,
  adapted,
} from './adapter/adapted';
export {
  type AdaptedModule,
  type AdapterPart,
  type AdapterTensor,
  adaptedModules,
  adapterTensors,
  type LoraConfig,
  loraDefaults,
} from './adapter/lora-config';
export { type AdapterValues, mergedWeight } from './adapter/merge';
export { type Gemma2Preset, gemma2_2b, gemma2_9b, gemma2_27b, gemma2Presets, parseConfig, writeConfig } from './config';
export {
  bf16ToF32,
  f16ToF32,
  f32ToBf16,
  f32ToF16,
  WEIGHT_DTYPES,
  type WeightDtype,
  type WeightDtypeName,
} from './dtype';
export { ModelError } from './errors';
export {
  type GeneratedToken,
  type GenerateOptions,
  generate,
  generateBatch,
  generateBatchTokens,
  generateTokens,
  sequenceLogits,
} from './generate';
export {
  estimateMemory,
  type MemoryEstimate,
  type MemoryOptions,
  type ModelUse,
  type WeightBytes,
} from './memory';
export type { DecoderLayer, Gemma2, Gemma2Config, Gemma2Weights, LayerType } from './model';
export type {
  AnswerLogps,
  AttentionOptions,
  DropoutOptions,
  Kernels,
  KeyRange,
  OpResult,
  ParameterStorage,
  Pause,
  Precision,
  ProductOptions,
  QueryBlock,
  RotaryTables,
  StoredValue,
  Value,
  Weight,
  WeightValue,
} from './ops/contract';
export { dropoutThreshold } from './ops/dropout';
export { portableKernels } from './ops/portable';
export { portableBf16Kernels } from './ops/portable-bf16';
export type { TokenPair } from './pack';
export {
  type FrozenWeight,
  frozenWeight,
  type Parameter,
  type ParameterOptions,
  type ParameterValue,
  parameter,
} from './parameter';
export {
  type ActivationCheckpointing,
  type Forward,
  type ForwardOptions,
  type GemmaPolicy,
  gemmaPolicy,
  type PacksOptions,
  type PolicyOptions,
  type TokenTerms,
} from './policy';
export type { SamplingOptions } from './sample';
export { modelOfShapes } from './shape-model';
export type { Block } from './tape';
export {
  blockParameters,
  type FrozenLoadOptions,
  type LoadOptions,
  loadWeights,
  parametersOf,
  readTensor,
  type TensorLoader,
  type TensorLocation,
  type TensorSource,
  tensorShapes,
  trainableParameters,
} from './weights';
