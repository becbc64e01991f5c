import type { Measured } from './measure';

/** What the length limits cut off, in pairs and in tokens. */
export interface CutCounts {
  /** Pairs that lose anything. */
  readonly pairs: number;
  /** Pairs that lose something of this part. */
  readonly prompts: number;
  readonly chosen: number;
  readonly rejected: number;
  /** Tokens that are lost, of prompts and of answers. */
  readonly promptTokens: number;
  readonly answerTokens: number;
}

/** Counts what is cut off of measured pairs. */
export class CutTally {
  private known = false;
  private readonly cut = { pairs: 0, prompts: 0, chosen: 0, rejected: 0, promptTokens: 0, answerTokens: 0 };

  add({ prompt, chosen, rejected, kept }: Measured): void {
    if (kept === undefined) return;
    this.known = true;
    const lost = { prompt: prompt - kept.prompt, chosen: chosen - kept.chosen, rejected: rejected - kept.rejected };
    if (lost.prompt + lost.chosen + lost.rejected > 0) this.cut.pairs += 1;
    if (lost.prompt > 0) this.cut.prompts += 1;
    if (lost.chosen > 0) this.cut.chosen += 1;
    if (lost.rejected > 0) this.cut.rejected += 1;
    this.cut.promptTokens += lost.prompt;
    this.cut.answerTokens += lost.chosen + lost.rejected;
  }

  /** Undefined where no pair said what is kept of it. */
  counts(): CutCounts | undefined {
    return this.known ? { ...this.cut } : undefined;
  }
}
