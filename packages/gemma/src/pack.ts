import type { KeyRange, QueryBlock } from './ops/contract';

// Several sequences run as one list of T token rows. A segment is a piece of a sequence that occupies consecutive rows; its
// key ranges say where the keys of the same sequence are. Example, a pair with prompt p, chosen c and rejected r:
//
//   rows       p0 p1 p2 | c0 c1 | r0 r1 r2
//   positions   0  1  2 |  3  4 |  3  4  5
//
// Three segments: the prompt sees itself; each answer sees the prompt and itself, and not the other answer. So the packed
// pass gives the numbers of two separate sequences, and computes the prompt once.

/** A preference pair as token ids. Every part has at least one token. */
export interface TokenPair {
  /** Names the pair in errors. */
  readonly id: string;
  readonly prompt: ArrayLike<number>;
  readonly chosen: ArrayLike<number>;
  readonly rejected: ArrayLike<number>;
}

/** Consecutive tokens of one sequence. */
export interface Segment {
  /** Row of the first token. */
  readonly start: number;
  /** Number of tokens. */
  readonly count: number;
  /** Columns of the sequence's keys, from position 0 to the segment's last token. */
  readonly keyRanges: readonly KeyRange[];
}

/** The input of a forward pass. */
export interface ModelInput {
  /** Token ids: `[T]`. */
  readonly ids: Int32Array;
  /** Position of each token in its sequence: `[T]`. */
  readonly positions: Int32Array;
  /** Covers the T rows in order. */
  readonly segments: readonly Segment[];
  /** The rows whose final hidden states are needed: `[A]`. A row may repeat. */
  readonly outputRows: Int32Array;
  /** Covers the A output rows in order: `start` counts output rows, key ranges count key columns. */
  readonly outputSegments: readonly Segment[];
}

/** Pairs as one input. The output rows are those that predict an answer token: chosen, then rejected, pair by pair. */
export interface PackedPairs extends ModelInput {
  /** The token that each output row predicts: `[A]`. */
  readonly targets: Int32Array;
}

/**
 * Packs pairs into one input.
 *
 * @throws Error for a pair with an empty part or a token id outside 0 … `vocabSize` − 1; names the pair
 */
export function packPairs(pairs: readonly TokenPair[], vocabSize: number): PackedPairs {
  const ids: number[] = [];
  const positions: number[] = [];
  const segments: Segment[] = [];
  const outputRows: number[] = [];
  const outputSegments: Segment[] = [];
  const targets: number[] = [];

  const append = (tokens: ArrayLike<number>, prompt: Segment | null): Segment => {
    const start = ids.length;
    const firstPosition = prompt?.count ?? 0;
    for (let i = 0; i < tokens.length; i++) {
      ids.push(tokens[i]!);
      positions.push(firstPosition + i);
    }
    const own = { start, count: tokens.length };
    const segment = { ...own, keyRanges: prompt ? [...prompt.keyRanges, own] : [own] };
    segments.push(segment);
    return segment;
  };
  const appendAnswer = (tokens: ArrayLike<number>, prompt: Segment) => {
    const { start } = append(tokens, prompt);
    // The prompt's last row predicts the first answer token, and each answer row the next one. The last row predicts nothing.
    const predicting = { start, count: tokens.length - 1 };
    outputSegments.push({
      start: outputRows.length,
      count: tokens.length,
      keyRanges: [...prompt.keyRanges, predicting],
    });
    for (let i = 0; i < tokens.length; i++) {
      outputRows.push(i === 0 ? prompt.start + prompt.count - 1 : start + i - 1);
      targets.push(tokens[i]!);
    }
  };
  for (const pair of pairs) {
    checkPair(pair, vocabSize);
    const prompt = append(pair.prompt, null);
    appendAnswer(pair.chosen, prompt);
    appendAnswer(pair.rejected, prompt);
  }
  return {
    ids: Int32Array.from(ids),
    positions: Int32Array.from(positions),
    segments,
    outputRows: Int32Array.from(outputRows),
    outputSegments,
    targets: Int32Array.from(targets),
  };
}

/** One sequence; every row is an output row. */
export function singleSequence(ids: Int32Array): ModelInput {
  const rows = Int32Array.from(ids, (_, i) => i);
  const own = { start: 0, count: ids.length };
  const segments = [{ ...own, keyRanges: [own] }];
  return { ids, positions: rows, segments, outputRows: rows, outputSegments: segments };
}

/** Default size. Larger blocks compute more masked scores; smaller ones make matrix products inefficient. */
const QUERY_BLOCK_SIZE = 256;

/**
 * Splits segments into query blocks of at most `size` queries, each with only the keys that its queries see.
 *
 * @param window sliding window in tokens; Infinity for full attention
 */
export const queryBlocks = (segments: readonly Segment[], window: number, size = QUERY_BLOCK_SIZE): QueryBlock[] =>
  segments.flatMap((segment) => splitSegment(segment, window, size));

function splitSegment({ start, count, keyRanges }: Segment, window: number, size: number): QueryBlock[] {
  const firstPosition = keyRanges.reduce((total, range) => total + range.count, 0) - count;
  const each = Math.ceil(count / Math.ceil(count / size)); // blocks of about equal size
  const blocks: QueryBlock[] = [];
  for (let done = 0; done < count; done += each) {
    const queries = Math.min(each, count - done);
    const position = firstPosition + done;
    const firstKey = Math.max(0, position - window + 1);
    blocks.push({
      start: start + done,
      count: queries,
      keyRanges: sliceRanges(keyRanges, firstKey, position + queries),
      positionOffset: position - firstKey,
      window,
    });
  }
  return blocks;
}

/** The columns of positions `first` to `end` (exclusive); adjacent ranges become one. */
function sliceRanges(ranges: readonly KeyRange[], first: number, end: number): KeyRange[] {
  const slices: { start: number; count: number }[] = [];
  let position = 0; // of the range's first column
  for (const range of ranges) {
    const from = Math.max(first, position);
    const to = Math.min(end, position + range.count);
    const start = range.start + from - position;
    const last = slices.at(-1);
    if (to > from) {
      if (last && last.start + last.count === start) last.count += to - from;
      else slices.push({ start, count: to - from });
    }
    position += range.count;
  }
  return slices;
}

function checkPair(pair: TokenPair, vocabSize: number): void {
  for (const part of ['prompt', 'chosen', 'rejected'] as const) {
    const tokens = pair[part];
    if (tokens.length === 0) {
      const hint = part === 'prompt' ? 'Start it with the <bos> token.' : 'Drop the pair, or raise the length limit.';
      throw new Error(`pair ${pair.id}: ${part}: expected at least one token, found none. ${hint}`);
    }
    checkTokenIds(tokens, vocabSize, `pair ${pair.id}: ${part}`);
  }
}

/** @throws Error naming `where` and the index of the first id outside 0 … `vocabSize` − 1 */
export function checkTokenIds(tokens: ArrayLike<number>, vocabSize: number, where: string): void {
  for (let i = 0; i < tokens.length; i++) {
    const id = tokens[i]!;
    if (Number.isInteger(id) && id >= 0 && id < vocabSize) continue;
    throw new Error(
      `${where}: token ${i}: expected an id from 0 to ${vocabSize - 1}, the model's vocabulary, found ${id}. ` +
        "Encode the text with the model's own tokenizer.",
    );
  }
}
