import type { Value } from './ops/contract';

/** Memory for the inputs of recomputed layers between the forward and the backward pass, outside of the device that computes. */
export interface ActivationOffload {
  /**
   * Begins to copy a value out, and takes ownership of it. Its memory is free once the copy has ended. The copy runs beside operations
   * that are called later.
   */
  move(value: Value): OffloadedValue;
  /** Frees the memory, which is kept from pass to pass. */
  dispose(): void;
}

/** A value that was moved. At most two are on the device at once: the one that is fetched, and the next, whose copy has begun. */
export interface OffloadedValue {
  /** Begins to copy the value back. A second call does nothing. */
  prefetch(): void;
  /** The value on the device, owned by the caller. */
  fetch(): Value;
  /** Gives the memory back, for other values. */
  dispose(): void;
}
