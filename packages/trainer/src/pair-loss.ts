import {
  type DpoOptions,
  type LossOptions,
  type LossType,
  ldLogps,
  ldTokenWeights,
  lossNeeds,
  type MixtureOptions,
  preferenceLossWithGradient,
  sumLogps,
  type WeightOptions,
  wpoWeightsWithGradient,
} from '@wpo/loss/scalar';
import type { TokenTerms } from './policy';

/** The input of a loss for one pair: numbers of the policy, the reference and the data. */
export interface ScoredPair {
  readonly id: string;
  /** Per-token terms of the chosen answer under the policy, each `[tokens of the answer]`. */
  readonly chosen: TokenTerms;
  readonly rejected: TokenTerms;
  /** log π_ref(y) of both answers, summed over their tokens with the loss's `ldAlpha`; absent where the loss needs no reference. */
  readonly reference?: { readonly chosen: number; readonly rejected: number };
  /** The pair's weight from the data; 1 where it has none. */
  readonly weight: number;
}

/** The output of a loss for one pair. */
export interface PairLossResult {
  /** The loss, with the weight multiplied in. */
  readonly loss: number;
  /** The factor that the pair's loss was multiplied by. */
  readonly weight: number;
  /** Implicit rewards β (log π − log π_ref). */
  readonly chosenReward: number;
  readonly rejectedReward: number;
  /** d Σ losses / d log p of each token, the sum over all pairs of the call; each `[tokens of the answer]`. */
  readonly gradient: { readonly chosen: ArrayLike<number>; readonly rejected: ArrayLike<number> };
}

/** The results of one pair, for metrics. */
export interface PairResult {
  readonly id: string;
  readonly loss: number;
  readonly weight: number;
  readonly chosenReward: number;
  readonly rejectedReward: number;
  /** log π(y): the sum over all tokens of the answer. */
  readonly chosenLogps: number;
  readonly rejectedLogps: number;
  /** log π_ref(y_w) − log π(y_w), both summed with the loss's `ldAlpha`; −log π(y_w) where there is no reference. */
  readonly chosenDrop: number;
  readonly chosenTokens: number;
  /** `weight` without the weight from the data. */
  readonly wpoWeight: number;
  /** Tokens of both sequences. The prompt counts with each answer, as in TRL. */
  readonly tokens: number;
}

/**
 * A loss over pairs, in plain numbers: log-probs in, one result per pair out, in the same order. The caller takes the mean over
 * pairs. `tensorLoss` makes one from a function over tfjs tensors.
 */
export interface PairLoss {
  (pairs: readonly ScoredPair[]): readonly PairLossResult[] | Promise<readonly PairLossResult[]>;
  /** False where the loss needs no reference, which is then not run. Default true. */
  readonly needsReference?: boolean;
  /** True where the loss ranks pairs against each other: it is then a loss of the pairs of one micro-batch. Default false. */
  readonly needsBatch?: boolean;
  /** LD-DPO's α: the reference's log-probs must be summed with the same. Default 1. */
  readonly ldAlpha?: number;
}

interface AttachedOptions {
  /** Whether the gradient flows into the WPO weights too. Default false: the weight is a constant of the loss, as in the paper. */
  readonly attached?: boolean;
}

export interface WpoPairLossOptions extends DpoOptions, WeightOptions, AttachedOptions {}

/**
 * The WPO loss (arXiv 2406.11827): the DPO loss of each pair, times the probability that the policy itself would generate the
 * pair, times the pair's weight from the data.
 *
 * @throws where an option is out of range.
 */
export const wpoPairLoss = (options: WpoPairLossOptions = {}): PairLoss => preferencePairLoss(options);

/** TRL's names in camel case. TRL has no equivalent of `WeightOptions`, `kl` and `bcoDelta`. */
export interface PreferencePairLossOptions extends LossOptions, WeightOptions, AttachedOptions {
  /** One of `lossTypes()`, or several to add up. A plain string is accepted and checked, so that it may come from a file. */
  readonly lossType?: string | readonly string[];
  /** The factor of each of several losses. Default 1 each. */
  readonly lossWeights?: readonly number[];
  /** Whether pairs get WPO's weights. Default true. The weights from the data count either way. */
  readonly useWeighting?: boolean;
  /** LD-DPO (arXiv 2409.06411): the factor of tokens past the shorter answer's length, 0 to 1. Default 1. */
  readonly ldAlpha?: number;
  /** KTO's reference point. It is a constant here, because answers run under their own prompt only. */
  readonly kl?: number;
}

/**
 * Any loss of @wpo/loss, or a weighted sum of several. Each pair's loss is multiplied by its WPO weight and its weight from the
 * data.
 *
 * @throws where a name is unknown, an option is out of range, or options contradict each other: before any pair runs. The loss
 * itself throws where it ranks pairs and a pair has a weight other than 1.
 */
