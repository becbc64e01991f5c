export { type AnswerTokens, answerScores, ldLogps, type PairLogps, type PairTokens, sumLogps } from './answers';
export { type CheckLogpsOptions, checkLogps } from './check-tensors';
export type {
  AnswerLengths,
  PolicyInput,
  PolicyLogps,
  PreferenceInput,
  ReferenceInput,
  ReferenceLogps,
  ReferencePoint,
  Weighted,
} from './inputs';
export {
  type LossNeeds,
  type LossType,
  type LossTypeWith,
  lossNeeds,
  lossTypes,
  type MixtureOptions,
  type PerTokenLossType,
  type RankedLossType,
  type ReferenceFreeLossType,
} from './loss-table';
export { type LossMetrics, lossMetrics, type Rewarded, readLossMetrics } from './metrics';
export {
  aotLoss,
  aotUnpairedLoss,
  apoDownLoss,
  apoZeroLoss,
  bcoLoss,
  cpoLoss,
  type DpoOptions,
  discopopLoss,
  dpoLoss,
  exoLoss,
  hingeLoss,
  ipoLoss,
  klEstimate,
  ktoLoss,
  ncaLoss,
  orpoLoss,
  type PolicyLoss,
  type PreferenceLogps,
  type RankedLoss,
  type ReferenceLoss,
  robustLoss,
  sftLoss,
  sigmoidNormLoss,
  simpoLoss,
  sppoLoss,
  type WpoLossInput,
  type WpoLossResult,
  wpoLoss,
} from './named-losses';
export { stopGradient } from './ops';
export type { Alignment, AttachedOptions, FDivergenceType, LossOptions } from './options';
export { type LossResult, preferenceLoss } from './preference-loss';
export { tokenTerms } from './token-terms';
export { type WeightOptions, wpoWeights } from './weights';
