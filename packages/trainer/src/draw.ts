import { TrainingError } from './errors';
import type { MicroBatch } from './micro-batch';
import { type PairSource, pairAt } from './pairs';
import { type Cursor, nextStep, type Plan } from './plan';
import { lookUpReference, type Reference } from './reference';

export interface DrawOptions {
  readonly pairs: PairSource;
  readonly order?: (epoch: number) => ArrayLike<number>;
  readonly reference: Reference;
}

/** The micro-batches of a step, and where the step after it starts. */
export interface Drawn {
  readonly microBatches: readonly MicroBatch[];
  readonly after: Cursor;
}

/** Fetches the pairs of the step at a cursor, with their reference's log-probs. */
export function pairDrawer({ pairs, order, reference }: DrawOptions, plan: Plan): (cursor: Cursor) => Promise<Drawn> {
  let epoch = -1;
  let indices: ArrayLike<number> = [];
  const at = (position: number) => (order ? indices[position]! : position);
  return async (cursor) => {
    if (order && cursor.epoch !== epoch) {
      epoch = cursor.epoch;
      indices = order(epoch);
      if (indices.length !== plan.pairs) {
        throw new TrainingError(`the order of epoch ${epoch} has ${indices.length} entries for ${plan.pairs} pairs`);
      }
    }
    const { microBatches, after } = nextStep(plan, cursor);
    const batches: MicroBatch[] = [];
    for (const positions of microBatches) {
      const batch = positions.map(at);
      const drawn = batch.map((index) => pairAt(pairs, index));
      batches.push({ pairs: drawn, references: await lookUpReference(reference, batch, drawn) });
    }
    return { microBatches: batches, after };
  };
}
