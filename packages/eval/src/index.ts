export type { ConcurrencyOptions } from '@wpo/internal/concurrently';
export { type AlpacaMetrics, alpacaMetrics, type DatasetMetrics, metricsByDataset } from './alpaca-metrics';
export {
  type Annotation,
  type EvalInstruction,
  type ModelOutput,
  type OutputPair,
  parseAnnotation,
  parseInstruction,
  parseModelOutput,
} from './alpaca-eval';
export { type AnswerRow, answerKey, type NamedPrompt, promptMessages, promptText, type Scored } from './answers';
export {
  type CompareAnswersOptions,
  type Comparison,
  compareAnswers,
  comparisons,
  scoresFromVerdicts,
  type Verdict,
} from './compare-answers';
export { EvaluationError } from './errors';
export {
  type Judgement,
  type JudgeOutputsOptions,
  type JudgeRequest,
  judgeOutputs,
  pairOutputs,
} from './judge-outputs';
export { type LengthJudged, lengthControlledWinRate } from './length-control';
export {
  judgeMessages,
  judgePrompt,
  parseJudgePrompt,
  preferenceFromLogprobs,
  preferenceFromVerdict,
} from './pairwise-judge';
export { readAlpacaFrom } from './read-alpaca';
export {
  type DrawnLogps,
  type HeldOutLogps,
  type KlMetrics,
  klMetrics,
  type PairLogps,
  type RewardMetrics,
  rewardMetrics,
} from './reward-metrics';
export {
  type SampleAnswersOptions,
  type Sampled,
  type SampledRow,
  type SampleRequest,
  sampleAnswers,
} from './sample-answers';
export type { Drawing, Sampler } from './sampler';
export { type ScoreAnswersOptions, scoreAnswers } from './score-answers';
export type { Scorer } from './scorer';
export { type Preference, type WinRate, winRate } from './win-rate';
