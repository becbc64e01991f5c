import * as tf from '@tensorflow/tfjs-core';
import { checkNumber } from './check-number';
import { TrainingError } from './errors';
import type { Optimizer, OptimizerStep } from './optimizer';
import type { NamedTensor, Parameter } from './policy';

export interface AdamWOptions {
  /** β₁, the decay rate of the first moment. Default 0.9. */
  readonly beta1?: number;
  /** β₂, the decay rate of the second moment. Default 0.999. */
  readonly beta2?: number;
  /** ε, added to the denominator after its bias correction; 1e-16 to 1. Default 1e-8. */
  readonly epsilon?: number;
  /** λ, the decoupled weight decay of parameters with `decay`; 0 to 1. Default 0. */
  readonly weightDecay?: number;
  /** The implementation of the update. Default: portable tfjs operations. */
  readonly kernel?: AdamWKernel;
}

/** Both moments of a parameter's gradients, under PyTorch's names, each of the parameter's shape. */
export interface Moments {
  expAvg: tf.Tensor;
  expAvgSq: tf.Tensor;
}

/** A parameter to update, with its gradient and moments. */
export interface AdamWUpdate {
  readonly parameter: Parameter;
  readonly gradient: tf.Tensor;
  readonly moments: Moments;
}

/** The scalars of one step, the same for all parameters of a kernel call. */
export interface AdamWScalars {
  /** Every gradient is multiplied by this. */
  readonly gradientScale: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** lr / (1 − β₁ᵗ). */
  readonly stepSize: number;
  /** √(1 − β₂ᵗ). */
  readonly biasCorrection2Sqrt: number;
  /** 1 − lr·λ, or 1 where the parameters do not decay. */
  readonly decayFactor: number;
}

/**
 * Updates parameters and their moments, and returns the moments: either new tensors, with the old ones disposed, or the same
 * tensors changed in place.
 */
export type AdamWKernel = (updates: readonly AdamWUpdate[], scalars: AdamWScalars) => readonly Moments[];

const EXP_AVG = '.exp_avg';
const EXP_AVG_SQ = '.exp_avg_sq';

/**
 * AdamW (arXiv 1711.05101, algorithm 2) with PyTorch's order of operations and placement of epsilon:
 *
 *     p ← p (1 − lr·λ)
 *     m ← m + (g − m)(1 − β₁),  v ← β₂ v + (1 − β₂) g²
 *     p ← p − (lr / (1 − β₁ᵗ)) m / (√v / √(1 − β₂ᵗ) + ε)
 *
 * Moments are float32 and are created at a parameter's first gradient. A parameter without a gradient does not change and does not
 * decay. The portable implementation needs at most three temporaries of one parameter's size. The state's tensors are named
 * `<parameter>.exp_avg` and `<parameter>.exp_avg_sq`.
 *
 * @throws RangeError for an option out of range; TrainingError where a loaded state belongs to another model.
 */
export function adamW(options: AdamWOptions = {}): Optimizer {
  const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0, kernel = portable } = options;
  checkOptions({ beta1, beta2, epsilon, weightDecay });
  const moments = new Map<string, Moments>();
  let steps = 0;

  function momentsOf(parameter: Parameter): Moments {
    const { name, shape } = parameter;
    const known = moments.get(name);
    if (!known) {
      const zeros = { expAvg: tf.zerosLike(parameter.value()), expAvgSq: tf.zerosLike(parameter.value()) };
      moments.set(name, zeros);
      return zeros;
    }
    if (String(known.expAvg.shape) === String(shape)) return known;
    throw new TrainingError(
      `optimizer state of "${name}": expected shape [${shape}], found [${known.expAvg.shape}]. The state belongs to another ` +
        'model: resume with the model that it was saved from.',
    );
  }

  function dispose(): void {
    for (const { expAvg, expAvgSq } of moments.values()) tf.dispose([expAvg, expAvgSq]);
    moments.clear();
  }

  return {
    step({ parameters, learningRate, gradientScale }: OptimizerStep) {
      steps += 1;
      const stepSize = learningRate / (1 - beta1 ** steps);
      const biasCorrection2Sqrt = Math.sqrt(1 - beta2 ** steps);
      for (const decays of [true, false]) {
        const updates = parameters.flatMap((parameter) => {
          const gradient = parameter.decay === decays ? parameter.gradient() : null;
          return gradient ? [{ parameter, gradient, moments: momentsOf(parameter) }] : [];
        });
        if (updates.length === 0) continue;
        const decayFactor = decays ? 1 - learningRate * weightDecay : 1;
        const scalars = { gradientScale, beta1, beta2, epsilon, stepSize, biasCorrection2Sqrt, decayFactor };
        const next = kernel(updates, scalars);
        updates.forEach(({ parameter }, i) => moments.set(parameter.name, next[i]!));
      }
    },
    state: () => ({ step: steps, tensors: namedMoments(moments) }),
    async load({ step, tensors }) {
      dispose();
      steps = step;
      try {
        await readMoments(tensors, moments);
      } catch (error) {
        dispose();
        throw error;
      }
    },
    dispose,
  };
}

