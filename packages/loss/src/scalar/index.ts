export { type NumberRange, type Numbers, rangeText } from '../checks';
export { LOSS_DESCRIPTIONS, OPTION_DESCRIPTIONS } from '../descriptions';
export type {
  AnswerLengths,
  PolicyInput,
  PolicyLogps,
  PreferenceInput,
  ReferenceInput,
  ReferenceLogps,
  Weighted,
} from '../inputs';
export {
  LOSSES,
  type LossNeeds,
  type LossSpec,
  type LossType,
  type LossTypeWith,
  lossNeeds,
  lossTypes,
  type MixtureOptions,
  OPTIONS_OF_LOSS,
  type OptionsOf,
  type PerTokenLossType,
  type RankedLossType,
  type ReferenceFreeLossType,
} from '../loss-table';
export {
  ALIGNMENT_TERMS,
  type Alignment,
  type FDivergenceType,
  LOSS_OPTIONS,
  type LossOptions,
  type NumberOption,
  type NumberOptionName,
  type WeightNumbers as WeightOptions,
} from '../options';
export {
  type AnswerTokens,
  answerScores,
  ldLogps,
  ldTokenWeights,
  type PairTokens,
  sumLogps,
  type WeightWithGradient,
  wpoWeights,
  wpoWeightsWithGradient,
} from './answers';
export {
  type DpoOptions,
  dpoLoss,
  klEstimate,
  type LossGradient,
  type LossResult,
  type LossResultWithGradient,
  preferenceLoss,
  preferenceLossWithGradient,
  type WpoLossInput,
  type WpoLossResult,
  wpoLoss,
} from './preference-loss';
