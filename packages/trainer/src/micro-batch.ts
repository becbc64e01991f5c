// B pairs, T the longest answer's tokens.
import * as tf from '@tensorflow/tfjs-core';
import { TrainingError } from './errors';
import { type PaddedAnswers, splitSides, stackPairs } from './pad';
import type { PairLoss } from './pair-loss';
import type { PairGradient, Policy, TokenPair } from './policy';
import type { ReferenceLogps } from './reference';

/** Pairs that are run at once, and the reference's log-probs of each, in the same order. */
export interface MicroBatch {
  readonly pairs: readonly TokenPair[];
  readonly references: readonly ReferenceLogps[];
}

/** The numbers of one pair. */
export interface PairResult {
  readonly id: string;
  readonly loss: number;
  readonly weight: number;
  readonly chosenReward: number;
  readonly rejectedReward: number;
  readonly chosenLogps: number;
  readonly rejectedLogps: number;
  /** Tokens of both sequences, the prompt counted with each answer as TRL counts them. */
  readonly tokens: number;
}

export interface RunMicroBatchOptions {
  readonly policy: Policy;
  readonly batch: MicroBatch;
  readonly loss: PairLoss;
  /** The step being made, for errors. */
  readonly step?: number;
  /**
   * Adds the gradient of `lossScale · Σ losses` to the parameters' gradients; absent, no gradient is computed.
   * 1/n makes a step of n pairs the mean over them, however they are cut into micro-batches.
   */
  readonly lossScale?: number;
}

/**
 * Runs pairs through the policy and the loss, and, given a scale, back.
 *
 * @throws TrainingError naming the pair, where an answer has no tokens or a loss is not finite; in the latter case
 * before anything of this micro-batch has been added to a gradient.
 */
export async function runMicroBatch(options: RunMicroBatchOptions): Promise<PairResult[]> {
  const { policy, batch, loss, step, lossScale } = options;
  for (const pair of batch.pairs) checkPair(pair, step);
  const train = lossScale !== undefined;
  const forward = policy.forward(batch.pairs, { train });
  try {
    const answers = stackPairs(forward.pairs); // [2B, T]
    const { gradient, numbers } = differentiate(loss, answers, batch, lossScale);
    tf.dispose(Object.values(answers));
    try {
      const results = pairResults(batch.pairs, (await numbers.array()) as number[][]);
      for (const [i, result] of results.entries()) checkFinite(result, batch.references[i], step);
      if (gradient) backward(gradient, batch.pairs, (gradients) => forward.backward(gradients));
      return results;
    } finally {
      tf.dispose([numbers, ...(gradient ? [gradient] : [])]);
    }
  } finally {
    forward.dispose();
  }
}

/** `numbers` `[6, B]`, and the gradient with respect to the stacked answers' log-probs, `[2B, T]`. */
function differentiate(loss: PairLoss, answers: PaddedAnswers, batch: MicroBatch, lossScale: number | undefined) {
  let numbers: tf.Tensor | undefined;
  const total = (logps: tf.Tensor) => {
    const { losses, table } = lossTable(loss, { ...answers, logps: logps as tf.Tensor2D }, batch);
    numbers = tf.keep(table);
    return tf.mul(tf.sum(losses), lossScale ?? 1) as tf.Scalar;
  };
  const gradient =
    lossScale === undefined ? void tf.dispose(tf.tidy(() => total(answers.logps))) : tf.grad(total)(answers.logps);
  return { gradient, numbers: numbers! };
}

function lossTable(loss: PairLoss, answers: PaddedAnswers, batch: MicroBatch) {
  const { chosen, rejected } = splitSides(answers);
  const { losses, weights, chosenRewards, rejectedRewards } = loss({
    chosen: chosen.tokens,
    rejected: rejected.tokens,
    chosenLogps: chosen.logps,
    rejectedLogps: rejected.logps,
    refChosenLogps: tf.tensor1d(batch.references.map((reference) => reference.chosen)),
    refRejectedLogps: tf.tensor1d(batch.references.map((reference) => reference.rejected)),
    pairWeights: tf.tensor1d(batch.pairs.map((pair) => pair.weight ?? 1)),
  });
  const table = tf.stack([losses, weights, chosenRewards, rejectedRewards, chosen.logps, rejected.logps]); // [6, B]
  return { losses, table };
}

function pairResults(pairs: readonly TokenPair[], numbers: number[][]): PairResult[] {
  const [losses, weights, chosenRewards, rejectedRewards, chosenLogps, rejectedLogps] = numbers as [
    number[],
    number[],
    number[],
    number[],
    number[],
    number[],
  ];
  return pairs.map((pair, i) => ({
    id: pair.id,
    loss: losses[i]!,
    weight: weights[i]!,
    chosenReward: chosenRewards[i]!,
    rejectedReward: rejectedRewards[i]!,
    chosenLogps: chosenLogps[i]!,
    rejectedLogps: rejectedLogps[i]!,
    tokens: 2 * pair.prompt.length + pair.chosen.length + pair.rejected.length,
  }));
}

/** Cuts the padded gradient `[2B, T]` into each answer's own tokens and hands it on. */
function backward(
  gradient: tf.Tensor,
  pairs: readonly TokenPair[],
  accept: (gradients: readonly PairGradient[]) => void,
): void {
  const row = (at: number, length: number) =>
    tf.tidy(() => tf.reshape(tf.slice(gradient, [at, 0], [1, length]), [length]) as tf.Tensor1D);
  const gradients = pairs.map((pair, i) => ({
    chosen: row(i, pair.chosen.length),
    rejected: row(pairs.length + i, pair.rejected.length),
  }));
  try {
    accept(gradients);
  } finally {
    tf.dispose(gradients.flatMap(({ chosen, rejected }) => [chosen, rejected]));
  }
}

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

function checkFinite(result: PairResult, reference: ReferenceLogps | undefined, step: number | undefined): void {
  if (Number.isFinite(result.loss)) return;
  const cause = !(Number.isFinite(reference?.chosen) && Number.isFinite(reference?.rejected))
    ? 'The reference log-probs are not finite: check the reference model, and clear the reference cache.'
    : step === undefined || step <= 1
      ? 'No step has been made yet: check the row itself, and the weights of the model that training starts from.'
      : 'Resume from the last checkpoint with a lower learning_rate, a longer warm-up or a lower max_grad_norm; if it ' +
        'comes back at the same pair, look at the row and leave it out.';
  throw new TrainingError(
    `${at(step)}the loss of pair "${result.id}" is ${result.loss} (weight ${result.weight}, chosen log-prob ` +
      `${result.chosenLogps}, rejected ${result.rejectedLogps}; reference ${reference?.chosen} and ` +
      `${reference?.rejected}). No weight was changed. ${cause}`,
    { step, pairId: result.id },
  );
}
