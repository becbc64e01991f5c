export { type Distribution, distribution } from './distribution';
export { type ChatOptions, ChatTemplateError, renderChat } from './encode/chat-template';
export {
  type EncodedPair,
  type EncodeOptions,
  encodePair,
  encodeRows,
  type TruncateOptions,
  type Truncation,
  truncatePair,
} from './encode/encode-pair';
export {
  type Completion,
  encodePrompt,
  type FormatOptions,
  formatPair,
  type TextOptions,
  type TokenLists,
} from './encode/format-pair';
export { loadTokenizer, type Tokenizer } from './encode/tokenizer';
export { type Batch, type BatchOptions, batches, type Cursor, epochOrder } from './epoch-order';
export type { CutCounts } from './inspect/cuts';
export { type Inspected, inspectPairs, PairInspector, type PairReport, type WorstKind } from './inspect/inspector';
export { type Measured, measureTokens, measureWords } from './inspect/measure';
export type { Repeats } from './inspect/repeats';
export type { SourceReport } from './inspect/sources';
export type { WorstRow } from './inspect/worst';
export type { RowFormat } from './rows/json-stream';
export { type Columns, columnNames, type LayoutName, layoutOf, rowParser } from './rows/layouts';
export { type Message, type PreferenceRow, parseRow, parseRowText } from './rows/preference-row';
export {
  type BadRows,
  type DataRecord,
  keepGood,
  preferenceRows,
  type ReadOptions,
  type RecordOptions,
  readRecordsFrom,
  readRowsFrom,
} from './rows/read-rows';
export { type Place, RowError, type RowFault } from './rows/row-error';
export { type Answer, answersOf, bestAgainstWorst } from './rows/ultrafeedback';
