export { modelFolder } from './files';
export {
  type DownloadProgress,
  dataSetName,
  type HubName,
  type HubOptions,
  hubNameText,
  modelName,
} from './repository';
export { HubError } from './request';
