export { type AnswerRow, answerKey, type NamedPrompt, promptMessages, type Scored } from './answers';
export { type Batch, type BatchOptions, batches, type Cursor, epochOrder } from './batches';
export { type ChatOptions, ChatTemplateError, renderChat } from './chat-template';
export {
  type CompareAnswersOptions,
  type Comparison,
  compareAnswers,
  comparisons,
  scoresFromVerdicts,
  type Verdict,
} from './compare-answers';
export type { ConcurrencyOptions } from './concurrently';
export { type Distribution, distribution } from './distribution';
export {
  type Completion,
  type EncodedPair,
  type EncodeOptions,
  encodePair,
  encodePrompt,
  encodeRows,
  type FormatOptions,
  formatPair,
  type TextOptions,
  type TokenLists,
  type TruncateOptions,
  type Truncation,
  truncatePair,
} from './encode';
export { type AlpacaMetrics, alpacaMetrics, type DatasetMetrics, metricsByDataset } from './evaluation/alpaca-metrics';
export {
  type Annotation,
  type EvalInstruction,
  type ModelOutput,
  type OutputPair,
  parseAnnotation,
  parseInstruction,
  parseModelOutput,
} from './evaluation/annotation';
export {
  judgeMessages,
  judgePrompt,
  parseJudgePrompt,
  preferenceFromLogprobs,
  preferenceFromVerdict,
} from './evaluation/judge';
export {
  type Judgement,
  type JudgeOutputsOptions,
  type JudgeRequest,
  judgeOutputs,
  pairOutputs,
} from './evaluation/judge-outputs';
export { type LengthJudged, lengthControlledWinRate } from './evaluation/length-control';
export { readAlpacaFrom } from './evaluation/read-alpaca';
export { type Preference, type WinRate, winRate } from './evaluation/win-rate';
export type { CutCounts } from './inspect/cuts';
export { type Inspected, inspectPairs, PairInspector, type PairReport, type WorstKind } from './inspect/inspector';
export { type Measured, measureTokens, measureWords } from './inspect/measure';
export type { Repeats } from './inspect/repeats';
export type { SourceReport } from './inspect/sources';
export type { WorstRow } from './inspect/worst';
export type { RowFormat } from './json-stream';
export { type Columns, columnNames, type LayoutName, layoutOf, rowParser } from './layouts';
export {
  type AnswerDrops,
  AnswerPool,
  type ChosenAnswers,
  type PairOptions,
  type PoolPairs,
} from './pairing/answer-pool';
export { type Candidate, type ChooseOptions, choosePair, type NoPair, type PairStrategy } from './pairing/choose-pair';
export { evaluationText } from './pairing/evaluation-text';
export { OverlapIndex } from './pairing/overlap';
export {
  type Overlaps,
  type PairAnswersOptions,
  type Pairing,
  type PairSummary,
  pairAnswers,
  pairPool,
  type SourceCounts,
} from './pairing/pair-answers';
export { pairRow } from './pairing/pair-row';
export { parseScoredAnswer, type ScoredAnswer } from './pairing/scored-answer';
export {
  type BadRows,
  type DataRecord,
  keepGood,
  preferenceRows,
  type ReadOptions,
  type RecordOptions,
  readRecordsFrom,
  readRowsFrom,
} from './read-rows';
export { type Message, type PreferenceRow, parseRow, parseRowText } from './records';
export { type Place, RowError, type RowFault } from './row-error';
export {
  type SampleAnswersOptions,
  type Sampled,
  type SampledRow,
  type SampleRequest,
  sampleAnswers,
} from './sample-answers';
export { type ScoreAnswersOptions, scoreAnswers } from './score-answers';
export { loadTokenizer, type Tokenizer } from './tokenizer';
export { type Answer, answersOf, bestAgainstWorst } from './ultrafeedback';
