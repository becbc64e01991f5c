export {
  ADAPTER_WEIGHTS,
  type AdapterFiles,
  type AdapterFolder,
  checkAdapterFolder,
  copyAdapterFolder,
  isAdapterFolder,
  readAdapterFolder,
  readAdapterTensors,
  writeAdapterFiles,
  writeAdapterFolder,
} from './node/adapter-folder';
export { type MergedRows, mergedTensors } from './node/merge-adapter';
export { type ModelFolder, readModelFolder, writeModelFiles, writeModelFolder } from './node/model-folder';
export { checkModelFolder } from './node/not-a-model';
export { type RandomTensor, randomWeights } from './node/random-weights';
export { type Checkpoint, openCheckpoint, openSafetensors, type ValueRange } from './node/read-checkpoint';
export { storedTensor } from './node/stored-tensor';
export { readTensors, type TensorInParts, writeTensors } from './node/tensor-files';
export {
  type TensorToWrite,
  type TensorValues,
  type ValuesToWrite,
  writeCheckpoint,
  writeSafetensors,
} from './node/write-checkpoint';
export type { SafetensorsDtype, TensorSpec } from './safetensors';
