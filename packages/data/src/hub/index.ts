export { modelFolder } from './files';
export type { DownloadProgress, HubOptions } from './repository';
export { HubError } from './request';
