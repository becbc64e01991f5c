export { doctor } from './commands/doctor';
export { type GenerateArguments, type Generated, generate } from './commands/generate';
export { type InspectArguments, type Inspection, inspect } from './commands/inspect';
export { type PairArguments, pair } from './commands/pair';
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
