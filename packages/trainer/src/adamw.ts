import * as tf from '@tensorflow/tfjs-core';
import { TrainingError } from './errors';
import type { NamedTensor, Optimizer, OptimizerStep } from './optimizer';
import type { Parameter } from './policy';

export interface AdamWOptions {
  /** Decay rate of the mean of gradients; 0.9. */
  readonly beta1?: number;
  /** Decay rate of the mean of squared gradients; 0.999. */
  readonly beta2?: number;
  /** Added to the denominator after its bias correction; 1e-8. */
  readonly epsilon?: number;
  /** Decoupled decay, on the parameters that say `decay`; 0. */
  readonly weightDecay?: number;
  /** What updates parameters; composed from tfjs. */
  readonly kernel?: AdamWKernel;
}

/** Both means of a parameter's gradients, of its shape. */
export interface Moments {
  mean: tf.Tensor;
  square: tf.Tensor;
}

/** A parameter to update, by its gradient. */
export interface AdamWUpdate {
  readonly parameter: Parameter;
  readonly gradient: tf.Tensor;
  readonly moments: Moments;
}

/** What an update of any parameter needs to know at a step. */
export interface AdamWNumbers {
  /** Every gradient counts times this. */
  readonly gradientScale: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** lr / (1 − β₁ᵗ). */
  readonly stepSize: number;
  /** √(1 − β₂ᵗ). */
  readonly correction: number;
  /** 1 − lr·λ, or 1 where the parameter does not decay. */
  readonly keep: number;
}

/**
 * Updates parameters and their moments, and returns the moments: new ones, the old freed, or the same changed in place, as
 * a backend's fused kernel does.
 */
export type AdamWKernel = (updates: readonly AdamWUpdate[], how: AdamWNumbers) => readonly Moments[];

const MEAN = '.exp_avg';
const SQUARE = '.exp_avg_sq';

/**
 * AdamW (arXiv 1711.05101, algorithm 2) with PyTorch's order of operations and placement of epsilon:
 *
 *     p ← p (1 − lr·λ)
 *     m ← m + (g − m)(1 − β₁),  v ← β₂ v + (1 − β₂) g²
 *     p ← p − (lr / (1 − β₁ᵗ)) m / (√v / √(1 − β₂ᵗ) + ε)
 *
 * Moments are float32, two a parameter, made at its first gradient; a parameter without a gradient is left alone,
 * decay included. Composed, one parameter is worked on at a time, with at most three temporaries of its size. The state's
 * tensors are named `<parameter>.exp_avg` and `<parameter>.exp_avg_sq`.
 */
