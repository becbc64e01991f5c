export type { AnswerDrops, PairOptions } from './answer-pool';
export type { NoPair, PairStrategy } from './choose-pair';
export { evaluationText, OverlapIndex } from './overlap';
export {
  type Overlaps,
  type PairAnswersOptions,
  type Pairing,
  type PairPart,
  type PairSummary,
  pairAnswers,
  type SourceCounts,
} from './pair-answers';
