export { pairAnswerFiles } from './node/answer-files';
export { type DataFile, type DataFileOptions, dataFiles } from './node/data-files';
export { modelFolder } from './node/hub/model-folder';
export { dataSetName, type HubName, hubNameText, modelName } from './node/hub/name';
export { HubError } from './node/hub/request';
export type { DownloadProgress, HubOptions } from './node/hub/settings';
export { readRecords } from './node/records';
export { type LoadedPairs, loadPairs, type ReadRowsOptions, readRows } from './node/rows';
export { loadTokenizerFolder, type TokenizerFolder } from './node/tokenizer-folder';
