export { type ChatOptions, ChatTemplateError, renderChat } from './encode/chat-template';
export { ControlTokenCount, type ControlTokens } from './encode/control-tokens';
export {
  type EncodedPair,
  type EncodeOptions,
  encodePair,
  encodeRows,
  type TruncateOptions,
  type Truncation,
} from './encode/encode-pair';
export { type Completion, encodePrompt, type FormatOptions, type PromptFormat } from './encode/format-pair';
export type { SystemRole, TextOptions } from './encode/render';
export { loadTokenizer, type Tokenizer } from './encode/tokenizer';
export { epochOrder } from './epoch-order';
export {
  type InspectOptions,
  inspectPairs,
  type MeasuredRow,
  type PairReport,
  type WorstKind,
} from './inspect/inspector';
export { type Lengths, type MeasuredLengths, measureTokens, measureWords } from './inspect/measure';
export type { CutCounts, Repeats, SourceReport, WorstRow } from './inspect/tallies';
export { type Mixing, type MixSource, mixRows } from './mix-rows';
export type { Bin, Distribution } from './numbers';
export { type AnswerFields, type PromptRow, parseAnswerRow, parsePromptRow } from './rows/answer-row';
export {
  checkText,
  type Fields,
  optionalId,
  optionalInteger,
  optionalNumber,
  RowError,
  type RowFault,
  type RowLocation,
} from './rows/fields';
export type { RowFormat } from './rows/json-stream';
export type { Columns } from './rows/layouts';
export { type Message, type PreferenceRow, parseRow } from './rows/preference-row';
export {
  type BadRows,
  type DataRecord,
  keepGood,
  type ReadOptions,
  type RecordOptions,
  readRecordsFrom,
  readRowsFrom,
} from './rows/read-rows';
