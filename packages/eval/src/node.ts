export { parseAddress } from './node/address';
export { type FileAnswer, fingerprint, indexAnswers, readAnswers } from './node/answer-files';
export { type Answer, type ChatOptions, chatBody } from './node/chat';
export { createEndpoint, type Endpoint, EndpointError, type EndpointOptions } from './node/endpoint';
export { readAlpaca } from './node/read-alpaca';
export { type RewardApi, rewardServer } from './node/reward-server';
export { rewardsFile } from './node/rewards-file';
export { comparingJudge, ratingJudge } from './node/scoring-judges';
export { serverSampler } from './node/server-sampler';
