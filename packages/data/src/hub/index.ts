export { modelFolder } from './files';
export type { DownloadProgress, HubOptions } from './repository';
export { HubError } from './request';
export { checkUpload, type Uploaded, type UploadOptions, uploadModel } from './upload';
