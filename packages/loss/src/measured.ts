import type * as tf from '@tensorflow/tfjs-core';
import type { PairInput } from './inputs';
import { add, mul, over, sub } from './ops';
import { partners, permuted } from './rank';
import type { Measure, Term } from './term';

// B: pairs.

/** Each `[B]`, float32 (lengths also int32); `kl` a number or a tensor of one. */
export type TensorInput = PairInput<tf.Tensor1D, tf.Tensor | number>;

/** `kl` is `[B]` here. */
export type Pairs = Omit<TensorInput, 'kl'> & { readonly kl?: tf.Tensor1D };

/** A measure of both answers of each pair, and the first less the second; each `[B]`, differentiable. */
export function measured(pairs: Pairs, measure: Measure): Record<Term['of'], tf.Tensor1D> {
  const input = ranked(pairs, measure.sort);
  const ofAnswer = (policy: tf.Tensor1D, reference?: tf.Tensor1D, lengths?: tf.Tensor1D) => {
    let x = measure.reference ? sub(policy, reference!) : policy;
    if (measure.kl) x = sub(x, input.kl!);
    if (measure.score) x = measure.score(x);
    if (measure.perToken) x = over(x, lengths!);
    return measure.odds ? measure.odds(x) : x;
  };
  const chosen = ofAnswer(input.chosenLogps, input.refChosenLogps, input.chosenLengths);
  const rejected = ofAnswer(input.rejectedLogps, input.refRejectedLogps, input.rejectedLengths);
  return { chosen, rejected, margin: sub(chosen, rejected) };
}

/** `[B]`, differentiable. */
export const sumOfTerms = (pairs: Pairs, terms: readonly Term[]): tf.Tensor1D =>
  terms
    .map(({ measure, of, curve, scale, shift, coefficient }) =>
      mul(curve(add(mul(measured(pairs, measure)[of], scale), shift)), coefficient),
    )
    .reduce(add);

/** Pairs that have taken over the references, or the rejected answers, that their margins, or chosen answers, meet by rank. */
function ranked(pairs: Pairs, sort: Measure['sort']): Pairs {
  if (!sort) return pairs;
  const { chosenLogps, refRejectedLogps } = pairs as Required<Pairs>;
  const [held, moved] = sort;
  const places = partners(sub(chosenLogps, pairs[held]!), sub(pairs[moved]!, refRejectedLogps));
  return {
    ...pairs,
    [moved]: permuted(pairs[moved]!, places),
    refRejectedLogps: permuted(refRejectedLogps, places),
  };
}
