import type { Plan } from './batches';
import type { MicroBatch } from './micro-batch';
import type { PairResult } from './pair-loss';

/** The results of one pair in one step. Log-probs are in nats. */
export interface PairRow {
  readonly step: number;
  /** The pair's id as `loggedId` shortens it. */
  readonly id: string;
  /** Who wrote the answers; absent if the pair does not say. */
  readonly source_chosen?: string;
  readonly source_rejected?: string;
  /** The factor that the pair's loss was multiplied by. */
  readonly weight: number;
  /** The loss, with the weight multiplied in. */
  readonly loss: number;
  /** The chosen answer's implicit reward minus the rejected one's. */
  readonly margin: number;
  /** log π(y): the sum over the answer's tokens. */
  readonly chosen_logps: number;
  readonly rejected_logps: number;
  readonly prompt_tokens: number;
  readonly chosen_tokens: number;
  readonly rejected_tokens: number;
}

/** Receives the results of single pairs. */
export interface PairLog {
  /** Called with the rows of one or more steps, before the checkpoint of their last step. */
  write(rows: readonly PairRow[]): void | Promise<void>;
  /** Called once before the first step: drops the rows after `step`, which the run writes again. 0 for a new run. */
  rewind?(step: number): void | Promise<void>;
}

/** A run logs all its pairs if they are at most this many, else those of every n-th step, so that a log has at most about 20 MB. */
export const MAX_PAIR_ROWS = 100_000;

const MAX_ID = 200;

/** Returns whether the pairs of a step are logged. Steps count from 1; the first is always logged. */
export function logsPairsOf({ totalSteps, batchSize, gradientAccumulationSteps }: Plan): (step: number) => boolean {
  const every = Math.ceil((totalSteps * batchSize * gradientAccumulationSteps) / MAX_PAIR_ROWS);
  return (step) => (step - 1) % every === 0;
}

/** The rows of a step. @param results one for each pair of the micro-batches, in their order */
export function pairRows(step: number, batches: readonly MicroBatch[], results: readonly PairResult[]): PairRow[] {
  return batches
    .flatMap(({ pairs }) => pairs)
    .map(({ id, prompt, chosen, rejected, sources }, i) => {
      const { weight, loss, chosenReward, rejectedReward, chosenLogps, rejectedLogps } = results[i]!;
      return {
        ...{ step, id: loggedId(id) },
        ...(sources && { source_chosen: loggedId(sources.chosen), source_rejected: loggedId(sources.rejected) }),
        ...{ weight, loss, margin: chosenReward - rejectedReward },
        ...{ chosen_logps: chosenLogps, rejected_logps: rejectedLogps },
        ...{ prompt_tokens: prompt.length, chosen_tokens: chosen.length, rejected_tokens: rejected.length },
      };
    });
}

/** The id of a pair, or the name of a source, as a log has it: its first 200 characters. */
export const loggedId = (text: string): string => text.slice(0, MAX_ID);
