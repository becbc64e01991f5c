export {
  type AnswerDrops,
  AnswerPool,
  type ChosenAnswers,
  type PairOptions,
  type PoolPairs,
} from './answer-pool';
export { type Candidate, type ChooseOptions, choosePair, type NoPair, type PairStrategy } from './choose-pair';
export { evaluationText } from './evaluation-text';
export { OverlapIndex } from './overlap';
export {
  type Overlaps,
  type PairAnswersOptions,
  type Pairing,
  type PairSummary,
  pairAnswers,
  pairPool,
  type SourceCounts,
} from './pair-answers';
export { pairRow } from './pair-row';
export { parseScoredAnswer, type ScoredAnswer } from './scored-answer';
