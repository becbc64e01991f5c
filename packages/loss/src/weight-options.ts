import type { Alignment } from './alignment';

export interface WeightNumbers {
  /** What token log-probs are measured against. Default `sampled`. */
  alignment?: Alignment;
  /** Whether a weight is held to at most 1. Default true, as in the authors' code; false is TRL's form. */
  clamp?: boolean;
  /** What s(y_w) + s(y_l) is divided by, above 0: 1 is the paper's, more draws all weights towards 1. Default 1. */
  temperature?: number;
}
