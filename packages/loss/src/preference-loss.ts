import * as tf from '@tensorflow/tfjs-core';
import { checkFloats, checkShape } from './check-tensors';
import {
  type Measure,
  measureOf,
  type PairInput,
  type PreferenceInput,
  requiredColumns,
  rewardMeasure,
} from './inputs';
import { type LossTerm, type LossType, type MixtureOptions, mixture } from './loss-table';
import { FORMULAS, type Formula, type Measured } from './losses';
import {
  add,
  clampMax,
  differentiable,
  divideByConstant,
  expm1,
  mul,
  neg,
  noGrad,
  softplus,
  stopGradient,
  sub,
} from './ops';
import { type AttachedOptions, resolveOptions, type Settings } from './options';

// B: pairs.

/** Each `[B]`, float32 (lengths may be int32); `kl` is a number or a tensor with one element. */
export type TensorInput = PairInput<tf.Tensor1D, tf.Tensor | number>;

/** Per pair, unreduced. Each is `[B]`; the caller disposes them. */
export type LossResult = {
  /** Weight times loss. Differentiable in all log-probs of the input. */
  losses: tf.Tensor1D;
  /** Before weighting. Differentiable. */
  unweightedLosses: tf.Tensor1D;
  /** The weights of the input, or 1. No gradient. */
  weights: tf.Tensor1D;
  /** Δ: `margins` is β times this. Differentiable. */
  deltas: tf.Tensor1D;
  /** β (log π(y_w) − log π_ref(y_w)): the chosen answer's implicit reward; without the reference where the loss has none. No gradient. */
  chosenRewards: tf.Tensor1D;
  /** The rejected answer's implicit reward. No gradient. */
  rejectedRewards: tf.Tensor1D;
  /** The chosen reward minus the rejected one. No gradient. */
  margins: tf.Tensor1D;
};

/**
 * Any loss by its name in TRL, or a weighted sum of several: MPO is `['sigmoid', 'bco_pair', 'sft']` with `lossWeights`
 * [0.8, 0.2, 1], RPO `['sigmoid', 'sft']`. docs/losses.md lists the equations.
 *
 * Rewards are those of the log-ratio where any loss reads the reference.
 *
 * @param input log-probs `[B]`; lengths, `kl` and weights where the losses need them.
 * @throws where a name is unknown, an option out of range, an input missing or of the wrong shape, or there are no pairs.
 */
export function preferenceLoss<const L extends LossType = 'sigmoid', const Free extends boolean = false>(
  input: PreferenceInput<tf.Tensor1D, tf.Tensor | number, L, Free>,
  options: MixtureOptions<L> & AttachedOptions & { refFree?: Free } = {},
): LossResult {
  const settings = resolveOptions('preferenceLoss', options);
  return pairLoss(input, mixture('preferenceLoss', options, FORMULAS), settings);
}

/** The losses of a batch: the sum of `terms`, each times its coefficient. */
export function pairLoss(input: TensorInput, terms: readonly LossTerm<Formula>[], settings: Settings): LossResult {
  const { where, attached, beta } = settings;
  const { chosenLogps } = input;
  const specs = terms.map(({ spec }) => spec);
  checkFloats(where, 'chosenLogps', chosenLogps, 'pairs');
  for (const name of requiredColumns(specs, settings, input)) {
    checkShape(where, name, input[name], chosenLogps.shape, name.endsWith('Lengths') ? undefined : 'float32');
  }
  return tf.tidy(() => {
    const { kl, ...columns } = input;
    const pairs = {
      ...columns,
      kl: kl === undefined ? kl : noGrad(() => tf.add<tf.Tensor1D>(tf.zerosLike(chosenLogps), kl)), // [B]
    };
    const unweightedLosses = terms
      .map(({ spec, formula, coefficient }) =>
        mul(formula(measure(pairs, measureOf(spec, settings), settings), settings), coefficient),
      )
      .reduce(add);
    const weights = input.weights ?? tf.ones<tf.Rank.R1>(chosenLogps.shape);
    const constantWeights = stopGradient(weights);
    const { chosen, rejected, margin } = measure(pairs, rewardMeasure(specs, settings), settings);
    const reward = (x: tf.Tensor1D) => tf.mul<tf.Tensor1D>(stopGradient(x), beta);
    return {
      losses: mul(unweightedLosses, attached ? weights : constantWeights),
      unweightedLosses,
      weights: constantWeights,
      deltas: margin,
      chosenRewards: reward(chosen),
      rejectedRewards: reward(rejected),
      margins: reward(margin),
    };
  });
}

