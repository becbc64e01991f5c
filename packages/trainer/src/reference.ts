import * as tf from '@tensorflow/tfjs-core';
import { ldLogps } from '@wpo/loss';
import { breathe } from './breathe';
import { checkPair } from './check-pair';
import { TrainingError } from './errors';
import { onProcessor } from './on-processor';
import { splitSides, stackPairs } from './pad';
import type { PairLoss } from './pair-loss';
import { type PairSource, pairAt } from './pairs';
import type { PairTerms, Policy, TokenPair } from './policy';

/** log π_ref of a pair's answers: the sums over their tokens. */
export interface ReferenceLogps {
  readonly chosen: number;
  readonly rejected: number;
  /** LD-DPO's α that the sums were taken with, by `ldLogps`; absent, all tokens count in full. */
  readonly ldAlpha?: number;
}

/**
 * Where the reference's log-probs come from: a list, entry i for pair i of the data, computed before training; or a
 * function that is asked for each micro-batch, answering in its order.
 */
export type Reference =
  | readonly ReferenceLogps[]
  | ((pairs: readonly TokenPair[]) => readonly ReferenceLogps[] | Promise<readonly ReferenceLogps[]>);

/** Keeps reference log-probs between runs. A list may be cut short by a stop: what was kept of it is gone on from. */
export interface ReferenceCache {
  /** The first entries kept under this key, in the pairs' order; empty where there are none. */
  read(key: string): Promise<readonly ReferenceLogps[]>;
  /** Keeps `values` as the entries from `start` on. */
  append(key: string, start: number, values: readonly ReferenceLogps[]): Promise<void>;
}

export interface PrecomputeReferenceOptions {
  /** The reference: usually the model that training starts from, before its first step. */
  readonly policy: Policy;
  readonly pairs: PairSource;
  /** The `ldAlpha` of the loss that the values are for. */
  readonly ldAlpha?: number;
  /** Pairs run at once; 1. */
  readonly batchSize?: number;
  readonly cache?: ReferenceCache;
  /** Must tell apart all that the values depend on: the model, the pairs' token ids, the encoding, `ldAlpha`. */
  readonly key?: string;
  /** Stops between batches, by throwing the signal's reason; a cache keeps what was done. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Runs the reference once over all pairs, so that training holds one model and not two.
 *
 * @throws TrainingError naming the pair, where a log-prob is not finite or an answer has no tokens.
 */
export async function precomputeReference(options: PrecomputeReferenceOptions): Promise<ReferenceLogps[]> {
  const { policy, pairs, ldAlpha, batchSize = 1, cache, key = '', signal, onProgress } = options;
  const values = [...((await cache?.read(key)) ?? [])].slice(0, pairs.length);
  onProgress?.(values.length, pairs.length);
  while (values.length < pairs.length) {
    signal?.throwIfAborted();
    const start = values.length;
    const batch = Array.from({ length: Math.min(batchSize, pairs.length - start) }, (_, i) => pairAt(pairs, start + i));
    const found = await referenceLogps(policy, batch, { ldAlpha });
    await cache?.append(key, start, found);
    values.push(...found);
    onProgress?.(values.length, pairs.length);
    await breathe();
  }
  return values;
}

/**
 * log π of both answers of each pair under a policy, without gradients.
 *
 * @param options.ldAlpha of the loss that they are for.
 */
export async function referenceLogps(
  policy: Policy,
  pairs: readonly TokenPair[],
  { ldAlpha }: { readonly ldAlpha?: number } = {},
): Promise<ReferenceLogps[]> {
  for (const pair of pairs) checkPair(pair);
  const forward = policy.forward(pairs, { train: false });
  try {
    // summed as a loss sums the policy's, so that a policy which has not moved ties with its reference to the last bit
    const sums = onProcessor(() => tf.tidy(() => sumsOf(forward.pairs, ldAlpha))); // [2, B]
    const [chosen, rejected] = (await sums.array()) as [number[], number[]];
    sums.dispose();
    const how = ldAlpha === undefined ? {} : { ldAlpha };
    return pairs.map((pair, i) => checked(pair, { chosen: chosen[i]!, rejected: rejected[i]!, ...how }));
  } finally {
    forward.dispose();
  }
}

function sumsOf(answers: readonly PairTerms[], ldAlpha: number | undefined): tf.Tensor {
  const { chosen, rejected } = splitSides(stackPairs(answers));
  if (ldAlpha === undefined) return tf.stack([chosen.logps, rejected.logps]);
  const sums = ldLogps({ chosen: chosen.tokens, rejected: rejected.tokens }, ldAlpha);
  return tf.stack([sums.chosen, sums.rejected]);
}

function checked(pair: TokenPair, logps: ReferenceLogps): ReferenceLogps {
  if (Number.isFinite(logps.chosen) && Number.isFinite(logps.rejected)) return logps;
  throw new TrainingError(
    `the reference's log-probs of pair "${pair.id}" are ${logps.chosen} (chosen) and ${logps.rejected} (rejected): ` +
      'they must be finite. Check the weights of the reference model, and the row.',
    { pairId: pair.id },
  );
}

/**
 * The reference to ask for a loss: none where the loss looks at none, though there be one.
 *
 * @throws TrainingError where it looks at one and there is none.
 */
export function referenceOf(loss: PairLoss, reference: Reference | undefined): Reference | undefined {
  if (loss.needsReference === false) return undefined;
  if (reference) return reference;
  throw new TrainingError(
    'there is no reference, and the loss looks at one: give `reference`, as precomputeReference or referenceLogps make it.',
  );
}

/** The reference log-probs of the pairs at `indices` of the data. */
export async function lookUpReference(
  reference: Reference,
  indices: readonly number[],
  pairs: readonly TokenPair[],
): Promise<readonly ReferenceLogps[]> {
  const found = typeof reference === 'function' ? await reference(pairs) : indices.map((index) => reference[index]);
  const missing = pairs.find((_, i) => found[i] === undefined);
  if (!missing && found.length === pairs.length) return found as readonly ReferenceLogps[];
  throw new TrainingError(
    `the reference gave ${found.filter((value) => value !== undefined).length} log-prob entries for ${pairs.length} ` +
      `pairs${missing ? ` and none for pair "${missing.id}"` : ''}: it must have one for each pair, in their order.`,
    missing ? { pairId: missing.id } : {},
  );
}