export function preferencePairLoss(options: PreferencePairLossOptions = {}): PairLoss {
  const { useWeighting = true, ldAlpha, kl, lossType, attached = false, ...others } = options;
  const mixture = { ...others, lossType: lossType as LossType | readonly LossType[] | undefined };
  const needs = lossNeeds(mixture, 'preferencePairLoss');
  checkOptions(needs, useWeighting, ldAlpha, kl);
  const parts = ldAlpha === undefined ? [{ mixture, alpha: 1 }] : splitByReference(mixture, ldAlpha);

  const loss = (pairs: readonly ScoredPair[]): PairLossResult[] => {
    if (needs.batch) checkUnweighted(pairs);
    const wpo = pairs.map((pair) => (useWeighting && !needs.batch ? wpoWeightsWithGradient(pair, options) : ONE));
    const weights = pairs.map((pair, i) => wpo[i]!.weight * pair.weight);
    const results = parts.map((part) => {
      const input = { ...sumsOf(pairs, part.alpha), kl, ...(needs.batch ? {} : { weights }) };
      return preferenceLossWithGradient(input, part.mixture as MixtureOptions<'kto'>);
    });
    return pairs.map((pair, i) => {
      // d loss / d log p of a token = Σ_parts d loss / d log π(y) · its factor in log π(y) + d loss / d w · d w / d log p
      const [chosenLength, rejectedLength] = [pair.chosen.logps.length, pair.rejected.logps.length];
      const factors = parts.map(({ alpha }) => ldTokenWeights(chosenLength, rejectedLength, alpha));
      const gradientOf = (answer: 'chosen' | 'rejected') => {
        const perToken = attached ? pair.weight * wpo[i]!.gradient[answer] : 0;
        return factors[0]![answer].map((_, t) =>
          results.reduce((sum, { gradient }, part) => {
            const throughLogps = gradient[`${answer}Logps`][i]! * factors[part]![answer][t]!;
            return sum + throughLogps + (attached ? gradient.weights[i]! * perToken : 0);
          }, 0),
        );
      };
      return {
        loss: results.reduce((sum, { losses }) => sum + losses[i]!, 0),
        weight: weights[i]!,
        chosenReward: results[0]!.chosenRewards[i]!,
        rejectedReward: results[0]!.rejectedRewards[i]!,
        gradient: { chosen: gradientOf('chosen'), rejected: gradientOf('rejected') },
      };
    });
  };
  return Object.assign(loss, { needsReference: needs.reference, needsBatch: needs.batch, ldAlpha });
}

const ONE = { weight: 1, gradient: { chosen: 0, rejected: 0 } };

/** log π of both answers: sums over their tokens, in which `alpha` multiplies the tokens past the shorter answer's length. */
export const pairLogps = (
  pair: Pick<ScoredPair, 'chosen' | 'rejected'>,
  alpha = 1,
): { readonly chosen: number; readonly rejected: number } =>
  alpha === 1 ? { chosen: sumLogps(pair.chosen), rejected: sumLogps(pair.rejected) } : ldLogps(pair, alpha);

function sumsOf(pairs: readonly ScoredPair[], alpha: number) {
  const policy = pairs.map((pair) => pairLogps(pair, alpha));
  return {
    chosenLogps: policy.map(({ chosen }) => chosen),
    rejectedLogps: policy.map(({ rejected }) => rejected),
    refChosenLogps: pairs.map(({ reference }) => reference?.chosen ?? Number.NaN),
    refRejectedLogps: pairs.map(({ reference }) => reference?.rejected ?? Number.NaN),
    chosenLengths: pairs.map(({ chosen }) => chosen.logps.length),
    rejectedLengths: pairs.map(({ rejected }) => rejected.logps.length),
  };
}

function checkOptions(needs: ReturnType<typeof lossNeeds>, useWeighting: boolean, ldAlpha?: number, kl?: number): void {
  if (needs.kl && kl === undefined) {
    throw new Error(
      'preferencePairLoss: loss type kto: expected kl, found none. Its reference point comes from answers to other prompts, ' +
        'which training does not run. Give kl as a constant, or use apo_zero, which is kto with kl 0.',
    );
  }
  if (needs.batch && useWeighting) {
    throw new Error(
      'preferencePairLoss: loss types aot and aot_unpaired take no weights, found use_weighting true. They compare quantiles ' +
        'of a batch, which weights on its pairs do not move. Set use_weighting to false, or use another loss type.',
    );
  }
  if (ldAlpha !== undefined && !(ldAlpha >= 0 && ldAlpha <= 1)) {
    throw new Error(
      `preferencePairLoss: ldAlpha: expected a number from 0 to 1, found ${ldAlpha}. It is the factor of tokens past the ` +
        "shorter answer's length.",
    );
  }
}

/** LD-DPO changes the log-ratio only: a likelihood term of the same mixture keeps every token at factor 1. */
function splitByReference(mixture: MixtureOptions, ldAlpha: number): { mixture: MixtureOptions; alpha: number }[] {
  const { lossType = 'sigmoid', lossWeights, fDivergenceType, ...others } = mixture;
  const types = ([] as LossType[]).concat(lossType);
  const { labelSmoothing } = others;
  const usesReference = types.map((type) => lossNeeds({ labelSmoothing, lossType: type }).reference);
  return [true, false].flatMap((ofRatio) => {
    const indices = [...types.keys()].filter((i) => usesReference[i] === ofRatio);
    if (indices.length === 0) return [];
    const part = {
      ...others,
      ...(ofRatio ? { fDivergenceType } : {}),
      lossType: indices.map((i) => types[i]!),
      lossWeights: indices.map((i) => lossWeights?.[i] ?? 1),
    };
    return [{ mixture: part, alpha: ofRatio ? ldAlpha : 1 }];
  });
}

function checkUnweighted(pairs: readonly ScoredPair[]): void {
  const weighted = pairs.find(({ weight }) => weight !== 1);
  if (!weighted) return;
  throw new Error(
    `pair "${weighted.id}": weight: expected none, found ${weighted.weight}. Loss types aot and aot_unpaired compare quantiles ` +
      'of a batch, which weights do not move. Remove the weight column, or use another loss type.',
  );
}