type Pairs = Omit<TensorInput, 'kl'> & { readonly kl?: tf.Tensor1D };

/** ρ of both answers of each pair, and Δ; each `[B]`, differentiable. */
function measure(given: Pairs, { reference, divergence, perToken, ranks }: Measure, settings: Settings): Measured {
  const pairs = matchedByRank(given, ranks);
  const ofAnswer = (policy: tf.Tensor1D, ref?: tf.Tensor1D, lengths?: tf.Tensor1D) => {
    let x = reference ? sub(policy, ref!) : policy;
    if (divergence) x = divergenceScore(x, settings);
    return perToken ? divideByConstant(x, lengths!) : x;
  };
  const chosen = ofAnswer(pairs.chosenLogps, pairs.refChosenLogps, pairs.chosenLengths);
  const rejected = ofAnswer(pairs.rejectedLogps, pairs.refRejectedLogps, pairs.rejectedLengths);
  const nll = () => neg(divideByConstant(pairs.chosenLogps, pairs.chosenLengths!));
  return { chosen, rejected, margin: sub(chosen, rejected), nll, kl: pairs.kl };
}

/** f′(e^x) of an f-divergence, x the log-ratio (f-DPO, arXiv 2309.16240). For the reverse KL it is x itself. */
function divergenceScore(x: tf.Tensor1D, { fDivergenceType, a }: Settings): tf.Tensor1D {
  // Jensen-Shannon: f′(t) = log(2t / (t + 1)) = −(log(1 + e^−x) − log 2)
  if (fDivergenceType === 'js_divergence') return neg(add(softplus(neg(x)), -Math.LN2));
  // α-divergence, a = α − 1: f′(t) = (t^a − 1) / a. Exponents are at most 80, as in TRL: e^80 is a float32 number.
  return a ? mul(expm1(clampMax(mul(x, a), 80)), 1 / a) : x;
}

/** For ranked losses: pairs whose `moved` column and rejected reference are those of the pair of the same rank. */
function matchedByRank(pairs: Pairs, ranks: Measure['ranks']): Pairs {
  if (!ranks) return pairs;
  const { chosenLogps, refRejectedLogps } = pairs as Required<Pairs>;
  const [fixed, moved] = ranks;
  const partners = noGrad(() => {
    const [a, b] = [sub(chosenLogps, pairs[fixed]!), sub(pairs[moved]!, refRejectedLogps)];
    return tf.gather(descending(b), inverse(descending(a)));
  }); // [B] int32: for each pair, the index of the pair in `b` with the same rank
  return {
    ...pairs,
    [moved]: permuted(pairs[moved]!, partners),
    refRejectedLogps: permuted(refRejectedLogps, partners),
  };
}

/** `x[permutation]`, differentiable in `x`. */
const permuted = (x: tf.Tensor1D, permutation: tf.Tensor1D): tf.Tensor1D =>
  differentiable(
    [x],
    (save) => {
      save([permutation]);
      return tf.gather(x, permutation);
    },
    (dy, [saved]) => [tf.gather(dy, inverse(saved as tf.Tensor1D))],
  );

/** The indices of `x`'s values from the largest to the smallest, `[B]` int32. Equal values keep their order. */
const descending = (x: tf.Tensor1D) => tf.topk(x, x.size, true).indices as tf.Tensor1D;

/** The inverse of a permutation, `[B]` int32. Exact in float32 up to 2^24 pairs. */
const inverse = (permutation: tf.Tensor1D) => descending(tf.neg(tf.cast(permutation, 'float32')));
