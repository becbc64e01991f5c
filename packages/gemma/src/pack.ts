import type { Gemma2Config } from './config';
import type { Layout } from './model';
import type { Kernels, KeyRange, QueryBlock } from './ops/contract';

/** Small enough to compute little of the causal mask's empty half, large enough for an efficient matrix product. */
const QUERY_BLOCK_SIZE = 256;

/** A preference pair as token ids; structurally the trainer's. */
export interface TokenPair {
  readonly id: string;
  readonly prompt: ArrayLike<number>;
  readonly chosen: ArrayLike<number>;
  readonly rejected: ArrayLike<number>;
}

/** Tokens that follow on from each other, and the columns that hold the keys of positions 0 … last. */
export interface Segment {
  /** Column of the first token. */
  readonly row: number;
  readonly rows: number;
  /** Key columns in order of position, this segment's own last. */
  readonly keys: readonly KeyRange[];
}

/** Tokens laid out for a forward pass, and the rows of the last block that are read. */
export interface Sequence {
  readonly ids: Int32Array; // [T]
  readonly positions: Int32Array; // [T]
  readonly segments: readonly Segment[];
  /** Rows of which the last block's output is wanted, in order of `readSegments`. */
  readonly rows: Int32Array; // [A]
  /** The same rows as queries: their own columns in `row`, keys as everywhere. */
  readonly readSegments: readonly Segment[];
}

/** Pairs as one sequence: each prompt once, then its two answers, neither of which sees the other. */
export interface Packed extends Sequence {
  /** The token that each of `rows` predicts: chosen then rejected, pair after pair. */
  readonly targets: Int32Array; // [A]
}

/** Lays pairs out as one sequence. Throws where a pair has an empty part or an id outside the vocabulary. */
export function packPairs(pairs: readonly TokenPair[], vocabSize: number): Packed {
  const ids: number[] = [];
  const positions: number[] = [];
  const segments: Segment[] = [];
  const rows: number[] = [];
  const readSegments: Segment[] = [];
  const targets: number[] = [];
  const append = (tokens: ArrayLike<number>, before: Segment | null): Segment => {
    const row = ids.length;
    const from = before?.rows ?? 0;
    for (let i = 0; i < tokens.length; i++) {
      ids.push(tokens[i]!);
      positions.push(from + i);
    }
    const own = { start: row, count: tokens.length };
    const segment = { row, rows: tokens.length, keys: before ? [...before.keys, own] : [own] };
    segments.push(segment);
    return segment;
  };
  const answer = (tokens: ArrayLike<number>, prompt: Segment) => {
    const { row } = append(tokens, prompt);
    // The prompt's last row predicts the first token, each answer row the next; the last one predicts nothing.
    const seen = { start: row, count: tokens.length - 1 };
    readSegments.push({ row: rows.length, rows: tokens.length, keys: [...prompt.keys, seen] });
    for (let i = 0; i < tokens.length; i++) {
      rows.push(i === 0 ? prompt.row + prompt.rows - 1 : row + i - 1);
      targets.push(tokens[i]!);
    }
  };
  for (const pair of pairs) {
    checkPair(pair, vocabSize);
    const prompt = append(pair.prompt, null);
    answer(pair.chosen, prompt);
    answer(pair.rejected, prompt);
  }
  return {
    ids: Int32Array.from(ids),
    positions: Int32Array.from(positions),
    segments,
    rows: Int32Array.from(rows),
    readSegments,
    targets: Int32Array.from(targets),
  };
}

/** One sequence by itself, of which every row is read. */
export function wholeSequence(ids: Int32Array): Sequence {
  const every = Int32Array.from(ids, (_, i) => i);
  const segments = [{ row: 0, rows: ids.length, keys: [{ start: 0, count: ids.length }] }];
  return { ids, positions: every, segments, rows: every, readSegments: segments };
}

/** A layout for all blocks but the last, and one for the last, whose queries are the rows that are read. */
export interface Layouts {
  layer(index: number): Layout;
  dispose(): void;
}

export function layOut(sequence: Sequence, config: Gemma2Config, kernels: Kernels): Layouts {
  const { positions, segments, rows, readSegments } = sequence;
  const tables = (at: Int32Array) => kernels.rotaryTables(at, config.headDim, config.ropeTheta);
  const blocks = (of: readonly Segment[]) => ({
    full_attention: of.flatMap((segment) => queryBlocks(segment, Number.POSITIVE_INFINITY, kernels.queryBlockSize)),
    sliding_attention: of.flatMap((segment) => queryBlocks(segment, config.slidingWindow, kernels.queryBlockSize)),
  });
  const inner: Layout = { rotaryTables: tables(positions), queryBlocks: blocks(segments) };
  const readTables = tables(rows.map((row) => positions[row]!));
  const last: Layout = { ...inner, queryBlocks: blocks(readSegments), queries: { rows, rotaryTables: readTables } };
  return {
    layer: (index) => (index === config.numHiddenLayers - 1 ? last : inner),
    dispose() {
      for (const { cos, sin } of [inner.rotaryTables, readTables]) {
        cos.dispose();
        sin.dispose();
      }
    },
  };
}

/** Splits a segment into query blocks of at most `size` rows, each with only the keys that its rows see within `window`. */
function queryBlocks({ row, rows, keys }: Segment, window: number, size = QUERY_BLOCK_SIZE): QueryBlock[] {
  const firstPosition = keys.reduce((total, range) => total + range.count, 0) - rows;
  const each = Math.ceil(rows / Math.ceil(rows / size));
  const blocks: QueryBlock[] = [];
  for (let start = 0; start < rows; start += each) {
    const count = Math.min(each, rows - start);
    const position = firstPosition + start;
    const firstKey = Math.max(0, position - window + 1);
    blocks.push({
      start: row + start,
      count,
      keyRanges: sliceRanges(keys, firstKey, position + count),
      positionOffset: position - firstKey,
      window,
    });
  }
  return blocks;
}

/** The columns of positions `first` to `end` (exclusive), where `ranges` end to end hold positions 0, 1, …; joins neighbours. */
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
      const mend = part === 'prompt' ? 'start it with the <bos> token' : 'drop the pair, or raise the length limit';
      throw new Error(`pair ${pair.id}: its ${part} has no tokens; ${mend}`);
    }
    for (let i = 0; i < tokens.length; i++) {
      const id = tokens[i]!;
      if (Number.isInteger(id) && id >= 0 && id < vocabSize) continue;
      throw new Error(
        `pair ${pair.id}: ${part} token ${i} is ${id}, but the model's vocabulary is 0 … ${vocabSize - 1}; ` +
          "encode the text with the model's own tokenizer",
      );
    }
  }
}
