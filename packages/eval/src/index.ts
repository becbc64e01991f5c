export type { ConcurrencyOptions } from '@wpo/internal/concurrently';
export {
  type AlpacaMetrics,
  type Annotation,
  alpacaMetrics,
  type DatasetMetrics,
  type EvalInstruction,
  type ModelOutput,
  metricsByDataset,
  type OutputPair,
  parseAnnotation,
  parseInstruction,
  parseModelOutput,
  readAlpacaFrom,
} from './alpaca-eval';
export { type AnswerRow, answerKey, type NamedPrompt, promptMessages, promptText, type Scored } from './answers';
export { EvaluationError } from './errors';
export { parseRating, parseVerdict, withoutThinking } from './judge-replies';
export { type LengthJudged, lengthControlledWinRate } from './length-control';
export {
  type Judgement,
  type JudgeOutputsOptions,
  type JudgeRequest,
  judgeMessages,
  judgeOutputs,
  judgePrompt,
  pairOutputs,
  parseJudgePrompt,
  preferenceFromLogprobs,
  preferenceFromVerdict,
} from './pairwise-judge';
export {
  type HeldOutLogps,
  type KlMetrics,
  klMetrics,
  type PairLogps,
  type RewardMetrics,
  rewardMetrics,
  type SampledLogps,
} from './reward-metrics';
export {
  type SampleAnswersOptions,
  type SampledAnswer,
  type SampledRow,
  type SampleRequest,
  type Sampler,
  type SamplingParams,
  sampleAnswers,
} from './sample-answers';
export {
  type CompareAnswersOptions,
  type Comparison,
  compareAnswers,
  listComparisons,
  type ScoreAnswersOptions,
  type Scorer,
  scoreAnswers,
  scoresFromVerdicts,
  type Verdict,
} from './score-answers';
export { type Preference, type WinRate, winRate } from './win-rate';
