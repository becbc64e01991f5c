export { pairAnswerFiles } from './node/answer-files';
export type { DataFileOptions } from './node/data-files';
export { type LoadedPairs, loadPairs, type ReadPairsOptions, readPairs } from './node/pairs';
export { type ReadRowsOptions, readFileRecords, readRecords, readRows } from './node/read-rows';
export { loadTokenizerFolder } from './node/tokenizer-folder';
