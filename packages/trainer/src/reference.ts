import { checkNumber } from './check-number';
import { checkPair } from './check-pair';
import { inRounds } from './data-parallel';
import { TrainingError } from './errors';
import { type Pause, pauseAndCheck, yieldToEventLoop } from './event-loop';
import { type Group, onFirstRank, soloGroup } from './group';
import { splitAnswers } from './micro-batch';
import { type PairLoss, pairLogps } from './pair-loss';
import { type PairSource, type Policy, pairAt, pairLength, type ReferenceLogps, type TokenPair } from './policy';

/**
 * The source of the reference's log-probs: a list computed before training, entry i for pair i of the data; or a function that
 * is called with each micro-batch and returns one entry per pair, in the same order.
 */
export type Reference =
  | readonly ReferenceLogps[]
  | ((pairs: readonly TokenPair[]) => readonly ReferenceLogps[] | Promise<readonly ReferenceLogps[]>);

/** Keeps reference log-probs between runs. A list may be incomplete where a run was stopped; the next run continues it. */
export interface ReferenceCache {
  /** The first entries stored under this key, in the pairs' order; empty where there are none. */
  read(key: string): Promise<readonly ReferenceLogps[]>;
  /** Stores `values` as the entries from index `start` on. */
  append(key: string, start: number, values: readonly ReferenceLogps[]): Promise<void>;
}

export interface PrecomputeReferenceOptions {
  /** The reference: usually the initial model, before its first step. */
  readonly policy: Policy;
  readonly pairs: PairSource;
  /** The `ldAlpha` of the loss that the values are for. */
  readonly ldAlpha?: number;
  /** Pairs in one forward pass. Default 1. */
  readonly batchSize?: number;
  readonly cache?: ReferenceCache;
  /** Must change with everything that the values depend on: the model, the pairs' token ids, the encoding, `ldAlpha`. */
  readonly key?: string;
  /** Stops between layers and batches by throwing the signal's reason. The cache keeps what was computed. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
  /** Processes that divide the pairs among them. Only rank 0 uses the cache. Default: this process alone. */
  readonly group?: Group;
}

/**
 * Runs the reference once over all pairs, so that training holds one model in memory instead of two.
 *
 * @throws TrainingError naming the pair, where a log-prob is not finite or an answer has no tokens; RangeError for a `batchSize` below 1.
 */
export async function precomputeReference(options: PrecomputeReferenceOptions): Promise<ReferenceLogps[]> {
  const { policy, pairs, ldAlpha, batchSize = 1, cache, key = '', signal, onProgress, group = soloGroup } = options;
  checkNumber('batchSize', batchSize);
  const cached = await onFirstRank(group, 'reference log-probs of an earlier run', () => cache?.read(key));
  const values = [...(cached ?? [])].slice(0, pairs.length);
  onProgress?.(values.length, pairs.length);
  const pause = pauseAndCheck(() => signal?.throwIfAborted());
  const from = values.length;
  const starts = Array.from({ length: Math.ceil((pairs.length - from) / batchSize) }, (_, i) => from + i * batchSize);
  const batchOf = (start: number) =>
    Array.from({ length: Math.min(batchSize, pairs.length - start) }, (_, i) => pairAt(pairs, start + i));
  if (starts.length > 0) signal?.throwIfAborted();
  await inRounds({
    ...{ group, items: starts, what: 'reference log-probs' },
    cost: (start) => batchOf(start).reduce((total, pair) => total + pairLength(pair), 0),
    width: (start) => 2 * batchOf(start).length,
    async work(start) {
      const computed = await referenceLogps(policy, batchOf(start), { ldAlpha, pause });
      return computed.flatMap(({ chosen, rejected }) => [chosen, rejected]);
    },
    async onResults(now, numbers) {
      const flat = numbers.flatMap((part) => [...part]);
      const computed = Array.from({ length: flat.length / 2 }, (_, i) => {
        const logps = { chosen: flat[2 * i]!, rejected: flat[2 * i + 1]! };
        return ldAlpha === undefined ? logps : { ...logps, ldAlpha };
      });
      if (group.rank === 0) await cache?.append(key, now[0]!, computed);
      values.push(...computed);
      onProgress?.(values.length, pairs.length);
      await yieldToEventLoop();
      if (values.length < pairs.length) signal?.throwIfAborted();
      return true;
    },
  });
  return values;
}

/**
 * log π of both answers of each pair under a policy, without gradients. The loss takes the same sums, so that a policy whose
 * weights have not changed has the same log-probs as its reference, bit for bit.
 *
 * @throws TrainingError naming the pair, where a log-prob is not finite or an answer has no tokens.
 */
export async function referenceLogps(
  policy: Policy,
  pairs: readonly TokenPair[],
  {
    ldAlpha,
    pause,
  }: {
    /** The `ldAlpha` of the loss that the values are for. */
    readonly ldAlpha?: number;
    /** Awaited between the parts of the pass; what it throws ends it. */
    readonly pause?: Pause;
  } = {},
): Promise<ReferenceLogps[]> {
  for (const pair of pairs) checkPair(pair);
  const forward = await policy.forward(pairs, { train: false, pause });
  try {
    const answers = splitAnswers(pairs, await forward.terms());
    return answers.map((answer, i) => {
      const logps = finiteLogps(pairs[i]!, answer, ldAlpha);
      return ldAlpha === undefined ? logps : { ...logps, ldAlpha };
    });
  } finally {
    forward.dispose();
  }
}

function finiteLogps(pair: TokenPair, answer: Parameters<typeof pairLogps>[0], ldAlpha: number | undefined) {
  const refuse: (problem: string) => never = (problem) => {
    throw new TrainingError(
      `pair "${pair.id}": expected finite reference log-probs, found ${problem}. Check the weights of the reference model, ` +
        'and the row.',
      { pairId: pair.id },
    );
  };
  let logps: ReturnType<typeof pairLogps>;
  try {
    logps = pairLogps(answer, ldAlpha);
  } catch (error) {
    return refuse((error as Error).message);
  }
  const { chosen, rejected } = logps;
  if (Number.isFinite(chosen) && Number.isFinite(rejected)) return logps;
  return refuse(`${chosen} (chosen) and ${rejected} (rejected)`);
}

/**
 * The reference that a loss needs: none where it needs none, even if one is given.
 *
 * @throws TrainingError where it needs one and none is given.
 */
export function referenceOf(loss: PairLoss, reference: Reference | undefined): Reference | undefined {
  if (loss.needsReference === false) return undefined;
  if (reference) return reference;
  throw new TrainingError(
    'expected `reference`, found none: the loss needs it. Compute it with precomputeReference or referenceLogps.',
  );
}

/** The reference log-probs of `pairs`, which have these `indices` in the data. */
export async function lookUpReference(
  reference: Reference,
  indices: readonly number[],
  pairs: readonly TokenPair[],
): Promise<readonly ReferenceLogps[]> {
  const values = typeof reference === 'function' ? await reference(pairs) : indices.map((index) => reference[index]);
  const missing = pairs.find((_, i) => values[i] === undefined);
  if (!missing && values.length === pairs.length) return values as readonly ReferenceLogps[];
  const count = values.filter((value) => value !== undefined).length;
  throw new TrainingError(
    `reference: expected log-probs of ${pairs.length} pairs in their order, found ${count}` +
      `${missing ? `, none for pair "${missing.id}"` : ''}.`,
    missing ? { pairId: missing.id } : {},
  );
}
