import type { Weight } from '@wpo/gemma';

/** Limits of the output head's memory, in logits. */
export interface LogitLimits {
  /** Logits of a chunk if a backward pass follows. */
  readonly train: number;
  /** Logits of a chunk if a backward pass follows and the weight is frozen. */
  readonly frozen: number;
  /** Logits of a chunk without a backward pass. */
  readonly forward: number;
  /** Logits with a gradient D that is kept for the backward pass. The D of other chunks is recomputed. */
  readonly kept: number;
}

/** 512 MB, 256 MB, 64 MB and 512 MB. */
export const LOGIT_LIMITS: LogitLimits = { train: 1 << 27, frozen: 1 << 26, forward: 1 << 24, kept: 1 << 27 };

/** A chunk of answer rows, whose logits are computed at once. */
export interface LogitChunk {
  readonly start: number;
  readonly count: number;
  /** Whether the gradient in the memory of the logits is kept for the backward pass. */
  readonly keeps: boolean;
}

/** The chunks of the output head. */
export function logitChunks(
  answerTokens: number,
  { shape, trainable }: Pick<Weight, 'shape' | 'trainable'>,
  requiresGrad: boolean,
  limits: LogitLimits,
): LogitChunk[] {
  const vocabulary = shape[0]!;
  const limit = limits[!requiresGrad ? 'forward' : trainable ? 'train' : 'frozen'];
  const most = Math.max(1, Math.floor(limit / vocabulary));
  return Array.from({ length: Math.ceil(answerTokens / most) }, (_, i) => {
    const start = i * most;
    const end = Math.min(answerTokens, start + most);
    return {
      start,
      count: end - start,
      keeps: requiresGrad && trainable && (i === 0 || end * vocabulary <= limits.kept),
    };
  });
}
