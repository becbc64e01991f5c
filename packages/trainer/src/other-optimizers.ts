import * as tf from '@tensorflow/tfjs-core';
import { checkNumber } from './check-number';
import { TrainingError } from './errors';
import {
  float32,
  optimizerOf,
  type RuleOptimizer,
  type RuleOptions,
  replaceState,
  type Scalars,
  type StateTensor,
  scaledGradient,
  type UpdateRule,
} from './update-rule';

export interface LionOptions extends RuleOptions {
  /** β₁, the weight of the momentum in the direction of an update. Default 0.9. */
  readonly beta1?: number;
  /** β₂, the decay rate of the momentum. Default 0.99. */
  readonly beta2?: number;
}

/** The scalars of a step of Lion. */
export interface LionScalars extends Scalars {
  readonly gradientScale: number;
  readonly beta1: number;
  /** 1 − β₁. */
  readonly oneMinusBeta1: number;
  readonly beta2: number;
  /** 1 − β₂. */
  readonly oneMinusBeta2: number;
  readonly learningRate: number;
  /** 1 − lr·λ, or 1 where the parameters do not decay. */
  readonly decayFactor: number;
}

/**
 * Lion (arXiv 2302.06675, algorithm 2), as in bitsandbytes with 32 bits. Every weight moves by the learning rate, so Lion wants about a
 * tenth of AdamW's rate:
 *
 *     p ← p (1 − lr·λ) − lr · sign(β₁ m + (1 − β₁) g)
 *     m ← β₂ m + (1 − β₂) g
 *
 * The momentum is float32 and is named `<parameter>.exp_avg`.
 *
 * @throws RangeError for an option out of range.
 */
export function lion({ beta1 = 0.9, beta2 = 0.99, ...options }: LionOptions = {}): RuleOptimizer {
  for (const [name, value] of Object.entries({ beta1, beta2, weightDecay: options.weightDecay ?? 0 })) {
    checkNumber(name as 'beta1', value, 'lion: ');
  }
  return optimizerOf(lionRule(beta1, beta2), options);
}

const lionRule = (beta1: number, beta2: number): UpdateRule<LionScalars> => ({
  name: 'Lion',
  state: ({ shape }) => ({ exp_avg: float32(shape) }),
  scalars: ({ learningRate, gradientScale, weightDecay }) => ({
    gradientScale,
    beta1,
    oneMinusBeta1: 1 - beta1,
    beta2,
    oneMinusBeta2: 1 - beta2,
    learningRate,
    decayFactor: 1 - learningRate * weightDecay,
  }),
  update(update, { gradientScale, beta1, oneMinusBeta1, beta2, oneMinusBeta2, learningRate, decayFactor }) {
    const { parameter, state } = update;
    const g = scaledGradient(update, gradientScale);
    const next = tf.tidy(() => {
      const direction = tf.sign(tf.add(tf.mul(state.exp_avg!, beta1), tf.mul(g, oneMinusBeta1)));
      return tf.sub(tf.mul(parameter.value(), decayFactor), tf.mul(direction, learningRate));
    });
    replaceState(update, 'exp_avg', (m) => tf.add(tf.mul(m, beta2), tf.mul(g, oneMinusBeta2)));
    g.dispose();
    parameter.assign(next);
  },
});

/** The scalars of a step of SGD. */
export interface SgdScalars extends Scalars {
  readonly gradientScale: number;
  readonly learningRate: number;
  readonly weightDecay: number;
}

/**
 * Stochastic gradient descent without momentum, as `torch.optim.SGD` with its defaults: p ← p − lr (g + λ p). It keeps no state.
 *
 * @throws RangeError for an option out of range.
 */
export function sgd(options: RuleOptions = {}): RuleOptimizer {
  checkNumber('weightDecay', options.weightDecay ?? 0, 'sgd: ');
  return optimizerOf(sgdRule, options);
}

const sgdRule: UpdateRule<SgdScalars> = {
  name: 'SGD',
  state: () => ({}),
  scalars: ({ learningRate, gradientScale, weightDecay }) => ({ gradientScale, learningRate, weightDecay }),
  update(update, { gradientScale, learningRate, weightDecay }) {
    const { parameter } = update;
    const g = scaledGradient(update, gradientScale);
    const next = tf.tidy(() => {
      const value = parameter.value();
      return tf.sub(value, tf.mul(tf.add(g, tf.mul(value, weightDecay)), learningRate));
    });
    g.dispose();
    parameter.assign(next);
  },
};