export function adamW(options: AdamWOptions = {}): Optimizer {
  const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0, kernel = composed } = options;
  checkOptions({ beta1, beta2, epsilon, weightDecay });
  const moments = new Map<string, Moments>();
  let steps = 0;

  function momentsOf(parameter: Parameter): Moments {
    const { name, shape } = parameter;
    const known = moments.get(name);
    if (!known) {
      const made = { mean: tf.zerosLike(parameter.value()), square: tf.zerosLike(parameter.value()) };
      moments.set(name, made);
      return made;
    }
    if (String(known.mean.shape) === String(shape)) return known;
    throw new TrainingError(
      `the optimizer's state of "${name}" has shape [${known.mean.shape}] and the parameter [${shape}]: the state ` +
        'belongs to another model. Resume with the model that it was saved from.',
    );
  }

  function dispose(): void {
    for (const { mean, square } of moments.values()) tf.dispose([mean, square]);
    moments.clear();
  }

  return {
    step({ parameters, learningRate, gradientScale }: OptimizerStep) {
      steps += 1;
      const stepSize = learningRate / (1 - beta1 ** steps);
      const correction = Math.sqrt(1 - beta2 ** steps);
      for (const decays of [true, false]) {
        const updates = parameters.flatMap((parameter) => {
          const gradient = parameter.decay === decays ? parameter.gradient() : null;
          return gradient ? [{ parameter, gradient, moments: momentsOf(parameter) }] : [];
        });
        if (updates.length === 0) continue;
        const keep = decays ? 1 - learningRate * weightDecay : 1;
        const next = kernel(updates, { gradientScale, beta1, beta2, epsilon, stepSize, correction, keep });
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

const composed: AdamWKernel = (updates, how) => updates.map((update) => composedUpdate(update, how));

function composedUpdate(
  { parameter, gradient, moments }: AdamWUpdate,
  { gradientScale, beta1, beta2, epsilon, stepSize, correction, keep }: AdamWNumbers,
): Moments {
  const scaled = gradientScale === 1 ? tf.clone(gradient) : tf.mul(gradient, gradientScale);
  const mean = replace(moments.mean, (m) => tf.add(m, tf.mul(tf.sub(scaled, m), 1 - beta1)));
  const square = replace(moments.square, (v) => tf.add(tf.mul(v, beta2), tf.mul(tf.mul(scaled, 1 - beta2), scaled)));
  scaled.dispose();
  const change = tf.tidy(() => {
    const denominator = tf.tidy(() => tf.add(tf.div(tf.sqrt(square), correction), epsilon));
    return tf.div(tf.mul(mean, stepSize), denominator);
  });
  const next = tf.tidy(() => {
    const value = parameter.value();
    return tf.sub(keep === 1 ? value : tf.mul(value, keep), change);
  });
  change.dispose();
  parameter.assign(next);
  return { mean, square };
}

function replace(old: tf.Tensor, next: (old: tf.Tensor) => tf.Tensor): tf.Tensor {
  const value = tf.tidy(() => next(old));
  old.dispose();
  return value;
}

function* namedMoments(moments: ReadonlyMap<string, Moments>): Generator<NamedTensor> {
  for (const [name, { mean, square }] of moments) {
    yield { name: name + MEAN, tensor: mean };
    yield { name: name + SQUARE, tensor: square };
  }
}

async function readMoments(
  tensors: Iterable<NamedTensor> | AsyncIterable<NamedTensor>,
  into: Map<string, Moments>,
): Promise<void> {
  const halves = new Map<string, Partial<Moments>>();
  try {
    for await (const { name, tensor } of tensors) {
      const suffix = name.endsWith(SQUARE) ? SQUARE : name.endsWith(MEAN) ? MEAN : null;
      if (suffix === null) {
        tensor.dispose();
        throw new TrainingError(`"${name}" is no AdamW state: its tensors are named <parameter>${MEAN} or ${SQUARE}`);
      }
      const parameter = name.slice(0, -suffix.length);
      const half = halves.get(parameter) ?? {};
      half[suffix === SQUARE ? 'square' : 'mean'] = tensor;
      halves.set(parameter, half);
    }
    for (const [name, { mean, square }] of halves) {
      if (mean && square) continue;
      throw new TrainingError(`the AdamW state lacks "${name}${mean ? SQUARE : MEAN}": the file is not whole`);
    }
  } catch (error) {
    for (const { mean, square } of halves.values()) tf.dispose([mean, square].filter((tensor) => tensor !== undefined));
    throw error;
  }
  for (const [name, { mean, square }] of halves) into.set(name, { mean: mean!, square: square! });
}

function checkOptions(options: Required<Omit<AdamWOptions, 'kernel'>>): void {
  const within = (name: keyof typeof options, low: number, high: number) => {
    const value = options[name];
    if (value >= low && value < high) return;
    throw new RangeError(`AdamW's ${name} must be at least ${low} and below ${high}, found ${value}`);
  };
  within('beta1', 0, 1);
  within('beta2', 0, 1);
  within('epsilon', 0, Number.POSITIVE_INFINITY);
  within('weightDecay', 0, Number.POSITIVE_INFINITY);
}
