import type * as tf from '@tensorflow/tfjs-core';
import { divergenceScore } from './divergence';
import type { Needs } from './needs';
import { type AttachedOptions, type LossOptions, type Settings, settle } from './settings';

/** A function of one number, elementwise and differentiable. */
export type Curve = (x: tf.Tensor1D) => tf.Tensor1D;

/** What a pair's log-probs come to before a loss looks at them: one number an answer, taken in this order. */
export interface Measure extends Needs {
  /** f′ of an f-divergence. */
  readonly score?: Curve;
  /** Taken last. */
  readonly odds?: Curve;
}

/** coefficient · curve(scale · x + shift), x a measure of the chosen or the rejected answer, or the first less the second. */
export interface Term {
  readonly measure: Measure;
  readonly of: 'chosen' | 'rejected' | 'margin';
  readonly curve: Curve;
  readonly scale: number;
  readonly shift: number;
  readonly coefficient: number;
}

/** A loss is a sum of terms, and so is a mixture of losses. */
export const term = (
  measure: Measure,
  of: Term['of'],
  curve: Curve,
  scale: number,
  shift = 0,
  coefficient = 1,
): Term => ({ measure, of, curve, scale, shift, coefficient });

export interface LossSettings extends Settings {
  /** The log-ratio of policy and reference, or log π alone under `refFree`. */
  readonly ratio: Measure;
  /** The same with the f-divergence's score, for losses that look at a difference of scores alone. */
  readonly scored: Measure;
}

/** @throws where an option is out of its range or of no known kind. */
export function lossSettings(where: string, options: LossOptions & AttachedOptions): LossSettings {
  const settings = settle(where, options);
  const ratio = { reference: !settings.refFree };
  return { ...settings, ratio, scored: { ...ratio, score: divergenceScore(settings) } };
}
