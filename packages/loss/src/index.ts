export type { Alignment } from './alignment';
export { type AnswerTokens, answerScores, type PairTokens, sumLogps } from './answer';
export { type CheckLogpsOptions, checkLogps } from './check-logps';
export { stopGradient } from './gradient';
export { klEstimate } from './kl-estimate';
export { ldLogps, type PairLogps } from './ld';
export type { LossType, MixtureOptions } from './loss-types';
export {
  aotLoss,
  aotUnpairedLoss,
  apoDownLoss,
  apoZeroLoss,
  bcoLoss,
  cpoLoss,
  discopopLoss,
  dpoLoss,
  exoLoss,
  hingeLoss,
  ipoLoss,
  ktoLoss,
  ncaLoss,
  orpoLoss,
  type PreferenceLogps,
  robustLoss,
  sftLoss,
  sigmoidNormLoss,
  simpoLoss,
  sppoLoss,
} from './losses';
export { type LossMetrics, lossMetrics, type Rewarded, readLossMetrics } from './metrics';
export type { LossNeeds } from './needs';
export type { LossResult } from './pair-loss';
export { lossNeeds, lossTypes, preferenceLoss } from './preference';
export type { AttachedOptions, FDivergenceType, LossOptions } from './settings';
export { tokenTerms } from './token-terms';
export { type WeightOptions, wpoWeights } from './weight';
export { type DpoOptions, type WpoLossInput, type WpoLossResult, wpoLoss } from './wpo';
