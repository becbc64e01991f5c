export { type Alignment, type AnswerTokens, answerScores, sumLogps } from './answer';
export { type CheckLogpsOptions, checkLogps } from './check-logps';
export { type DpoLossResult, type DpoOptions, dpoLoss, type PreferenceLogps } from './dpo';
export { stopGradient } from './gradient';
export { type LossMetrics, lossMetrics, type Rewarded } from './metrics';
export { tokenTerms } from './token-terms';
export { type PairTokens, type WeightOptions, wpoWeights } from './weight';
export { type WpoLossInput, type WpoLossResult, wpoLoss } from './wpo';
