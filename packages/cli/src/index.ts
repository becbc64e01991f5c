export { doctor } from './commands/doctor';
export { type EvalArguments, evaluate } from './commands/eval';
export { type GenerateArguments, type Generated, generate } from './commands/generate';
export { type InspectArguments, type Inspection, inspect } from './commands/inspect';
export { type PairArguments, pair } from './commands/pair';
export { type RunArguments, run } from './commands/run';
export { type SampleArguments, type SampleRow, sample } from './commands/sample';
export { type ScoreArguments, type ScoredRow, score } from './commands/score';
export { type TrainArguments, train } from './commands/train';
export { type WeighArguments, type WeighedPair, weigh } from './commands/weigh';
export { isUserError, UserError } from './errors';
export { main } from './main';
export {
  describeKeys,
  type KeyDescription,
  parseRunConfig,
  type RunConfig,
  readRunConfig,
  runConfigYaml,
} from './run-config';
export type { Terminal } from './terminal';
