import type { Parameter } from './policy';
import type { SavedTensor } from './values';

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
  /** Can be read until the optimizer's next step. */
  readonly tensors: Iterable<SavedTensor>;
}

/** An optimizer's state as read from a file. */
export interface StoredOptimizerState {
  readonly step: number;
  /** Each is read before the next one is requested. */
  readonly tensors: Iterable<SavedTensor> | AsyncIterable<SavedTensor>;
}

/** Updates parameters from their gradients. */
export interface Optimizer {
  /** One update. It does not change the gradients. */
  step(input: OptimizerStep): void | Promise<void>;
  /**
   * Begins an update in parts. Each call of the result updates some of `input.parameters`, which all calls together update once.
   * The result is the same as that of `step`.
   */
  beginStep(input: OptimizerStep): (parameters: readonly Parameter[]) => void | Promise<void>;
  /**
   * Makes a part of the last update, if some of it waits until its parameters' values are read (`Parameter.updateLater`). Called between the
   * parts of the next step's forward pass.
   */
  continueUpdate?(): void;
  state(): OptimizerState;
  /**
   * Replaces the state, which the next `step` continues.
   *
   * @throws TrainingError where it is the state of another optimizer or of other parameters.
   */
  load(state: StoredOptimizerState, parameters: readonly Parameter[]): Promise<void>;
  dispose(): void;
}
