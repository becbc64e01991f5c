import { type ReferenceLogps, referenceLogps } from '@wpo/trainer';
import { lengthsOf, readPairs } from '../pairs';
import type { PairLengths } from '../products';
import { openPolicy, secondsSince } from './open';

export interface ReferenceAnswer extends ReferenceLogps {
  readonly seconds: number;
  readonly lengths: PairLengths;
}

/** Log-probs of both answers of a pair, without gradients. */
export async function openReference(options: { readonly model: string; readonly pairs: string }) {
  const pairs = await readPairs(options.model, options.pairs);
  const { policy } = await openPolicy(options.model);
  return async ({ pair }: { pair: number }) => {
    const start = performance.now();
    const [logps] = await referenceLogps(policy, [pairs[pair]!]);
    const seconds = secondsSince(start);
    return async (): Promise<ReferenceAnswer> => ({ seconds, ...logps!, lengths: lengthsOf(pairs[pair]!) });
  };
}
