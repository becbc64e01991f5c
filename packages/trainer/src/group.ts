import { NonFiniteError, StepStopped, TrainingError } from './errors';

/** Numbers that a group replaces in place: an array, or float32 values in memory of the CPU outside of JavaScript. */
export type GroupNumbers = Float32Array | Float64Array | HostMemory;

/** Float32 values outside of JavaScript, which stay where they are until a call has ended. */
export interface HostMemory {
  readonly address: bigint;
  readonly count: number;
}

/** Numbers of which each rank has a range: rank r those from `starts[r]` up to `starts[r + 1]`. Ranges may be empty. */
export interface RankRanges {
  readonly numbers: GroupNumbers;
  /** The same on all ranks, in increasing order: `[size + 1]`, from 0 to the number of numbers. */
  readonly starts: readonly number[];
}

/**
 * The processes of one run. Each has a rank from 0 to `size` - 1. Every function is called by all ranks, in the same order: it waits until
 * all have called it. `what` names the values, for errors.
 *
 * A rank that fails calls `fail` instead of the next function. All others then throw its error there.
 */
export interface Group {
  readonly rank: number;
  readonly size: number;
  /** Replaces values by their sums over all ranks. Every rank gets the same bits. */
  allReduce(values: readonly GroupNumbers[], what: string): Promise<void>;
  /** Replaces the values of each rank's own range by their sums over all ranks. The other values are then undefined. */
  reduceScatter(values: readonly RankRanges[], what: string): Promise<void>;
  /** Replaces the values of every range by those of the rank that has it. */
  allGatherRanges(values: readonly RankRanges[], what: string): Promise<void>;
  /** The value of each rank, by rank. Values must be JSON. */
  allGather<T>(value: T, what: string): Promise<readonly T[]>;
  /** The value of rank 0, which must be JSON; those of other ranks are not used. */
  broadcast<T>(value: T, what: string): Promise<T>;
  /** Whether any rank gives true. */
  agree(flag: boolean, what: string): Promise<boolean>;
  /** Tells the other ranks about an error. Returns the error that every rank throws: that of the lowest rank that has failed. */
  fail(error: unknown): Promise<unknown>;
}

/** The group of a process that trains alone. It has nobody to wait for. */
export const soloGroup: Group = {
  rank: 0,
  size: 1,
  async allReduce() {},
  async reduceScatter() {},
  async allGatherRanges() {},
  allGather: async (value) => [value],
  broadcast: async (value) => value,
  agree: async (flag) => flag,
  fail: async (error) => error,
};

/** Runs work between two collectives of a group. If it fails on one rank, every rank throws that error. */
export async function orFail<T>(group: Group, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw await group.fail(error);
  }
}

/** Runs work on rank 0. Every rank returns its result, which must be JSON, or throws its error. */
export async function onFirstRank<T>(group: Group, what: string, work: () => T | Promise<T>): Promise<T> {
  const result = await orFail(group, () => (group.rank === 0 ? work() : undefined));
  return group.broadcast(result as T, what);
}

/** An error as JSON, for another process. */
export interface SentError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly step: number | undefined;
  readonly pairId: string | undefined;
  readonly isNonFinite: boolean;
}

export function sendError(error: unknown): SentError {
  const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
  const { step, pairId } = error instanceof TrainingError ? error : {};
  return { name, message, stack, step, pairId, isNonFinite: error instanceof NonFiniteError };
}

/** The error that another process sent, with its class if it is one of this package's. */
export function receiveError({ name, message, stack, step, pairId, isNonFinite }: SentError): Error {
  const details = { ...(step !== undefined && { step }), ...(pairId !== undefined && { pairId }) };
  if (isNonFinite) return new NonFiniteError(message, details);
  if (name === 'TrainingError') return new TrainingError(message, details);
  if (name === 'StepStopped') return new StepStopped();
  const error = new Error(message);
  error.name = name;
  if (stack !== undefined) error.stack = stack;
  return error;
}
