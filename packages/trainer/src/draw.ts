import { TrainingError } from './errors';
import type { MicroBatch } from './micro-batch';
import { type PairSource, pairAt } from './pairs';
import { type Cursor, nextStep, type Plan } from './plan';
import type { TokenPair } from './policy';
import { lookUpReference, type Reference } from './reference';

export interface DrawOptions {
  readonly pairs: PairSource;
  readonly order?: (epoch: number) => ArrayLike<number>;
  /** Absent where the loss looks at none. */
  readonly reference?: Reference;
  /** Runs a step's pairs in packs of at most so many tokens instead of micro-batches. */
  readonly maxTokensPerPack?: number;
}

/** The micro-batches of a step, and where the step after it starts. */
export interface Drawn {
  readonly microBatches: readonly MicroBatch[];
  readonly after: Cursor;
}

/** Fetches the pairs of the step at a cursor, with their reference's log-probs. */
export function pairDrawer(
  { pairs, order, reference, maxTokensPerPack }: DrawOptions,
  plan: Plan,
): (cursor: Cursor) => Promise<Drawn> {
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
    const named = microBatches.map((positions) =>
      positions.map(at).map((index) => {
        const pair = pairAt(pairs, index);
        return { index, pair, tokens: tokensOf(pair) };
      }),
    );
    const batches: MicroBatch[] = [];
    for (const batch of maxTokensPerPack ? packsOf(named.flat(), maxTokensPerPack) : named) {
      const drawn = batch.map(({ pair }) => pair);
      const indices = batch.map(({ index }) => index);
      batches.push({ pairs: drawn, references: reference && (await lookUpReference(reference, indices, drawn)) });
    }
    return { microBatches: batches, after };
  };
}

/** Tokens that a pair has run: the prompt once, and both answers. */
export const tokensOf = ({ prompt, chosen, rejected }: TokenPair): number =>
  prompt.length + chosen.length + rejected.length;

/** Cuts pairs, in order, into runs of at most `most` tokens; a longer pair goes by itself. */
export function packsOf<P extends { readonly tokens: number }>(drawn: readonly P[], most: number): P[][] {
  const packs: P[][] = [];
  let left = 0;
  for (const one of drawn) {
    if (one.tokens > left) {
      packs.push([]);
      left = most;
    }
    packs.at(-1)!.push(one);
    left -= one.tokens;
  }
  return packs;
}
