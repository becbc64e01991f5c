// N examples, K features.

/** What a logistic regression learns from. */
export interface Example {
  /** `[K]`. */
  readonly features: readonly number[];
  /** How likely the label is 1, from 0 to 1: counts as so much of an example of 1, and the rest of one of 0. */
  readonly probability: number;
}

const MOST_STEPS = 100;

/**
 * Logistic regression with an L1 penalty and no intercept: `[K]` weights w that minimise
 * Σ_k |w_k| + c · Σ_n (p_n log(1 + e^(−z_n)) + (1 − p_n) log(1 + e^(z_n))), z_n = w · x_n. The form of liblinear's `L1R_LR`
 * (Fan et al. 2008), solved by proximal Newton steps (Lee, Sun and Saunders 2014) until they no longer move.
 */
export function fitL1Logistic(examples: readonly Example[], c: number): number[] {
  let weights = examples[0]!.features.map(() => 0);
  for (let round = 0; round < MOST_STEPS; round++) {
    const step = newtonStep(weights, slopes(examples, weights, c));
    if (step.every((change) => Math.abs(change) < 1e-9)) break;
    const next = lineSearch(weights, step, (w) => penalised(examples, w, c));
    if (next === undefined) break; // as low as rounding lets it be seen
    weights = next;
  }
  return weights;
}

export const logistic = (z: number): number => 1 / (1 + Math.exp(-z));

export function dot(a: readonly number[], b: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** −log p of an example's label, given its logit. */
export const crossEntropy = (z: number, probability: number): number =>
  Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z))) - probability * z;

const penalised = (examples: readonly Example[], weights: readonly number[], c: number): number =>
  weights.reduce((sum, w) => sum + Math.abs(w), 0) +
  c * examples.reduce((sum, { features, probability }) => sum + crossEntropy(dot(weights, features), probability), 0);

interface Slopes {
  /** `[K]`. */
  readonly gradient: number[];
  /** `[K, K]`. */
  readonly hessian: number[][];
}

/** The slopes of the loss, its penalty left out. */
function slopes(examples: readonly Example[], weights: readonly number[], c: number): Slopes {
  const gradient = weights.map(() => 0);
  const hessian = weights.map((_, j) => weights.map((_, k) => (j === k ? 1e-12 : 0))); // never singular
  for (const { features, probability } of examples) {
    const p = logistic(dot(weights, features));
    features.forEach((x, j) => {
      gradient[j]! += c * (p - probability) * x;
      features.forEach((y, k) => {
        hessian[j]![k]! += c * p * (1 - p) * x * y;
      });
    });
  }
  return { gradient, hessian };
}

/** The step to the least of the loss's parabola with the penalty, one weight at a time until none moves. */
function newtonStep(weights: readonly number[], { gradient, hessian }: Slopes): number[] {
  const step = weights.map(() => 0);
  for (let round = 0; round < 1000; round++) {
    let moved = 0;
    for (const [k, w] of weights.entries()) {
      const curve = hessian[k]![k]!;
      const slope = gradient[k]! + dot(hessian[k]!, step);
      const aim = softThreshold(w + step[k]! - slope / curve, 1 / curve) - w;
      moved = Math.max(moved, Math.abs(aim - step[k]!));
      step[k] = aim;
    }
    if (moved < 1e-12) break;
  }
  return step;
}

const softThreshold = (x: number, by: number) => Math.sign(x) * Math.max(0, Math.abs(x) - by);

/** Goes along the step as far as it leads down, in halves; undefined where it leads nowhere. */
function lineSearch(
  weights: readonly number[],
  step: readonly number[],
  height: (weights: readonly number[]) => number,
): number[] | undefined {
  const start = height(weights);
  for (let share = 1; share > 1e-4; share /= 2) {
    const next = weights.map((w, k) => w + share * step[k]!);
    if (height(next) < start) return next;
  }
  return undefined;
}
