import { TrainingError } from './errors';
import type { PairResult } from './micro-batch';
import type { TokenPair } from './policy';
import type { ReferenceLogps } from './reference';

const at = (step: number | undefined) => (step === undefined ? '' : `step ${step}: `);

/** @throws TrainingError where the prompt or an answer has no tokens: nothing to predict from, or no mean to take. */
export function checkPair(pair: TokenPair, step?: number): void {
  for (const part of ['prompt', 'chosen', 'rejected'] as const) {
    if (pair[part].length > 0) continue;
    throw new TrainingError(
      `${at(step)}pair "${pair.id}" has no ${part} tokens (prompt ${pair.prompt.length}, chosen ${pair.chosen.length}, ` +
        `rejected ${pair.rejected.length}): each needs at least one. Change max_length or max_prompt_length, or leave ` +
        'the row out.',
      { step, pairId: pair.id },
    );
  }
}

/** @throws TrainingError where a pair lacks its reference's log-probs, they are none, or were summed with another `ldAlpha`. */
export function checkReference(
  pair: TokenPair,
  reference: ReferenceLogps | undefined,
  ldAlpha = 1,
  step?: number,
): void {
  const refuse: (problem: string) => never = (problem) => {
    throw new TrainingError(`${at(step)}pair "${pair.id}": ${problem}`, { step, pairId: pair.id });
  };
  const {
    chosen,
    rejected,
    ldAlpha: found = 1,
  } = reference ?? refuse('the reference’s log-probs are missing, which the loss looks at: give `references`.');
  if (found !== ldAlpha) {
    refuse(
      `the reference's log-probs were summed with ldAlpha ${found}, but the loss has ldAlpha ${ldAlpha}. Give ` +
        'precomputeReference or referenceLogps the ldAlpha of the loss; a cache of others must have another key.',
    );
  }
  if (isAbove0(chosen, pair.chosen) || isAbove0(rejected, pair.rejected)) {
    refuse(`the reference's log-probs are ${chosen} (chosen) and ${rejected} (rejected), but ${LOG_PROBS}`);
  }
}

/** @throws TrainingError where a loss is not finite, or what the policy gave is no log-prob. */
export function checkResult(
  pair: TokenPair,
  result: PairResult,
  reference: ReferenceLogps | undefined,
  step: number | undefined,
): void {
  const { loss, chosenLogps, rejectedLogps } = result;
  const known = !Number.isNaN(chosenLogps) && !Number.isNaN(rejectedLogps);
  if (isAbove0(chosenLogps, pair.chosen) || isAbove0(rejectedLogps, pair.rejected)) {
    throw new TrainingError(
      `${at(step)}the log-probs of pair "${pair.id}" are ${chosenLogps} (chosen) and ${rejectedLogps} (rejected), but ` +
        `${LOG_PROBS} No weight was changed.`,
      { step, pairId: pair.id },
    );
  }
  if (Number.isFinite(loss) && known) return;
  const cause =
    reference && !(Number.isFinite(reference.chosen) && Number.isFinite(reference.rejected))
      ? 'The reference log-probs are not finite: check the reference model, and clear the reference cache.'
      : step === undefined || step <= 1
        ? 'No step has been made yet: check the row itself, and the weights of the model that training starts from.'
        : 'Resume from the last checkpoint with a lower learning_rate, a longer warm-up or a lower max_grad_norm; if it ' +
          'comes back at the same pair, look at the row and leave it out.';
  const against = reference ? `; reference ${reference.chosen} and ${reference.rejected}` : '';
  throw new TrainingError(
    `${at(step)}the loss of pair "${pair.id}" is ${loss} (weight ${result.weight}, chosen log-prob ${chosenLogps}, ` +
      `rejected ${rejectedLogps}${against}). No weight was changed. ${cause}`,
    { step, pairId: pair.id },
  );
}

const LOG_PROBS =
  'a log-prob is at most 0 but for rounding: a policy takes log_softmax of its logits, and picks the answer’s tokens.';

/** Whether an answer's sum of log-probs is above 0 by more than float32 rounds in each token. */
const isAbove0 = (sum: number, { length }: ArrayLike<number>) => sum > 1e-3 * length;
