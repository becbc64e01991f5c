import type { NamedTensor, Parameter } from './policy';

export interface OptimizerStep {
  readonly parameters: readonly Parameter[];
  readonly learningRate: number;
  /** Every gradient is multiplied by this: the clipping. */
  readonly gradientScale: number;
}

/** The state that an optimizer saves and continues from. */
export interface OptimizerState {
  /** Steps done. */
  readonly step: number;
  /** Valid until the optimizer's next step. The optimizer owns the tensors: do not dispose them. */
  readonly tensors: Iterable<NamedTensor>;
}

/** An optimizer's state as read from a file. */
export interface StoredOptimizerState {
  readonly step: number;
  /** The optimizer takes ownership of each tensor. */
  readonly tensors: Iterable<NamedTensor> | AsyncIterable<NamedTensor>;
}

/** Updates parameters from their gradients. */
export interface Optimizer {
  /** One update. It does not change the gradients. */
  step(input: OptimizerStep): void | Promise<void>;
  state(): OptimizerState;
  /**
   * Replaces the state, which the next `step` continues.
   *
   * @throws TrainingError where it is the state of another optimizer or of other parameters.
   */
  load(state: StoredOptimizerState, parameters: readonly Parameter[]): Promise<void>;
  dispose(): void;
}
