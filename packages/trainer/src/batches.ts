import { checkNumber } from './check-number';
import { TrainingError } from './errors';
import type { MicroBatch } from './micro-batch';
import { type PairSource, pairAt, pairLength } from './policy';
import { lookUpReference, type Reference } from './reference';

export interface PlanOptions {
  /** Pairs of an epoch. */
  readonly pairs: number;
  /** Pairs of a micro-batch. Default 1. */
  readonly batchSize?: number;
  /** Micro-batches of a step. Default 1. */
  readonly gradientAccumulationSteps?: number;
  /** Passes over the data; fractions are allowed. Default 1. */
  readonly epochs?: number;
  /** Steps of the run. Above 0 it overrides `epochs`. */
  readonly maxSteps?: number;
}

/** How a run is divided into steps. */
export interface Plan {
  readonly pairs: number;
  readonly batchSize: number;
  readonly gradientAccumulationSteps: number;
  readonly microBatchesPerEpoch: number;
  readonly stepsPerEpoch: number;
  readonly totalSteps: number;
}

/** A run's position in the data: the epoch, and the pairs of it already seen, both counted from 0. */
export interface Cursor {
  readonly epoch: number;
  readonly pair: number;
}

/**
 * Counts steps as Hugging Face's Trainer does (`set_initial_training_values`): the last micro-batch and the last step of an epoch
 * take the pairs that are left, no step crosses into the next epoch, and the run has ⌈epochs · stepsPerEpoch⌉ steps.
 *
 * @throws RangeError naming the option that is out of range.
 */
export function planSteps(options: PlanOptions): Plan {
  const { pairs, batchSize = 1, gradientAccumulationSteps = 1, epochs = 1, maxSteps = 0 } = options;
  if (!(Number.isInteger(pairs) && pairs >= 1)) {
    throw new RangeError(`pairs to train on: expected an integer of at least 1, found ${pairs}`);
  }
  checkNumber('batchSize', batchSize);
  checkNumber('gradientAccumulationSteps', gradientAccumulationSteps);
  checkNumber('maxSteps', maxSteps);
  if (maxSteps <= 0) checkNumber('epochs', epochs);
  const microBatchesPerEpoch = Math.ceil(pairs / batchSize);
  const stepsPerEpoch = Math.ceil(microBatchesPerEpoch / gradientAccumulationSteps);
  const totalSteps = maxSteps > 0 ? maxSteps : Math.ceil(epochs * stepsPerEpoch);
  return { pairs, batchSize, gradientAccumulationSteps, microBatchesPerEpoch, stepsPerEpoch, totalSteps };
}

/** The next step's pairs by micro-batch, as positions in the epoch's order, and the cursor after it. */
export function nextStep(plan: Plan, cursor: Cursor): { readonly microBatches: number[][]; readonly after: Cursor } {
  const end = Math.min(plan.pairs, cursor.pair + plan.batchSize * plan.gradientAccumulationSteps);
  const microBatches: number[][] = [];
  for (let start = cursor.pair; start < end; start += plan.batchSize) {
    const size = Math.min(plan.batchSize, end - start);
    microBatches.push(Array.from({ length: size }, (_, i) => start + i));
  }
  const after = end === plan.pairs ? { epoch: cursor.epoch + 1, pair: 0 } : { epoch: cursor.epoch, pair: end };
  return { microBatches, after };
}

/** The position after a number of steps. */
export function cursorAt({ stepsPerEpoch, batchSize, gradientAccumulationSteps }: Plan, step: number): Cursor {
  const epoch = Math.floor(step / stepsPerEpoch);
  return { epoch, pair: (step - epoch * stepsPerEpoch) * batchSize * gradientAccumulationSteps };
}

/** Epochs done, as Hugging Face's Trainer logs it: whole epochs, plus the fraction of this epoch's micro-batches. */
export function epochAt(plan: Plan, cursor: Cursor): number {
  return cursor.epoch + Math.ceil(cursor.pair / plan.batchSize) / plan.microBatchesPerEpoch;
}

export interface BatchOptions {
  readonly pairs: PairSource;
  readonly order?: (epoch: number) => ArrayLike<number>;
  /** Absent where the loss needs none. */
  readonly reference?: Reference;
  /** Packs a step's pairs by tokens instead of by micro-batches. */
  readonly maxTokensPerPack?: number;
}

/** The micro-batches of one step, and the cursor after it. */
export interface StepBatches {
  readonly microBatches: readonly MicroBatch[];
  readonly after: Cursor;
}

/** Returns a function that fetches the pairs of the step at a cursor, with their reference log-probs. */
export function batchLoader(
  { pairs, order, reference, maxTokensPerPack }: BatchOptions,
  plan: Plan,
): (cursor: Cursor) => Promise<StepBatches> {
  let epoch = -1;
  let indices: ArrayLike<number> = [];
  const indexAt = (position: number) => (order ? indices[position]! : position);
  return async (cursor) => {
    if (order && cursor.epoch !== epoch) {
      epoch = cursor.epoch;
      indices = order(epoch);
      if (indices.length !== plan.pairs) {
        throw new TrainingError(`order of epoch ${epoch}: expected ${plan.pairs} indices, found ${indices.length}`);
      }
    }
    const { microBatches, after } = nextStep(plan, cursor);
    const indexed = microBatches.map((positions) =>
      positions.map((position) => {
        const index = indexAt(position);
        const pair = pairAt(pairs, index);
        return { index, pair, tokens: pairLength(pair) };
      }),
    );
    const batches: MicroBatch[] = [];
    for (const batch of maxTokensPerPack ? packByTokens(indexed.flat(), maxTokensPerPack) : indexed) {
      const batchPairs = batch.map(({ pair }) => pair);
      const batchIndices = batch.map(({ index }) => index);
      const references = reference && (await lookUpReference(reference, batchIndices, batchPairs));
      batches.push({ pairs: batchPairs, references });
    }
    return { microBatches: batches, after };
  };
}

/** Divides items, in order, into packs of at most `maxTokens` tokens. An item with more tokens becomes a pack of its own. */
export function packByTokens<T extends { readonly tokens: number }>(items: readonly T[], maxTokens: number): T[][] {
  const packs: T[][] = [];
  let left = 0;
  for (const item of items) {
    if (item.tokens > left) {
      packs.push([]);
      left = maxTokens;
    }
    packs.at(-1)!.push(item);
    left -= item.tokens;
  }
  return packs;
}
