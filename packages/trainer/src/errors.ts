/** Where a training error happened. */
export interface TrainingErrorDetails {
  /** The optimizer step, counted from 1; absent outside a step. */
  readonly step?: number;
  /** The pair that caused it, where there is one. */
  readonly pairId?: string;
  readonly cause?: unknown;
}

/** A fault that stops training. The message says what was found, where, and how to fix it. */
export class TrainingError extends Error {
  readonly step: number | undefined;
  readonly pairId: string | undefined;

  constructor(message: string, details: TrainingErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'TrainingError';
    this.step = details.step;
    this.pairId = details.pairId;
  }
}

/**
 * A loss or a gradient that is not finite: the step was not applied, and no weight has changed. `train` can skip such steps
 * (`skipNonfinite`).
 */
export class NonFiniteError extends TrainingError {}

/** A step was given up at a signal. Weights and optimizer are as before it. */
export class StepStopped extends Error {
  override readonly name = 'StepStopped';
}
