import type { PreferenceRow } from '../rows/preference-row';

/** A row to look at. */
export interface WorstRow {
  readonly id: string;
  /** `file:line` */
  readonly at: string;
  /** What makes it stand out, e.g. its tokens. */
  readonly value: number;
}

/** The rows of the highest ranks among those that were offered; of equal ones the first. */
export class WorstRows {
  private readonly kept: { readonly rank: number; readonly row: WorstRow }[] = [];

  /** @param size how many are kept */
  constructor(private readonly size: number) {}

  /** @param rank how bad it is; default its value */
  offer({ id, at }: PreferenceRow, value: number, rank = value): void {
    const before = this.kept.findIndex((other) => other.rank < rank);
    if (before < 0 && this.kept.length >= this.size) return;
    const row = { id, at: `${at.file}:${at.line}`, value };
    this.kept.splice(before < 0 ? this.kept.length : before, 0, { rank, row });
    this.kept.length = Math.min(this.kept.length, this.size);
  }

  /** The worst first. */
  rows(): readonly WorstRow[] {
    return this.kept.map(({ row }) => row);
  }
}
