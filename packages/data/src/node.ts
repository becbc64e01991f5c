export { readAlpaca } from './node/alpaca';
export { type LoadedPairs, loadPairs, readRows } from './node/rows';
export { loadTokenizerFolder, type TokenizerFolder } from './node/tokenizer-folder';
