/** A model cannot be used as it is: its weights or the numbers that it computes are not finite, or it does not fit in memory. */
export class ModelError extends Error {
  override readonly name = 'ModelError';
}
