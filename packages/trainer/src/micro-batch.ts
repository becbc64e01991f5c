import { checkLogps, checkPair, checkReference, checkResult, lossError } from './check-pair';
import type { Pause } from './event-loop';
import { type PairLoss, type PairLossResult, type PairResult, pairLogps, type ScoredPair } from './pair-loss';
import type { Forward, PacksOptions, Policy, ReferenceLogps, TokenPair, TokenTerms } from './policy';

/** Pairs that run in one forward pass. */
export interface MicroBatch {
  readonly pairs: readonly TokenPair[];
  /** The reference's log-probs of each pair, in the same order; may be absent where the loss needs none. */
  readonly references?: readonly ReferenceLogps[];
}

export interface RunMicroBatchOptions {
  readonly policy: Policy;
  readonly batch: MicroBatch;
  readonly loss: PairLoss;
  /** The number of the step, for errors and for the policy. Default 0 for the policy. */
  readonly step?: number;
  /**
   * Adds the gradient of `lossScale · Σ losses` to the parameters' gradients. Absent: no backward pass. With 1/n, a step of n
   * pairs has the gradient of the mean over its pairs, whatever micro-batches they run in.
   */
  readonly lossScale?: number;
  /** Awaited between the parts of the passes. Where it throws, gradients may be incomplete. */
  readonly pause?: Pause;
}

/**
 * Runs pairs through the policy and the loss and, where `lossScale` is given, the backward pass.
 *
 * @throws TrainingError naming the pair, where an answer has no tokens; where the reference's log-probs are missing, invalid or
 * summed with another `ldAlpha`; where the policy's log-probs are invalid; or where a loss is not finite. Nothing of this
 * micro-batch has been added to a gradient then.
 */
export async function runMicroBatch(options: RunMicroBatchOptions): Promise<PairResult[]> {
  const { policy, batch, step, lossScale, pause } = options;
  checkBatch(options);
  const train = lossScale !== undefined;
  const forward = await policy.forward(batch.pairs, train ? { train, step: step ?? 0, pause } : { train, pause });
  try {
    return await runPack(forward, options);
  } finally {
    forward.dispose();
  }
}

export interface RunMicroBatchesOptions
  extends Omit<RunMicroBatchOptions, 'batch'>,
    Pick<PacksOptions, 'gradientsReady'> {
  readonly batches: readonly MicroBatch[];
  readonly lossScale: number;
}

/**
 * Runs all micro-batches of a step in one pass, layer by layer, with the results of `runMicroBatch` for each, in their order.
 *
 * @throws Error for a policy without `forwardPacks`; what `runMicroBatch` and `gradientsReady` throw. Gradients may be incomplete then
 */
export async function runMicroBatches(options: RunMicroBatchesOptions): Promise<PairResult[]> {
  const { policy, batches, step = 0, pause, gradientsReady } = options;
  if (!policy.forwardPacks) {
    throw new Error('policy: expected a policy with `forwardPacks`, found one without: it cannot run layer by layer.');
  }
  for (const batch of batches) checkBatch({ ...options, batch });
  const passOptions = { train: true, step, pause, gradientsReady };
  const packs = await policy.forwardPacks(
    batches.map(({ pairs }) => pairs),
    passOptions,
  );
  try {
    const results: PairResult[] = [];
    for (const [i, pack] of packs.entries()) results.push(...(await runPack(pack, { ...options, batch: batches[i]! })));
    return results;
  } finally {
    for (const pack of packs) pack.dispose();
  }
}

type LossOptions = Pick<RunMicroBatchOptions, 'batch' | 'loss' | 'step' | 'lossScale'>;

function checkBatch({ batch: { pairs, references }, loss, step }: LossOptions): void {
  for (const [i, pair] of pairs.entries()) {
    checkPair(pair, step);
    if (loss.needsReference !== false) checkReference(pair, references?.[i], loss.ldAlpha, step);
  }
}

/** The loss of a pack and, where `lossScale` is given, its backward pass. */
async function runPack(forward: Forward, { batch, loss, step, lossScale }: LossOptions): Promise<PairResult[]> {
  const { pairs, references } = batch;
  const terms = await forward.terms(); // [A]
  const answers = splitAnswers(pairs, terms);
  const logps = answers.map((answer, i) => checkLogps(pairs[i]!, answer, step));
  const scored = answers.map((answer, i) => {
    const { id, weight = 1 } = pairs[i]!;
    return { id, ...answer, reference: references?.[i], weight };
  });
  const losses = await runLoss(loss, scored, pairs, step);
  const results = losses.map((result, i) => {
    const chosen = pairLogps(answers[i]!, loss.ldAlpha).chosen;
    return pairResult(pairs[i]!, result, logps[i]!, (references?.[i]?.chosen ?? 0) - chosen);
  });
  for (const [i, result] of results.entries()) checkResult(result, references?.[i], step);
  if (lossScale !== undefined) await forward.backward(joinGradients(losses, lossScale, terms.logps.length));
  return results;
}

async function runLoss(
  loss: PairLoss,
  scored: readonly ScoredPair[],
  pairs: readonly TokenPair[],
  step: number | undefined,
): Promise<readonly PairLossResult[]> {
  try {
    return await loss(scored);
  } catch (error) {
    throw lossError(error, pairs, step);
  }
}

/** Each pair's part of the flat terms. The arrays are views: nothing is copied. */
export function splitAnswers(
  pairs: readonly TokenPair[],
  { logps, logSumSquares, logMax }: TokenTerms,
): Pick<ScoredPair, 'chosen' | 'rejected'>[] {
  let start = 0;
  const next = ({ length }: ArrayLike<number>): TokenTerms => {
    const end = start + length;
    const answer = {
      logps: logps.subarray(start, end),
      logSumSquares: logSumSquares.subarray(start, end),
      logMax: logMax.subarray(start, end),
    };
    start = end;
    return answer;
  };
  return pairs.map((pair) => ({ chosen: next(pair.chosen), rejected: next(pair.rejected) }));
}

/** d (`scale` · Σ losses) / d logps `[A]`, in the order of the terms. */
function joinGradients(losses: readonly PairLossResult[], scale: number, length: number): Float32Array {
  const dLogps = new Float32Array(length);
  let at = 0;
  for (const { gradient } of losses) {
    for (const answer of [gradient.chosen, gradient.rejected]) {
      for (let t = 0; t < answer.length; t++) dLogps[at++] = scale * answer[t]!;
    }
  }
  if (at === length) return dLogps;
  throw new RangeError(`the loss returned gradients for ${at} answer tokens: expected ${length}, one for each token`);
}

const pairResult = (
  pair: TokenPair,
  { loss, weight, chosenReward, rejectedReward }: PairLossResult,
  logps: ReturnType<typeof pairLogps>,
  chosenDrop: number,
): PairResult => ({
  id: pair.id,
  loss,
  weight,
  chosenReward,
  rejectedReward,
  chosenLogps: logps.chosen,
  rejectedLogps: logps.rejected,
  chosenDrop,
  chosenTokens: pair.chosen.length,
  wpoWeight: pair.weight ? weight / pair.weight : weight,
  tokens: 2 * pair.prompt.length + pair.chosen.length + pair.rejected.length,
});
