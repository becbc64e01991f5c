import * as tf from '@tensorflow/tfjs-core';
import type { AdamWKernel, AdamWScalars, AdamWUpdate, Moments, Parameter } from '@wpo/trainer';
import { effect, operate } from './operation';
import { tensorOf, variableOf } from './variable';

/**
 * AdamW by TensorFlow's own update, in the moments' place. It adds epsilon to √v, where PyTorch adds it to √v / c with
 * c = √(1 − β₂ᵗ): the same where it is given ε c for epsilon and c times the step size. It rounds β to float32 before it
 * takes 1 − β, which for 0.999 moves an update by less than 1e-5 of itself.
 */
export const rawUpdate: AdamWKernel = (updates, how) => updates.map((update) => updated(update, how));

function updated({ parameter, gradient, moments }: AdamWUpdate, how: AdamWScalars): Moments {
  const { gradientScale, beta1, beta2, epsilon, stepSize, biasCorrection2Sqrt, decayFactor } = how;
  const variables = [tf.mul(parameter.value(), decayFactor), moments.expAvg, moments.expAvgSq].map(variableOf);
  tf.tidy(() => {
    const scaled = gradientScale === 1 ? gradient : tf.mul(gradient, gradientScale);
    // no powers of β: the bias corrections are in the step size and in epsilon
    const numbers = [0, 0, stepSize * biasCorrection2Sqrt, beta1, beta2, epsilon * biasCorrection2Sqrt].map((x) =>
      tf.scalar(x),
    );
    effect('ResourceApplyAdam', [...variables, ...numbers, scaled], {
      T: 'float32',
      use_locking: false,
      use_nesterov: false,
    });
  });
  const [value, expAvg, expAvgSq] = variables.map(tensorOf) as [tf.Tensor, tf.Tensor, tf.Tensor];
  parameter.assign(value);
  return { expAvg, expAvgSq };
}

/** The L2 norm of all gradients, without a square of any: L2Loss is Σ x² / 2. */
export async function rawNorm(parameters: readonly Parameter[]): Promise<number> {
  const gradients = parameters.map((parameter) => parameter.gradient()).filter((gradient) => gradient !== null);
  const halves = tf.tidy(() => tf.stack([tf.scalar(0), ...gradients.map((gradient) => operate('L2Loss', [gradient]))]));
  try {
    let total = 0;
    for (const half of await halves.data()) total += half;
    return Math.sqrt(2 * total);
  } finally {
    halves.dispose();
  }
}
