// Shapes: N examples, K features.

/** An example of a logistic regression with a soft label. */
export interface Example {
  /** `[K]`. */
  readonly features: readonly number[];
  /** Probability of label 1, from 0 to 1. The example counts as label 1 with this weight, and as label 0 with the rest. */
  readonly probability: number;
}

const MAX_ITERATIONS = 100;

/**
 * Logistic regression with an L1 penalty and without an intercept. Returns the weights w, `[K]`, that minimize
 *
 *     Σ_k |w_k| + C · Σ_n (p_n log(1 + e^(−z_n)) + (1 − p_n) log(1 + e^(z_n))),   z_n = w · x_n
 *
 * This is the objective of liblinear's `L1R_LR` (Fan et al. 2008), minimized to convergence by a proximal Newton method
 * (Lee, Sun and Saunders 2014).
 *
 * @param c inverse regularization strength, above 0
 */
export function fitL1Logistic(examples: readonly Example[], c: number): number[] {
  let weights = examples[0]!.features.map(() => 0);
  for (let iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
    const step = newtonStep(weights, derivatives(examples, weights, c));
    if (step.every((change) => Math.abs(change) < 1e-9)) break;
    const next = lineSearch(weights, step, (w) => objective(examples, w, c));
    if (next === undefined) break; // rounding hides any further decrease
    weights = next;
  }
  return weights;
}

export const sigmoid = (z: number): number => 1 / (1 + Math.exp(-z));

export function dot(a: readonly number[], b: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** Cross-entropy of a soft label under a logit z. */
export const crossEntropy = (z: number, probability: number): number =>
  Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z))) - probability * z;

const objective = (examples: readonly Example[], weights: readonly number[], c: number): number =>
  weights.reduce((sum, w) => sum + Math.abs(w), 0) +
  c * examples.reduce((sum, { features, probability }) => sum + crossEntropy(dot(weights, features), probability), 0);

interface Derivatives {
  /** `[K]`. */
  readonly gradient: number[];
  /** `[K, K]`. */
  readonly hessian: number[][];
}

/** Derivatives of the objective without its penalty. */
function derivatives(examples: readonly Example[], weights: readonly number[], c: number): Derivatives {
  const gradient = weights.map(() => 0);
  const hessian = weights.map((_, j) => weights.map((_, k) => (j === k ? 1e-12 : 0))); // never singular
  for (const { features, probability } of examples) {
    const p = sigmoid(dot(weights, features));
    features.forEach((x, j) => {
      gradient[j]! += c * (p - probability) * x;
      features.forEach((y, k) => {
        hessian[j]![k]! += c * p * (1 - p) * x * y;
      });
    });
  }
  return { gradient, hessian };
}

/** The step to the minimum of the quadratic approximation plus the penalty, by coordinate descent. */
function newtonStep(weights: readonly number[], { gradient, hessian }: Derivatives): number[] {
  const step = weights.map(() => 0);
  for (let round = 0; round < 1000; round++) {
    let largestChange = 0;
    for (const [k, w] of weights.entries()) {
      const curvature = hessian[k]![k]!;
      const slope = gradient[k]! + dot(hessian[k]!, step);
      const target = softThreshold(w + step[k]! - slope / curvature, 1 / curvature) - w;
      largestChange = Math.max(largestChange, Math.abs(target - step[k]!));
      step[k] = target;
    }
    if (largestChange < 1e-12) break;
  }
  return step;
}

const softThreshold = (x: number, threshold: number) => Math.sign(x) * Math.max(0, Math.abs(x) - threshold);

/** Halves the step until it decreases the function. Undefined if no step does. */
function lineSearch(
  weights: readonly number[],
  step: readonly number[],
  f: (weights: readonly number[]) => number,
): number[] | undefined {
  const start = f(weights);
  for (let fraction = 1; fraction > 1e-4; fraction /= 2) {
    const next = weights.map((w, k) => w + fraction * step[k]!);
    if (f(next) < start) return next;
  }
  return undefined;
}
