import { type EncodeOptions, encodeLists } from '../encode/encode-pair';
import type { PreferenceRow } from '../rows/preference-row';

/** Lengths of a pair's parts. */
export interface Lengths {
  readonly prompt: number;
  readonly chosen: number;
  readonly rejected: number;
}

/** A pair's lengths as it is, and what training would keep of it; without `kept` where that is not known. */
export interface Measured extends Lengths {
  readonly kept?: Lengths;
}

/**
 * Lengths in tokens, as training encodes and cuts the pair.
 *
 * @throws {RowError} where the row cannot be encoded
 * @throws {Error} where the options cannot encode any row
 */
export function measureTokens(row: PreferenceRow, options: EncodeOptions): Measured {
  const { whole, kept } = encodeLists(row, options);
  return { ...lengthsOf(whole), kept: lengthsOf(kept) };
}

/** Lengths in words, those between spaces, where there is no tokenizer. The turns before the answer count as one text. */
export function measureWords({ context, chosen, rejected }: PreferenceRow): Measured {
  const words = (text: string) => text.match(/\S+/g)?.length ?? 0;
  const prompt = context.reduce((sum, { content }) => sum + words(content), 0);
  return { prompt, chosen: words(chosen), rejected: words(rejected) };
}

const lengthsOf = ({ prompt, chosen, rejected }: Record<keyof Lengths, ArrayLike<number>>): Lengths => ({
  prompt: prompt.length,
  chosen: chosen.length,
  rejected: rejected.length,
});
