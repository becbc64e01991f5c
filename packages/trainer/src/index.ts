export { type AdamWOptions, type AdamWScalars, adamW } from './adamw';
export { type AdamW8bitOptions, adamW8bit, dynamicMap } from './adamw-8bit';
export { type Cursor, type Plan, type PlanOptions, planSteps } from './batches';
export type { BestModel, BestModelOptions } from './best-model';
export {
  type Checkpoint,
  type CheckpointStore,
  type Json,
  loadWeights,
  type OpenCheckpoint,
  type StoredCheckpoint,
  type TrainerState,
} from './checkpoint';
export { type CollapseState, type Health, MAX_CHOSEN_DROP, MIN_WEIGHT_SHARE } from './collapse';
export { type MapOptions, mapOverRanks } from './data-parallel';
export { NonFiniteError, TrainingError, type TrainingErrorDetails } from './errors';
export { type EvaluateOptions, evaluate } from './evaluate';
export { type Pause, pauseAndCheck, type StopSignal, stopPause } from './event-loop';
export { clipScale, gradientNorm } from './gradient-norm';
export type { GradientOffload } from './gradient-offload';
export {
  type Group,
  type GroupNumbers,
  type HostMemory,
  onFirstRank,
  orFail,
  type RankRanges,
  receiveError,
  type SentError,
  sendError,
  soloGroup,
} from './group';
export type { Interval, MetricsRow, MetricsSink, PairSums } from './metrics';
export {
  type MicroBatch,
  type RunMicroBatchesOptions,
  type RunMicroBatchOptions,
  runMicroBatch,
  runMicroBatches,
} from './micro-batch';
export type { Optimizer, OptimizerState, OptimizerStep, StoredOptimizerState } from './optimizer';
export {
  type AdafactorScalars,
  adafactor,
  type LionOptions,
  type LionScalars,
  lion,
  type SgdScalars,
  sgd,
} from './other-optimizers';
export { loggedId, MAX_PAIR_ROWS, type PairLog, type PairRow } from './pair-log';
export {
  type PairLoss,
  type PairLossResult,
  type PairResult,
  type PreferencePairLossOptions,
  preferencePairLoss,
  type ScoredPair,
  type WpoPairLossOptions,
  wpoPairLoss,
} from './pair-loss';
export type {
  Forward,
  ForwardOptions,
  PacksOptions,
  PairSource,
  Parameter,
  Policy,
  ReferenceLogps,
  TokenPair,
  TokenTerms,
} from './policy';
export { type LongestPassOptions, longestPass } from './preflight';
export {
  type PrecomputeReferenceOptions,
  precomputeReference,
  type Reference,
  type ReferenceCache,
  referenceLogps,
} from './reference';
export {
  type Schedule,
  type ScheduleOptions,
  type ScheduleType,
  schedule,
  scheduleTypes,
  warmupStepCount,
} from './schedule';
export type { Sharding } from './sharding';
export { type StepResult, step } from './step';
export type { StepOptions } from './step-options';
export {
  type PaddedAnswers,
  type TensorLossInput,
  type TensorLossOutput,
  tensorLoss,
} from './tensor-loss';
export { train } from './train';
export type { RandomState, TrainingOptions, TrainOptions } from './train-options';
export type { TrainEvent, TrainResult, TrainRun } from './train-run';
export {
  type OptimizerKernel,
  optimizerOf,
  portableOptimizer,
  type RuleOptimizer,
  type RuleOptions,
  type Scalars,
  type StateTensor,
  type StepSettings,
  type TensorParameter,
  type TensorUpdate,
  type Update,
  type UpdateRule,
} from './update-rule';
export {
  type Numbers,
  type SavedTensor,
  type SavedType,
  type StoredValues,
  savedBytes,
  savedTensor,
  type Values,
  valuesInParts,
} from './values';
export { type AlignedScores, type WeighedPair, type WeighPairOptions, weighPair } from './weigh';
