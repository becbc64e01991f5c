// Servers
export type { ChatAnswer, ChatOptions, TokenLogprob, TokenLogprobs } from './node/chat';
export {
  createEndpoint,
  type Endpoint,
  EndpointError,
  type EndpointOptions,
  parseAddress,
  type ServerAddress,
} from './node/endpoint';
export {
  type ComparingJudge,
  comparingJudge,
  type EndpointJudgeOptions,
  endpointJudge,
  isJudgeReply,
  type JudgeForm,
  type JudgeReply,
  ratingJudge,
} from './node/judges';
// Files
export {
  type FileAnswer,
  fingerprint,
  indexAnswers,
  readAlpaca,
  readAnswers,
  readInstructions,
  readOutputs,
} from './node/read-files';
export { openReplyCache, type ReplyCache } from './node/reply-cache';
export { rewardsFile } from './node/rewards-file';
export { type FileRow, openRowsFile, type RowsFile, readRowsFile } from './node/rows-file';
export { type RewardApi, rewardServer, serverSampler } from './node/server-models';
