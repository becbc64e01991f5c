export { modelFolder } from './model-folder';
export { dataSetName, type HubName, hubNameText, modelName } from './name';
export { HubError } from './request';
export type { DownloadProgress, HubOptions } from './settings';
