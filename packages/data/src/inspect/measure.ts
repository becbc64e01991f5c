import { type EncodeOptions, encodeLists } from '../encode/encode-pair';
import type { PreferenceRow } from '../rows/preference-row';

/** Lengths of a pair's parts, in tokens or words. */
export interface Lengths {
  readonly prompt: number;
  readonly chosen: number;
  readonly rejected: number;
}

/** A pair's lengths before truncation. `kept` has the lengths after truncation, if they were measured. */
export interface MeasuredLengths extends Lengths {
  readonly kept?: Lengths;
}

/**
 * Lengths in tokens, as training encodes and truncates the pair.
 *
 * @throws {RowError} if the row cannot be encoded
 * @throws {Error} if the options cannot encode any row
 */
export function measureTokens(row: PreferenceRow, options: EncodeOptions): MeasuredLengths {
  const { whole, kept } = encodeLists(row, options);
  return { ...lengthsOf(whole), kept: lengthsOf(kept) };
}

/** Lengths in words, separated by whitespace, for use without a tokenizer. The prompt is all messages before the answer. */
export function measureWords({ context, chosen, rejected }: PreferenceRow): MeasuredLengths {
  const words = (text: string) => text.match(/\S+/g)?.length ?? 0;
  const prompt = context.reduce((sum, { content }) => sum + words(content), 0);
  return { prompt, chosen: words(chosen), rejected: words(rejected) };
}

const lengthsOf = ({ prompt, chosen, rejected }: Record<keyof Lengths, ArrayLike<number>>): Lengths => ({
  prompt: prompt.length,
  chosen: chosen.length,
  rejected: rejected.length,
});
