// Counters of the inspector: truncation, sources, repeats, and the rows that stand out.
import { fingerprint } from '@wpo/internal/fingerprint';
import type { PreferenceRow } from '../rows/preference-row';
import type { MeasuredLengths } from './measure';

/** How much truncation removes, in pairs and in tokens. */
export interface CutCounts {
  /** Pairs that lose any tokens. */
  readonly pairs: number;
  /** Pairs that lose tokens of this part. */
  readonly prompts: number;
  readonly chosen: number;
  readonly rejected: number;
  /** Tokens that are removed, from prompts and from answers. */
  readonly promptTokens: number;
  readonly answerTokens: number;
}

export class CutTally {
  private isMeasured = false;
  private readonly cut = { pairs: 0, prompts: 0, chosen: 0, rejected: 0, promptTokens: 0, answerTokens: 0 };

  add({ prompt, chosen, rejected, kept }: MeasuredLengths): void {
    if (kept === undefined) return;
    this.isMeasured = true;
    const lost = { prompt: prompt - kept.prompt, chosen: chosen - kept.chosen, rejected: rejected - kept.rejected };
    if (lost.prompt + lost.chosen + lost.rejected > 0) this.cut.pairs += 1;
    if (lost.prompt > 0) this.cut.prompts += 1;
    if (lost.chosen > 0) this.cut.chosen += 1;
    if (lost.rejected > 0) this.cut.rejected += 1;
    this.cut.promptTokens += lost.prompt;
    this.cut.answerTokens += lost.chosen + lost.rejected;
  }

  /** Undefined if no pair had its truncated lengths measured. */
  counts(): CutCounts | undefined {
    return this.isMeasured ? { ...this.cut } : undefined;
  }
}

/** Statistics of the answers of one source: how often they are chosen and rejected, their lengths and scores. */
export interface SourceReport {
  readonly chosen: number;
  readonly rejected: number;
  /** Mean length of its answers. */
  readonly meanLength: number;
  /** Mean score of its scored answers; undefined if there are none. */
  readonly meanScore: number | undefined;
}

interface SourceSums {
  chosen: number;
  rejected: number;
  length: number;
  score: number;
  scored: number;
}

export class SourceTally {
  private readonly sums = new Map<string, SourceSums>();

  add({ sources, scores }: PreferenceRow, lengths: MeasuredLengths): void {
    if (sources === undefined) return;
    for (const side of ['chosen', 'rejected'] as const) {
      const sums = this.sumsOf(sources[side]);
      sums[side] += 1;
      sums.length += lengths[side];
      if (scores === undefined) continue;
      sums.score += scores[side];
      sums.scored += 1;
    }
  }

  /** By source, in the order in which the sources were first added. */
  report(): Record<string, SourceReport> {
    const entries = Array.from(this.sums, ([source, { chosen, rejected, length, score, scored }]) => {
      const meanLength = length / (chosen + rejected);
      return [source, { chosen, rejected, meanLength, meanScore: scored === 0 ? undefined : score / scored }] as const;
    });
    return Object.fromEntries(entries);
  }

  private sumsOf(source: string): SourceSums {
    const known = this.sums.get(source);
    if (known !== undefined) return known;
    const sums = { chosen: 0, rejected: 0, length: 0, score: 0, scored: 0 };
    this.sums.set(source, sums);
    return sums;
  }
}

/** Rows that repeat an earlier one. */
export interface Repeats {
  /** Rows with the prompt of an earlier row. */
  readonly prompts: number;
  /** Rows with the prompt and both answers of an earlier row. */
  readonly pairs: number;
  /** Rows with the id of an earlier row. */
  readonly ids: number;
  /** Rows whose two answers are equal. */
  readonly equalAnswers: number;
}

/** Counts repeated rows by the fingerprints of their texts. */
export class RepeatTally {
  private readonly prompts = new Set<number>();
  private readonly pairs = new Set<number>();
  private readonly ids = new Set<number>();
  private readonly counts = { prompts: 0, pairs: 0, ids: 0, equalAnswers: 0 };

  /** Returns whether the whole row repeats an earlier one, and whether its answers are equal. */
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

  private count(kind: 'prompts' | 'pairs' | 'ids', text: string): boolean {
    const seen = this[kind];
    const size = seen.size;
    const repeated = seen.add(fingerprint(text)).size === size;
    if (repeated) this.counts[kind] += 1;
    return repeated;
  }
}

/** A row to look at. */
export interface WorstRow {
  readonly id: string;
  /** `file:line` */
  readonly at: string;
  /** The quantity by which the row stands out, e.g. its number of tokens. */
  readonly value: number;
  /** The beginning of the prompt and of each answer, at most 500 characters. Several messages each begin with their role. */
  readonly prompt: string;
  readonly chosen: string;
  readonly rejected: string;
}

const MAX_EXCERPT = 500;

/** The beginning of a text. A pair of surrogates is not divided. */
const excerpt = (text: string) =>
  text.length <= MAX_EXCERPT ? text : `${text.slice(0, MAX_EXCERPT - 1).replace(/[\ud800-\udbff]$/, '')}…`;

const promptText = (context: PreferenceRow['context']) =>
  context.length === 1 ? context[0]!.content : context.map(({ role, content }) => `${role}: ${content}`).join('\n');

/** Keeps the rows with the highest ranks. Of rows with equal ranks, the earlier one is kept. */
export class WorstRows {
  private readonly kept: { readonly rank: number; readonly row: WorstRow }[] = [];

  /** @param size how many rows are kept */
  constructor(private readonly size: number) {}

  /** @param rank higher is worse; default `value` */
  offer({ id, at, context, chosen, rejected }: PreferenceRow, value: number, rank = value): void {
    const before = this.kept.findIndex((other) => other.rank < rank);
    if (before < 0 && this.kept.length >= this.size) return;
    const texts = { prompt: excerpt(promptText(context)), chosen: excerpt(chosen), rejected: excerpt(rejected) };
    const row = { id, at: `${at.file}:${at.line}`, value, ...texts };
    this.kept.splice(before < 0 ? this.kept.length : before, 0, { rank, row });
    this.kept.length = Math.min(this.kept.length, this.size);
  }

  /** The worst first. */
  rows(): readonly WorstRow[] {
    return this.kept.map(({ row }) => row);
  }
}