const portable: AdamWKernel = (updates, scalars) => updates.map((update) => portableUpdate(update, scalars));

function portableUpdate(
  { parameter, gradient, moments }: AdamWUpdate,
  { gradientScale, beta1, beta2, epsilon, stepSize, biasCorrection2Sqrt, decayFactor }: AdamWScalars,
): Moments {
  const g = gradientScale === 1 ? tf.clone(gradient) : tf.mul(gradient, gradientScale);
  const expAvg = replace(moments.expAvg, (m) => tf.add(m, tf.mul(tf.sub(g, m), 1 - beta1)));
  const expAvgSq = replace(moments.expAvgSq, (v) => tf.add(tf.mul(v, beta2), tf.mul(tf.mul(g, 1 - beta2), g)));
  g.dispose();
  const change = tf.tidy(() => {
    const denominator = tf.tidy(() => tf.add(tf.div(tf.sqrt(expAvgSq), biasCorrection2Sqrt), epsilon));
    return tf.div(tf.mul(expAvg, stepSize), denominator);
  });
  const next = tf.tidy(() => {
    const value = parameter.value();
    return tf.sub(decayFactor === 1 ? value : tf.mul(value, decayFactor), change);
  });
  change.dispose();
  parameter.assign(next);
  return { expAvg, expAvgSq };
}

function replace(old: tf.Tensor, next: (old: tf.Tensor) => tf.Tensor): tf.Tensor {
  const value = tf.tidy(() => next(old));
  old.dispose();
  return value;
}

function* namedMoments(moments: ReadonlyMap<string, Moments>): Generator<NamedTensor> {
  for (const [name, { expAvg, expAvgSq }] of moments) {
    yield { name: name + EXP_AVG, tensor: expAvg };
    yield { name: name + EXP_AVG_SQ, tensor: expAvgSq };
  }
}

/** Reads a stored state into `moments`. Where it fails, every tensor read so far is disposed. */
async function readMoments(
  tensors: Iterable<NamedTensor> | AsyncIterable<NamedTensor>,
  moments: Map<string, Moments>,
): Promise<void> {
  const read = new Map<string, Partial<Moments>>();
  try {
    for await (const { name, tensor } of tensors) {
      const suffix = name.endsWith(EXP_AVG_SQ) ? EXP_AVG_SQ : name.endsWith(EXP_AVG) ? EXP_AVG : null;
      if (suffix === null) {
        tensor.dispose();
        throw new TrainingError(
          `AdamW state: expected tensors named <parameter>${EXP_AVG} or <parameter>${EXP_AVG_SQ}, found "${name}"`,
        );
      }
      const parameter = name.slice(0, -suffix.length);
      const entry = read.get(parameter) ?? {};
      entry[suffix === EXP_AVG_SQ ? 'expAvgSq' : 'expAvg'] = tensor;
      read.set(parameter, entry);
    }
    for (const [name, { expAvg, expAvgSq }] of read) {
      if (expAvg && expAvgSq) continue;
      throw new TrainingError(
        `AdamW state: expected "${name}${expAvg ? EXP_AVG_SQ : EXP_AVG}", found none: the file is incomplete`,
      );
    }
  } catch (error) {
    for (const { expAvg, expAvgSq } of read.values()) {
      expAvg?.dispose();
      expAvgSq?.dispose();
    }
    throw error;
  }
  for (const [name, { expAvg, expAvgSq }] of read) moments.set(name, { expAvg: expAvg!, expAvgSq: expAvgSq! });
}

function checkOptions(options: Required<Omit<AdamWOptions, 'kernel'>>): void {
  for (const [name, value] of Object.entries(options)) checkNumber(name as keyof typeof options, value, 'adamW: ');
}
