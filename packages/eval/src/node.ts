// Servers
export { parseAddress, type ServerAddress } from './node/address';
export type { ChatAnswer, ChatOptions, TokenLogprob, TokenLogprobs } from './node/chat';
export {
  createEndpoint,
  type Endpoint,
  EndpointError,
  type EndpointOptions,
} from './node/endpoint';
export {
  type EndpointJudgeOptions,
  endpointJudge,
  isJudgeReply,
  type JudgeForm,
  type JudgeReply,
} from './node/endpoint-judge';
export { type ComparingJudge, comparingJudge, type JudgeOptions, ratingJudge } from './node/judges';
// Files
export {
  type AnswerIndex,
  type FileAnswer,
  fingerprint,
  indexAnswers,
  type ModelOutputs,
  readAlpaca,
  readAnswers,
  readInstructions,
  readOutputs,
  readPrompts,
} from './node/read-files';
export { openReplyCache, type ReplyCache } from './node/reply-cache';
export type { RequestFields } from './node/request-fields';
export { rewardsFile } from './node/rewards-file';
export { type FileRow, openRowsFile, type RowsFile, readRowsFile } from './node/rows-file';
export { type RewardApi, rewardServer, serverSampler } from './node/server-models';
