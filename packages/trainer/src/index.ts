export {
  type AdamWKernel,
  type AdamWNumbers,
  type AdamWOptions,
  type AdamWUpdate,
  adamW,
  type Moments,
} from './adamw';
export type {
  Checkpoint,
  CheckpointStore,
  Json,
  OpenCheckpoint,
  StoredCheckpoint,
  TrainerState,
} from './checkpoint';
export { clipScale, gradientNorm } from './clip';
export { TrainingError, type TrainingErrorPlace } from './errors';
export { type EvaluateOptions, evaluate } from './evaluate';
export type { Interval, MetricsRow, MetricsSink } from './metrics';
export { type MicroBatch, type PairResult, type RunMicroBatchOptions, runMicroBatch } from './micro-batch';
export type { NamedTensor, Optimizer, OptimizerState, OptimizerStep, StoredOptimizerState } from './optimizer';
export { type PaddedAnswers, padAnswers } from './pad';
export {
  type PairLoss,
  type PairLossInput,
  type PairLossOutput,
  type PreferencePairLossOptions,
  preferencePairLoss,
  type WpoPairLossOptions,
  wpoPairLoss,
} from './pair-loss';
export type { PairSource } from './pairs';
export { type Cursor, type Plan, type PlanOptions, planSteps } from './plan';
export type { AnswerTerms, Forward, PairGradient, PairTerms, Parameter, Policy, TokenPair } from './policy';
export {
  type PrecomputeReferenceOptions,
  precomputeReference,
  type Reference,
  type ReferenceCache,
  type ReferenceLogps,
  referenceLogps,
} from './reference';
export { loadWeights } from './resume';
export {
  type Schedule,
  type ScheduleOptions,
  type ScheduleType,
  schedule,
  scheduleTypes,
  warmupStepCount,
} from './schedule';
export { type StepOptions, type StepResult, step } from './step';
export type { StopSignal } from './stop-signal';
export {
  type RandomState,
  type StepReport,
  type TrainingOptions,
  type TrainOptions,
  type TrainResult,
  train,
} from './train';
