export { hashFiles, hashJson } from '@wpo/internal/node/hash';
export { type FileCheckpointsOptions, fileCheckpoints } from './node/file-checkpoints';
export { hashPairs } from './node/hash';
export { metricsFile } from './node/metrics-file';
export { gpuCount, type Launch, mpiLaunch } from './node/mpi/launcher';
export { type MpiGroup, mpiGroup, type RankInfo } from './node/mpi/mpi-group';
export { pairLogFile, readPairLog } from './node/pair-log-file';
export { referenceFiles } from './node/reference-files';
export { type SignalStop, stopOnSignals } from './node/stop-on-signals';
