import type { Range } from './ranges';

/** More than any run has of steps, pairs of a step or tokens of a pass; sums and products of such numbers are exact. */
export const MAX_COUNT = 1e9;

/**
 * The ranges of the numbers that configure training. Within them AdamW's updates are finite wherever the gradients are.
 *
 * - `learningRate`, `weightDecay`: at most 1, so that the decay factor 1 − lr·λ does not leave 0 to 1.
 * - `epsilon`: a gradient below about 1e-18 squares to 0 in float32, so only ε limits its update. With ε = 0 every parameter whose gradient
 *   is 0 becomes 0/0.
 */
export const TRAINING_RANGES = {
  learningRate: { above: 0, max: 1 },
  warmupRatio: { min: 0, max: 1 },
  warmupSteps: { min: 0, max: MAX_COUNT },
  epochs: { above: 0, max: 1e6 },
  maxSteps: { min: -1, max: MAX_COUNT },
  batchSize: { min: 1, max: 1e6 },
  gradientAccumulationSteps: { min: 1, max: 1e6 },
  maxTokensPerPack: { min: 1, max: MAX_COUNT },
  maxGradNorm: { min: 0, max: MAX_COUNT },
  weightDecay: { min: 0, max: 1 },
  beta1: { min: 0, below: 1 },
  beta2: { min: 0, below: 1 },
  epsilon: { min: 1e-16, max: 1 },
  loggingSteps: { min: 0, max: MAX_COUNT },
  evalSteps: { min: 0, max: MAX_COUNT },
  saveSteps: { min: 0, max: MAX_COUNT },
  skipNonfinite: { min: 0, max: MAX_COUNT },
} as const satisfies Readonly<Record<string, Range>>;
