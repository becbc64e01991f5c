export { type LoadedPairs, loadPairs, type ReadPairsOptions, readPairs } from './node/pairs';
export { readRows } from './node/rows';
export { loadTokenizerFolder, type TokenizerFolder } from './node/tokenizer-folder';
