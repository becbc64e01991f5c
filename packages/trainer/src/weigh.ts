import {
  type Alignment,
  answerScores,
  dpoLoss,
  type LossOptions,
  type LossType,
  preferenceLoss,
  type WeightOptions,
  wpoWeights,
} from '@wpo/loss/scalar';
import { checkLogps, checkPair } from './check-pair';
import { TrainingError } from './errors';
import type { Pause } from './event-loop';
import { splitAnswers } from './micro-batch';
import type { Policy, ReferenceLogps, TokenPair, TokenTerms } from './policy';

/** s(y) of an answer by each alignment: the mean over its tokens of log p minus the alignment term. */
export type AlignedScores = Readonly<Record<Alignment, number>>;

/** The weight of one pair under a policy, and the losses that training would compute for it. */
export interface WeighedPair {
  readonly pair: TokenPair;
  /** log π(y): sums over the answer's tokens. */
  readonly chosenLogps: number;
  readonly rejectedLogps: number;
  readonly refChosenLogps: number;
  readonly refRejectedLogps: number;
  readonly scores: { readonly chosen: AlignedScores; readonly rejected: AlignedScores };
  /** The WPO weight, times the pair's weight from the data. */
  readonly weight: number;
  readonly dpoLoss: number;
  /** The loss of `lossType`, without the weight. */
  readonly loss: number;
}

export interface WeighPairOptions extends WeightOptions, LossOptions {
  /** The reference's log-probs of the pair. Absent: the policy is its own reference. */
  readonly reference?: ReferenceLogps;
  /** A loss of single pairs. Default `sigmoid`, the DPO loss. */
  readonly lossType?: LossType;
  /** KTO's reference point. */
  readonly kl?: number;
  /** Awaited between the parts of the pass; what it throws ends it. */
  readonly pause?: Pause;
}

const ALIGNMENTS = ['sampled', 'greedy', 'none'] as const;

/**
 * Computes a pair's WPO weight under a policy (arXiv 2406.11827) and its losses, by one forward pass without gradients.
 *
 * @throws TrainingError naming the pair, where an answer has no tokens or a log-prob is not finite.
 */
export async function weighPair(policy: Policy, pair: TokenPair, options: WeighPairOptions = {}): Promise<WeighedPair> {
  const { lossType = 'sigmoid', kl, beta, labelSmoothing } = options;
  checkPair(pair);
  const answer = await answersOf(policy, pair, options.pause);
  const own = checkLogps(pair, answer, undefined);
  const reference = options.reference ?? own;
  const logps = {
    chosenLogps: own.chosen,
    rejectedLogps: own.rejected,
    refChosenLogps: reference.chosen,
    refRejectedLogps: reference.rejected,
  };
  checkFinite(pair, logps);
  const { chosen, rejected } = answer;
  const lengths = { chosenLengths: chosen.logps.length, rejectedLengths: rejected.logps.length };
  const scoresOf = (tokens: TokenTerms) =>
    Object.fromEntries(ALIGNMENTS.map((alignment) => [alignment, answerScores(tokens, alignment)])) as AlignedScores;
  return {
    pair,
    ...logps,
    scores: { chosen: scoresOf(chosen), rejected: scoresOf(rejected) },
    weight: wpoWeights(answer, options) * (pair.weight ?? 1),
    dpoLoss: dpoLoss(logps, { beta, labelSmoothing }).losses,
    loss: preferenceLoss({ ...logps, ...lengths, kl }, { ...options, lossType }).losses,
  };
}

async function answersOf(policy: Policy, pair: TokenPair, pause: Pause | undefined) {
  const forward = await policy.forward([pair], { train: false, pause });
  try {
    return splitAnswers([pair], await forward.terms())[0]!;
  } finally {
    forward.dispose();
  }
}

function checkFinite(pair: TokenPair, logps: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(logps)) {
    if (Number.isFinite(value)) continue;
    throw new TrainingError(
      `pair "${pair.id}": ${name}: expected a finite log-prob, found ${value}. Check the weights of the model and of the ` +
        'reference.',
      { pairId: pair.id },
    );
  }
}
