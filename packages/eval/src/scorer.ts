import type { AnswerRow } from './answers';

/** What scores answers one by one. */
export interface Scorer {
  /** Stands on each row as `scored_by`. */
  readonly name: string;
  /** More is better. */
  score(answer: AnswerRow): number | Promise<number>;
}
