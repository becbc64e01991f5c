// B pairs, T the longest answer's tokens.
import * as tf from '@tensorflow/tfjs-core';
import {
  type DpoOptions,
  type LossOptions,
  type LossType,
  ldLogps,
  lossNeeds,
  type MixtureOptions,
  preferenceLoss,
  type WeightOptions,
  wpoWeights,
} from '@wpo/loss';
import type { PaddedAnswers } from './pad';

/** What a loss is told of a micro-batch of pairs. */
export interface PairLossInput {
  /** Token by token under the policy; each `[B, T]`. */
  readonly chosen: PaddedAnswers;
  readonly rejected: PaddedAnswers;
  /** log π(y): the sum over an answer's tokens, `[B]`. */
  readonly chosenLogps: tf.Tensor1D;
  readonly rejectedLogps: tf.Tensor1D;
  /** log π_ref(y), `[B]`, summed with the loss's `ldAlpha`; NaN where it looks at no reference and none was given. */
  readonly refChosenLogps: tf.Tensor1D;
  readonly refRejectedLogps: tf.Tensor1D;
  /** The pairs' own weights from the data, `[B]`; 1 where a pair has none. */
  readonly pairWeights: tf.Tensor1D;
}

/** What a loss says of a micro-batch; each `[B]`, unreduced. */
export interface PairLossOutput {
  /** What the gradient is taken of, the weight included. */
  readonly losses: tf.Tensor1D;
  /** The factor by which each pair counts in `losses`. */
  readonly weights: tf.Tensor1D;
  /** Implicit rewards β (log π − log π_ref). */
  readonly chosenRewards: tf.Tensor1D;
  readonly rejectedRewards: tf.Tensor1D;
}

/**
 * A loss over pairs: called inside `tf.grad` with respect to the policy's per-token log-probs, so it must be made of
 * differentiable tfjs operations, and dispose nothing. Where tensors are TensorFlow's, tfjs's own processor backend runs it.
 */
export interface PairLoss {
  (input: PairLossInput): PairLossOutput;
  /** False where the reference is not looked at, so that it is not run. */
  readonly needsReference?: boolean;
  /** True where pairs are ranked against each other: then the loss is of the pairs run at once, a micro-batch. */
  readonly needsBatch?: boolean;
  /** LD-DPO's α: what the reference's sums must be taken with. */
  readonly ldAlpha?: number;
}

export interface WpoPairLossOptions extends DpoOptions, WeightOptions {}

/**
 * The WPO loss (arXiv 2406.11827): DPO's loss of each pair times how likely the policy itself would be to write the pair,
 * times the pair's weight from the data.
 *
 * @throws where an option is out of range.
 */
export const wpoPairLoss = (options: WpoPairLossOptions = {}): PairLoss => preferencePairLoss(options);

/** TRL's names, in camel case; those that TRL lacks are `WeightOptions`', `kl` and `bcoDelta`. */
export interface PreferencePairLossOptions extends LossOptions, WeightOptions {
  /** One of `lossTypes()`, or several that are added up: checked here, so that a run file's words may come as they are. */
  readonly lossType?: string | readonly string[];
  /** What each of several losses is multiplied by; 1 each. */
  readonly lossWeights?: readonly number[];
  /** Whether pairs are weighed as WPO does. Default true. The data's own weights count either way. */
  readonly useWeighting?: boolean;
  /** LD-DPO (arXiv 2409.06411): what tokens past the shorter answer's length count, 0 to 1; absent, all count in full. */
  readonly ldAlpha?: number;
  /** KTO's reference point, a constant here: a pair's answers are run under their own prompt alone. */
  readonly kl?: number;
}

/**
 * Any loss of @wpo/loss, or several mixed, each pair's times its WPO weight and its weight from the data.
 *
 * @throws where a name is unknown, an option out of range, or options do not go together: before any pair is run. What it
 * returns throws where a ranked pair has a weight of its own.
 */
