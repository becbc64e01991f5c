import { fingerprint } from '@wpo/internal/fingerprint';
import type { PreferenceRow } from '../rows/preference-row';

/** What came more than once, as rows beyond the first. */
export interface Repeats {
  /** Rows whose prompt stood in a row before. */
  readonly prompts: number;
  /** Rows whose prompt and both answers did. */
  readonly pairs: number;
  /** Rows whose id did. */
  readonly ids: number;
  /** Rows whose answers are equal. */
  readonly equalAnswers: number;
}

/** Counts repeated rows by fingerprints. */
export class RepeatCounts {
  private readonly prompts = new Set<number>();
  private readonly pairs = new Set<number>();
  private readonly ids = new Set<number>();
  private readonly counts = { prompts: 0, pairs: 0, ids: 0, equalAnswers: 0 };

  /** Whether the whole row came before, and whether its answers are equal. */
  add({ id, context, chosen, rejected }: PreferenceRow): { readonly repeated: boolean; readonly equal: boolean } {
    const prompt = context.map(({ role, content }) => [role, content]);
    const equal = chosen === rejected;
    if (equal) this.counts.equalAnswers += 1;
    this.count('ids', id);
    this.count('prompts', JSON.stringify(prompt));
    return { equal, repeated: this.count('pairs', JSON.stringify([prompt, chosen, rejected])) };
  }

  repeats(): Repeats {
    return { ...this.counts };
  }

  private count(what: 'prompts' | 'pairs' | 'ids', text: string): boolean {
    const seen = this[what];
    const size = seen.size;
    const repeated = seen.add(fingerprint(text)).size === size;
    if (repeated) this.counts[what] += 1;
    return repeated;
  }
}
