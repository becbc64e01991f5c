import { describe } from '@wpo/internal/describe';
import { defaultMaxPromptLength } from '@wpo/internal/prompt-length';
import { RowError, type RowLocation } from '../rows/fields';
import type { PreferenceRow } from '../rows/preference-row';
import { type BadRows, keepGood } from '../rows/read-rows';
import { type FormatOptions, formatPair, type TokenLists } from './format-pair';

/**
 * How a pair is shortened to `maxLength` tokens.
 *
 * - `paper`: if the prompt and the longer answer together are too long, the prompt is cut at its start to
 *   `maxPromptLength`. If they are still too long, both answers are cut to `maxLength - maxPromptLength`.
 * - `keep_start`: the prompt and each answer, as one sequence, are cut at `maxLength`, as TRL does by default.
 */
export type Truncation = 'paper' | 'keep_start';

/** A pair ready to train on. None of the three lists is empty. */
export interface EncodedPair {
  readonly id: string;
  readonly prompt: Int32Array;
  readonly chosen: Int32Array;
  readonly rejected: Int32Array;
  /** The row's weight; absent if the row has none. */
  readonly weight?: number;
  /** Who wrote the answers; absent if the row does not say. */
  readonly sources?: NonNullable<PreferenceRow['sources']>;
  /** Tokens that truncation cut from the prompt, and from the answer that lost more; absent if it cut none. */
  readonly truncated?: { readonly prompt: number; readonly answer: number };
  /** The row's file and line. */
  readonly at: RowLocation;
}

export interface TruncateOptions {
  /** Default `paper`. */
  readonly truncation?: Truncation;
  /** Maximum number of tokens of the prompt and one answer together, at least 2. Default 2048. */
  readonly maxLength?: number;
  /** Used by `paper` only; from 1 to `maxLength - 1`. Default 1800, or 88 % of a `maxLength` below 2048. */
  readonly maxPromptLength?: number;
}

export type EncodeOptions = FormatOptions & TruncateOptions;

/**
 * Shortens a pair to the length limits; returns it unchanged if it fits. `keep_start` leaves the answers empty if the
 * prompt alone fills `maxLength`.
 *
 * @throws {RangeError} if a limit is out of range
 */
export function truncatePair(pair: TokenLists, options: TruncateOptions = {}): TokenLists {
  const { truncation, maxLength, maxPromptLength } = checkLimits(options);
  let { prompt, chosen, rejected } = pair;
  if (truncation === 'keep_start') {
    const room = Math.max(0, maxLength - prompt.length);
    return { prompt: prompt.slice(0, maxLength), chosen: chosen.slice(0, room), rejected: rejected.slice(0, room) };
  }
  const longest = Math.max(chosen.length, rejected.length);
  if (prompt.length + longest > maxLength) prompt = prompt.slice(-maxPromptLength);
  if (prompt.length + longest > maxLength) {
    chosen = chosen.slice(0, maxLength - maxPromptLength);
    rejected = rejected.slice(0, maxLength - maxPromptLength);
  }
  return { prompt, chosen, rejected };
}

/**
 * Token ids of a row, formatted and truncated: `truncatePair(formatPair(row))`, with a check that no part is empty.
 *
 * @throws {RowError} if the chat template rejects the row, or a part has no tokens after truncation
 * @throws {Error} if the options cannot encode any row
 */
export function encodePair(row: PreferenceRow, options: EncodeOptions): EncodedPair {
  const { whole, kept } = encodeLists(row, options);
  const ids = (part: keyof TokenLists) => tokenIds(kept[part], row.id);
  const cut = (part: keyof TokenLists) => whole[part].length - kept[part].length;
  const truncated = { prompt: cut('prompt'), answer: Math.max(cut('chosen'), cut('rejected')) };
  return pairOf(row, { prompt: ids('prompt'), chosen: ids('chosen'), rejected: ids('rejected') }, truncated);
}

/** The pair of a row, given its token ids and how many were cut. */
export const pairOf = (
  { id, weight, sources, at }: PreferenceRow,
  ids: Pick<EncodedPair, 'prompt' | 'chosen' | 'rejected'>,
  truncated: NonNullable<EncodedPair['truncated']>,
): EncodedPair => ({
  id,
  ...ids,
  ...(weight === undefined ? {} : { weight }),
  ...(sources && { sources }),
  ...(truncated.prompt + truncated.answer > 0 && { truncated }),
  at,
});

/** @throws {Error} if the tokenizer returned something that is no id: it would become another id in 32 bits */
function tokenIds(list: readonly number[], row: string): Int32Array {
  const ids = Int32Array.from(list);
  const wrong = ids.findIndex((id, i) => id !== list[i] || id < 0);
  if (wrong === -1) return ids;
  throw new Error(
    `${row}: expected token ids from 0 to 2147483647 from the tokenizer, found ${describe(list[wrong])} as token ${wrong}.`,
  );
}

/** As `encodePair`; returns the row's ids both before (`whole`) and after truncation (`kept`). */
export function encodeLists(
  row: PreferenceRow,
  options: EncodeOptions,
): { readonly whole: TokenLists; readonly kept: TokenLists } {
  checkLimits(options);
  const whole = formatPair(row, options);
  const kept = truncatePair(whole, options);
  for (const part of ['prompt', 'chosen', 'rejected'] as const) {
    if (kept[part].length > 0) continue;
    throw new RowError(row.at, {
      field: part,
      found: part === 'prompt' ? 'no tokens' : `no room after a prompt of ${kept.prompt.length} tokens or more`,
      expected: 'at least one token of the prompt and of each answer',
      hint:
        part === 'prompt'
          ? 'The chat template renders the prompt to an empty text: fill the prompt in, or check the template.'
          : 'Raise max_length, or use truncation "paper", which cuts the prompt first.',
    });
  }
  return { whole, kept };
}

/**
 * Encodes rows one by one, e.g. those of `readRows`.
 *
 * @throws {RowError} on a row that cannot be encoded, unless `onBadRow` is `skip`
 * @throws {Error} if the options cannot encode any row
 */
export async function* encodeRows(
  rows: AsyncIterable<PreferenceRow> | Iterable<PreferenceRow>,
  options: EncodeOptions & BadRows,
): AsyncGenerator<EncodedPair, void, undefined> {
  for await (const row of rows) {
    const pair = keepGood(() => encodePair(row, options), options);
    if (pair !== undefined) yield pair;
  }
}

function checkLimits({ truncation = 'paper', maxLength = 2048, ...limits }: TruncateOptions) {
  const { maxPromptLength = defaultMaxPromptLength(maxLength) } = limits;
  if (truncation !== 'paper' && truncation !== 'keep_start') {
    throw new RangeError(`truncation: expected "paper" or "keep_start", found ${describe(truncation)}.`);
  }
  if (!Number.isSafeInteger(maxLength) || maxLength < 2) {
    throw new RangeError(
      `max_length: expected an integer of at least 2 (a token of the prompt and one of the answer), found ${maxLength}.`,
    );
  }
  if (truncation === 'paper') {
    if (!Number.isSafeInteger(maxPromptLength) || maxPromptLength < 1 || maxPromptLength >= maxLength) {
      throw new RangeError(
        `max_prompt_length: expected an integer from 1 to ${maxLength - 1}, found ${maxPromptLength} with max_length ` +
          `${maxLength}. Truncation "paper" leaves answers max_length - max_prompt_length tokens.`,
      );
    }
  }
  return { truncation, maxLength, maxPromptLength };
}
