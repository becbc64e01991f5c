/** Where a training error happened, for a caller that wants more than the message. */
export interface TrainingErrorPlace {
  /** The optimizer step being made, counted from 1; absent outside a step. */
  readonly step?: number;
  /** The pair it is about, where it is about one. */
  readonly pairId?: string;
  readonly cause?: unknown;
}

/** What training refuses to go on from. The message says what was found, where, and how to mend it. */
export class TrainingError extends Error {
  readonly step: number | undefined;
  readonly pairId: string | undefined;

  constructor(message: string, place: TrainingErrorPlace = {}) {
    super(message, place.cause === undefined ? undefined : { cause: place.cause });
    this.name = 'TrainingError';
    this.step = place.step;
    this.pairId = place.pairId;
  }
}
