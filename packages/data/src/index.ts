export { type Batch, type BatchOptions, batches, type Cursor, epochOrder } from './batches';
export { type ChatOptions, ChatTemplateError, renderChat } from './chat-template';
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
export type { RowFormat } from './json-stream';
export { type Columns, columnNames, type LayoutName, layoutOf, rowParser } from './layouts';
export {
  type BadRows,
  type DataRecord,
  preferenceRows,
  type ReadOptions,
  type RecordOptions,
  readRecordsFrom,
  readRowsFrom,
} from './read-rows';
export { type Message, type PreferenceRow, parseRow, parseRowText } from './records';
export { type Place, RowError, type RowFault } from './row-error';
export { loadTokenizer, type Tokenizer } from './tokenizer';
export { type Answer, answersOf, bestAgainstWorst } from './ultrafeedback';
