import * as tf from '@tensorflow/tfjs-core';
import { checkNumber } from './check-number';
import {
  float32,
  optimizerOf,
  type RuleOptimizer,
  type RuleOptions,
  replaceState,
  type Scalars,
  scaledGradient,
  type UpdateRule,
} from './update-rule';

export interface AdamWOptions extends RuleOptions {
  /** β₁, the decay rate of the first moment. Default 0.9. */
  readonly beta1?: number;
  /** β₂, the decay rate of the second moment. Default 0.999. */
  readonly beta2?: number;
  /** ε, added to the denominator after its bias correction; 1e-16 to 1. Default 1e-8. */
  readonly epsilon?: number;
}

/** The scalars of a step of AdamW. */
export interface AdamWScalars extends Scalars {
  /** Every gradient is multiplied by this. */
  readonly gradientScale: number;
  /** 1 − β₁, which float32 cannot compute from β₁ without a relative error of 1e-7 / (1 − β₁). */
  readonly oneMinusBeta1: number;
  readonly beta2: number;
  /** 1 − β₂. */
  readonly oneMinusBeta2: number;
  readonly epsilon: number;
  /** lr / (1 − β₁ᵗ). */
  readonly stepSize: number;
  /** √(1 − β₂ᵗ). */
  readonly biasCorrection2Sqrt: number;
  /** 1 − lr·λ, or 1 where the parameters do not decay. */
  readonly decayFactor: number;
}

/**
 * AdamW (arXiv 1711.05101, algorithm 2) with PyTorch's order of operations and placement of epsilon:
 *
 *     p ← p (1 − lr·λ)
 *     m ← m + (g − m)(1 − β₁),  v ← β₂ v + (1 − β₂) g²
 *     p ← p − (lr / (1 − β₁ᵗ)) m / (√v / √(1 − β₂ᵗ) + ε)
 *
 * Moments are float32. The portable implementation needs at most three temporaries of one parameter's size. The state's tensors are
 * named `<parameter>.exp_avg` and `<parameter>.exp_avg_sq`.
 *
 * @throws RangeError for an option out of range.
 */
export function adamW(options: AdamWOptions = {}): RuleOptimizer {
  const { beta1, beta2, epsilon } = adamWOptions(options, 'adamW');
  return optimizerOf(adamWRule(beta1, beta2, epsilon), options);
}

/** The numbers of AdamW's equations. @throws RangeError for an option out of range */
export function adamWOptions(
  { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0 }: AdamWOptions,
  where: string,
) {
  const numbers = { beta1, beta2, epsilon, weightDecay };
  for (const [name, value] of Object.entries(numbers)) checkNumber(name as 'beta1', value, `${where}: `);
  return numbers;
}

export const adamWRule = (beta1: number, beta2: number, epsilon: number): UpdateRule<AdamWScalars> => ({
  name: 'AdamW',
  state: ({ shape }) => ({ exp_avg: float32(shape), exp_avg_sq: float32(shape) }),
  scalars: ({ step, learningRate, gradientScale, weightDecay }) => ({
    gradientScale,
    oneMinusBeta1: 1 - beta1,
    beta2,
    oneMinusBeta2: 1 - beta2,
    epsilon,
    stepSize: learningRate / (1 - beta1 ** step),
    biasCorrection2Sqrt: Math.sqrt(1 - beta2 ** step),
    decayFactor: 1 - learningRate * weightDecay,
  }),
  update(update, { gradientScale, oneMinusBeta1, beta2, oneMinusBeta2, ...scalars }) {
    const { epsilon, stepSize, biasCorrection2Sqrt, decayFactor } = scalars;
    const { parameter } = update;
    const g = scaledGradient(update, gradientScale);
    const m = replaceState(update, 'exp_avg', (m) => tf.add(m, tf.mul(tf.sub(g, m), oneMinusBeta1)));
    const v = replaceState(update, 'exp_avg_sq', (v) => tf.add(tf.mul(v, beta2), tf.mul(tf.mul(g, oneMinusBeta2), g)));
    g.dispose();
    const change = tf.tidy(() => {
      const denominator = tf.tidy(() => tf.add(tf.div(tf.sqrt(v), biasCorrection2Sqrt), epsilon));
      return tf.div(tf.mul(m, stepSize), denominator);
    });
    const next = tf.tidy(() => {
      const value = parameter.value();
      return tf.sub(decayFactor === 1 ? value : tf.mul(value, decayFactor), change);
    });
    change.dispose();
    parameter.assign(next);
  },
});