/** The scalars of a step of Adafactor. */
export interface AdafactorScalars extends Scalars {
  readonly gradientScale: number;
  /** β₂ₜ = 1 − t^−0.8, the decay rate of the squares at step t; 0 at the first. */
  readonly beta2: number;
  /** 1 − β₂ₜ. */
  readonly oneMinusBeta2: number;
  readonly learningRate: number;
  /** 1 − lr·λ, or 1 where the parameters do not decay. */
  readonly decayFactor: number;
}

/** ε₁ of the paper, added to squared gradients. */
const SQUARE_EPSILON = 1e-30;

/**
 * Adafactor (arXiv 1804.04235, algorithm 4) without first moment and with the learning rate of the schedule: `transformers`' Adafactor
 * with `scale_parameter=False, relative_step=False`, as its Trainer makes it. The second moment of a matrix `[n, m]` is kept as the means
 * of its rows and of its columns, n + m values instead of n·m:
 *
 *     r ← β₂ₜ r + (1 − β₂ₜ) mean over columns of g² + 1e-30,  c likewise over rows,  β₂ₜ = 1 − t^−0.8
 *     u = g / √(r cᵀ / mean(r)),  u ← u / max(1, rms(u))
 *     p ← p (1 − lr·λ) − lr · u
 *
 * Vectors keep the whole second moment v, and u = g / √v. The state's tensors are float32 and named `<parameter>.exp_avg_sq_row` and
 * `.exp_avg_sq_col`, or `.exp_avg_sq`.
 *
 * @throws RangeError for an option out of range.
 */
export function adafactor(options: RuleOptions = {}): RuleOptimizer {
  checkNumber('weightDecay', options.weightDecay ?? 0, 'adafactor: ');
  return optimizerOf(adafactorRule, options);
}

const adafactorRule: UpdateRule<AdafactorScalars> = {
  name: 'Adafactor',
  state({ name, shape, whole }): Record<string, StateTensor> {
    if (whole) {
      throw new TrainingError(
        `Adafactor: "${name}": expected the whole parameter, whose rows and columns it averages, found a range of its values. Use sharding: none.`,
      );
    }
    if (shape.length < 2) return { exp_avg_sq: float32(shape) };
    return {
      exp_avg_sq_row: float32(shape.slice(0, -1)),
      exp_avg_sq_col: float32([...shape.slice(0, -2), ...shape.slice(-1)]),
    };
  },
  scalars: ({ step, learningRate, gradientScale, weightDecay }) => ({
    gradientScale,
    beta2: 1 - step ** -0.8,
    oneMinusBeta2: step ** -0.8,
    learningRate,
    decayFactor: 1 - learningRate * weightDecay,
  }),
  update(update, { gradientScale, beta2, oneMinusBeta2, learningRate, decayFactor }) {
    const { parameter } = update;
    const g = scaledGradient(update, gradientScale);
    const squares = tf.tidy(() => tf.add(tf.square(g), SQUARE_EPSILON));
    const average = (name: string, now: () => tf.Tensor) =>
      replaceState(update, name, (old) => tf.add(tf.mul(old, beta2), tf.mul(now(), oneMinusBeta2)));
    /** Factors of g whose product is 1/√v, of shapes that broadcast. */
    let factors: () => tf.Tensor[];
    if (parameter.shape.length < 2) {
      const v = average('exp_avg_sq', () => squares);
      factors = () => [tf.rsqrt(v)];
    } else {
      const row = average('exp_avg_sq_row', () => tf.mean(squares, -1)); // [..., n]
      const column = average('exp_avg_sq_col', () => tf.mean(squares, -2)); // [..., m]
      factors = () => [
        tf.expandDims(tf.rsqrt(tf.div(row, tf.mean(row, -1, true))), -1), // [..., n, 1]
        tf.expandDims(tf.rsqrt(column), -2), // [..., 1, m]
      ];
    }
    squares.dispose();
    const next = tf.tidy(() => {
      const u = factors().reduce((product, factor) => tf.mul(product, factor), g);
      const rms = tf.sqrt(tf.mean(tf.square(u)));
      const change = tf.mul(tf.div(u, tf.maximum(rms, 1)), learningRate);
      return tf.sub(tf.mul(parameter.value(), decayFactor), change);
    });
    g.dispose();
    parameter.assign(next);
  },
};
