import type { Tensor } from '@tensorflow/tfjs-core';
import type { Parameter } from './policy';

/** A tensor and the name that a file knows it by. */
export interface NamedTensor {
  readonly name: string;
  readonly tensor: Tensor;
}

export interface OptimizerStep {
  readonly parameters: readonly Parameter[];
  readonly learningRate: number;
  /** Every gradient counts times this: the clipping. */
  readonly gradientScale: number;
}

/** What an optimizer needs to go on where it was. */
export interface OptimizerState {
  /** Steps made so far. */
  readonly step: number;
  /** Still the optimizer's: not to be disposed, and good until its next step. */
  readonly tensors: Iterable<NamedTensor>;
}

/** An optimizer's state as it comes back from a file. */
export interface StoredOptimizerState {
  readonly step: number;
  /** The optimizer takes ownership of each tensor. */
  readonly tensors: Iterable<NamedTensor> | AsyncIterable<NamedTensor>;
}

/** Updates parameters from their gradients. The loop asks nothing more, so fused or 8-bit ones can take its place. */
export interface Optimizer {
  /** One update. Gradients are left as they are. */
  step(input: OptimizerStep): void | Promise<void>;
  state(): OptimizerState;
  /** Replaces the state; the next `step` goes on from it. */
  load(state: StoredOptimizerState): Promise<void>;
  dispose(): void;
}
