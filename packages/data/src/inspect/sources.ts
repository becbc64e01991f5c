import type { PreferenceRow } from '../rows/preference-row';
import type { Measured } from './measure';

/** What one source's answers are like. */
export interface SourceReport {
  readonly chosen: number;
  readonly rejected: number;
  /** Mean length of its answers. */
  readonly meanLength: number;
  /** Mean score of its answers that have one; undefined where none has. */
  readonly meanScore: number | undefined;
}

interface Sums {
  chosen: number;
  rejected: number;
  length: number;
  score: number;
  scored: number;
}

/** Sums up answers by who wrote them. */
export class SourceTally {
  private readonly sums = new Map<string, Sums>();

  add({ sources, scores }: PreferenceRow, measured: Measured): void {
    if (sources === undefined) return;
    for (const side of ['chosen', 'rejected'] as const) {
      const sums = this.sumsOf(sources[side]);
      sums[side] += 1;
      sums.length += measured[side];
      if (scores === undefined) continue;
      sums.score += scores[side];
      sums.scored += 1;
    }
  }

  /** In the order in which the sources came. */
  report(): Record<string, SourceReport> {
    const entries = Array.from(this.sums, ([source, { chosen, rejected, length, score, scored }]) => {
      const meanLength = length / (chosen + rejected);
      return [source, { chosen, rejected, meanLength, meanScore: scored === 0 ? undefined : score / scored }] as const;
    });
    return Object.fromEntries(entries);
  }

  private sumsOf(source: string): Sums {
    const known = this.sums.get(source);
    if (known !== undefined) return known;
    const sums = { chosen: 0, rejected: 0, length: 0, score: 0, scored: 0 };
    this.sums.set(source, sums);
    return sums;
  }
}
