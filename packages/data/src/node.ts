export { pairAnswerFiles } from './node/answer-files';
export { type DataFile, type DataFileOptions, dataFiles } from './node/data-files';
export { type LoadedPairs, loadPairs, type ReadPairsOptions, readPairs } from './node/pairs';
export { readRecords } from './node/records';
export { type ReadRowsOptions, readRows } from './node/rows';
export { loadTokenizerFolder, type TokenizerFolder } from './node/tokenizer-folder';
