import { NonFiniteError, TrainingError } from './errors';
import { type PairResult, pairLogps, type ScoredPair } from './pair-loss';
import type { ReferenceLogps, TokenPair } from './policy';

/** @throws TrainingError where the prompt or an answer has no tokens. */
export function checkPair(pair: TokenPair, step?: number): void {
  for (const part of ['prompt', 'chosen', 'rejected'] as const) {
    if (pair[part].length > 0) continue;
    refuse(
      pair.id,
      step,
      `expected at least one token in prompt, chosen and rejected, found ${pair.prompt.length}, ${pair.chosen.length} and ` +
        `${pair.rejected.length}. Change max_length or max_prompt_length, or remove the row.`,
    );
  }
}

/** @throws TrainingError where the reference's log-probs of a pair are missing, invalid, or summed with another `ldAlpha`. */
export function checkReference(
  pair: TokenPair,
  reference: ReferenceLogps | undefined,
  ldAlpha = 1,
  step?: number,
): void {
  const {
    chosen,
    rejected,
    ldAlpha: found = 1,
  } = reference ??
  refuse(pair.id, step, 'expected reference log-probs, found none. Give `references`: the loss needs them.');
  if (found !== ldAlpha) {
    refuse(
      pair.id,
      step,
      `expected reference log-probs summed with ldAlpha ${ldAlpha}, as the loss sums, found ldAlpha ${found}. Give ` +
        'precomputeReference or referenceLogps the ldAlpha of the loss, and use another cache key for it.',
    );
  }
  if (!isLogp(chosen, pair.chosen) || !isLogp(rejected, pair.rejected)) {
    refuse(
      pair.id,
      step,
      `expected reference log-probs of at most 0, found ${chosen} (chosen) and ${rejected} (rejected). Check the reference ` +
        'model, which must compute log_softmax of its logits, and clear the reference cache.',
    );
  }
}

/**
 * log π(y) of both answers under the policy.
 *
 * @throws TrainingError where a token's log-prob is NaN, or above 0 by more than rounding.
 */
export function checkLogps(
  pair: TokenPair,
  answer: Pick<ScoredPair, 'chosen' | 'rejected'>,
  step: number | undefined,
): ReturnType<typeof pairLogps> {
  try {
    return pairLogps(answer);
  } catch (error) {
    return refuse(
      pair.id,
      step,
      `the policy's log-probs are invalid: ${(error as Error).message} No weight was changed. A policy takes log_softmax of ` +
        `its logits. ${adviceAt(step)}`,
      NonFiniteError,
    );
  }
}

/** @throws TrainingError where a loss is not finite. */
export function checkResult(
  { id, loss, weight, chosenLogps, rejectedLogps }: PairResult,
  reference: ReferenceLogps | undefined,
  step: number | undefined,
): void {
  if (Number.isFinite(loss)) return;
  const referenceIsFinite = !reference || (Number.isFinite(reference.chosen) && Number.isFinite(reference.rejected));
  const advice = referenceIsFinite
    ? adviceAt(step)
    : 'The reference log-probs are not finite: check the reference model, and clear the reference cache.';
  const against = reference ? `, reference log-probs ${reference.chosen} and ${reference.rejected}` : '';
  refuse(
    id,
    step,
    `expected a finite loss, found ${loss} (weight ${weight}, log-probs ${chosenLogps} (chosen) and ${rejectedLogps} ` +
      `(rejected)${against}). No weight was changed. ${advice}`,
    NonFiniteError,
  );
}

function refuse(pairId: string, step: number | undefined, problem: string, ErrorType = TrainingError): never {
  const at = step === undefined ? '' : `step ${step}: `;
  throw new ErrorType(`${at}pair "${pairId}": ${problem}`, { step, pairId });
}

/** Adds step and pairs to an error of the loss function. */
export function lossError(error: unknown, pairs: readonly TokenPair[], step: number | undefined): TrainingError {
  const ids = pairs.map(({ id }) => `"${id}"`).join(', ');
  const at = step === undefined ? '' : `step ${step}: `;
  const pairId = pairs.length === 1 ? pairs[0]!.id : undefined;
  const message = error instanceof Error ? error.message : String(error);
  return new TrainingError(`${at}the loss of pair ${ids} failed: ${message}`, { step, pairId, cause: error });
}

/** What to do after a loss or a gradient that is not finite. `restoreState` accepts this change. */
export const RESUME_ADVICE =
  'Resume from the last checkpoint with a lower learning_rate. If the same pair fails again, set skip_nonfinite to leave out its ' +
  'step, or inspect its row and start a new run without it.';

/** In the first step no update can have caused the fault. */
const adviceAt = (step: number | undefined) =>
  step === undefined || step <= 1
    ? 'No update has been made yet: check the row, and the weights of the initial model.'
    : RESUME_ADVICE;

/** Whether a sum of log-probs is at most 0, up to float32 rounding of each token; NaN is not. */
const isLogp = (sum: number, { length }: ArrayLike<number>) => sum <= 1e-3 * length;