export function preferencePairLoss(options: PreferencePairLossOptions = {}): PairLoss {
  const { useWeighting = true, ldAlpha, kl, lossType, ...others } = options;
  const mixture = { ...others, lossType: lossType as LossType | readonly LossType[] | undefined };
  const needs = lossNeeds(mixture, 'preferencePairLoss');
  checkOptions(needs, useWeighting, ldAlpha, kl);
  const parts = ldAlpha === undefined ? [{ part: mixture, ofRatio: true }] : splitByReference(mixture);

  const loss = (input: PairLossInput): PairLossOutput => {
    const { chosen, rejected, pairWeights, ...plain } = input;
    const weights = needs.batch
      ? onesOf(pairWeights)
      : useWeighting
        ? (tf.mul(wpoWeights({ chosen, rejected }, options), pairWeights) as tf.Tensor1D)
        : pairWeights; // [B]
    const lengths = {
      chosenLengths: tf.sum(chosen.mask, 1) as tf.Tensor1D,
      rejectedLengths: tf.sum(rejected.mask, 1) as tf.Tensor1D,
    };
    const ld = ldAlpha === undefined ? plain : ldOf({ chosen, rejected }, ldAlpha);
    const results = parts.map(({ part, ofRatio }) => {
      const all = { ...plain, ...(ofRatio ? ld : {}), ...lengths, kl, ...(needs.batch ? {} : { weights }) };
      return preferenceLoss(all, part as MixtureOptions<'kto'>);
    });
    const [{ chosenRewards, rejectedRewards }] = results as [(typeof results)[number]];
    const losses = results.map((result) => result.losses).reduce((a, b) => tf.add(a, b));
    return { losses, weights, chosenRewards, rejectedRewards };
  };
  return Object.assign(loss, { needsReference: needs.reference, needsBatch: needs.batch, ldAlpha });
}

function checkOptions(needs: ReturnType<typeof lossNeeds>, useWeighting: boolean, ldAlpha?: number, kl?: number): void {
  if (needs.kl && kl === undefined) {
    throw new Error(
      'loss type kto needs kl, a constant here: its reference point is of answers to other prompts, which training does ' +
        'not run. Give kl, or take apo_zero, which is kto with kl 0.',
    );
  }
  if (needs.batch && useWeighting) {
    throw new Error(
      'loss types aot and aot_unpaired take no weights: they compare quantiles of a batch, which weights on its pairs ' +
        'would not move. Turn use_weighting off, or take another loss type.',
    );
  }
  if (ldAlpha !== undefined && !(ldAlpha >= 0 && ldAlpha <= 1)) {
    throw new Error(
      `ldAlpha is ${ldAlpha}, but 0 to 1 was wanted: what tokens past the shorter answer's length count.`,
    );
  }
}

function ldOf(pair: { readonly chosen: PaddedAnswers; readonly rejected: PaddedAnswers }, ldAlpha: number) {
  const { chosen, rejected } = ldLogps(pair, ldAlpha);
  return { chosenLogps: chosen, rejectedLogps: rejected };
}

/** Losses of the log-ratio, which LD-DPO is about, and those of the policy's likelihood, which take all tokens in full. */
function splitByReference(mixture: MixtureOptions): { part: MixtureOptions; ofRatio: boolean }[] {
  const { lossType = 'sigmoid', lossWeights, fDivergenceType, ...others } = mixture;
  const types = ([] as LossType[]).concat(lossType);
  const { labelSmoothing } = others;
  const kinds = types.map((type) => lossNeeds({ labelSmoothing, lossType: type }).reference);
  return [true, false].flatMap((ofRatio) => {
    const places = [...types.keys()].filter((i) => kinds[i] === ofRatio);
    if (places.length === 0) return [];
    const part = {
      ...others,
      ...(ofRatio ? { fDivergenceType } : {}),
      lossType: places.map((i) => types[i]!),
      lossWeights: places.map((i) => lossWeights?.[i] ?? 1),
    };
    return [{ part, ofRatio }];
  });
}

/** Refuses weights from the data other than 1, which ranked pairs cannot have. */
function onesOf(pairWeights: tf.Tensor1D): tf.Tensor1D {
  const other = pairWeights.dataSync().find((weight) => weight !== 1);
  if (other !== undefined) {
    throw new Error(
      `a pair has the weight ${other}, but loss types aot and aot_unpaired take no weights: they compare quantiles of a ` +
        'batch. Leave the weight column out, or take another loss type.',
    );
  }
  return tf.onesLike(pairWeights);
}
