import type { Gemma2Config } from './config';
import type { Layout } from './model';
import type { AttentionSpan, Kernels } from './ops/kernels';

/** Queries a span: few enough that little of the causal square's empty half is computed, enough to fill a product. */
const ROWS = 256;

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
  readonly keys: readonly { readonly start: number; readonly length: number }[];
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
  /** How many answer tokens each pair has. */
  readonly answers: readonly { readonly chosen: number; readonly rejected: number }[];
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
    const own = { start: row, length: tokens.length };
    const segment = { row, rows: tokens.length, keys: before ? [...before.keys, own] : [own] };
    segments.push(segment);
    return segment;
  };
  const answer = (tokens: ArrayLike<number>, prompt: Segment) => {
    const { row } = append(tokens, prompt);
    // The prompt's last row predicts the first token, each answer row the next; the last one predicts nothing.
    const seen = { start: row, length: tokens.length - 1 };
    readSegments.push({ row: rows.length, rows: tokens.length, keys: [...prompt.keys, seen] });
    for (let i = 0; i < tokens.length; i++) {
      rows.push(i === 0 ? prompt.row + prompt.rows - 1 : row + i - 1);
      targets.push(tokens[i]!);
    }
    return tokens.length;
  };
  const answers = pairs.map((pair) => {
    checkPair(pair, vocabSize);
    const prompt = append(pair.prompt, null);
    return { chosen: answer(pair.chosen, prompt), rejected: answer(pair.rejected, prompt) };
  });
  return {
    ids: Int32Array.from(ids),
    positions: Int32Array.from(positions),
    segments,
    rows: Int32Array.from(rows),
    readSegments,
    targets: Int32Array.from(targets),
    answers,
  };
}

/** One sequence by itself, of which every row is read. */
export function wholeSequence(ids: Int32Array): Sequence {
  const every = Int32Array.from(ids, (_, i) => i);
  const segments = [{ row: 0, rows: ids.length, keys: [{ start: 0, length: ids.length }] }];
  return { ids, positions: every, segments, rows: every, readSegments: segments };
}

/** A layout for all blocks but the last, and one for the last, whose queries are the rows that are read. */
export interface Layouts {
  layer(index: number): Layout;
  dispose(): void;
}

export function layOut(sequence: Sequence, config: Gemma2Config, kernels: Kernels): Layouts {
  const { positions, segments, rows, readSegments } = sequence;
  const rotate = (at: Int32Array) => kernels.rotation(at, config.headDim, config.ropeTheta);
  const spans = (of: readonly Segment[]) => ({
    full_attention: of.flatMap((segment) => spansOf(segment, Number.POSITIVE_INFINITY, kernels.spanRows)),
    sliding_attention: of.flatMap((segment) => spansOf(segment, config.slidingWindow, kernels.spanRows)),
  });
  const inner: Layout = { rotation: rotate(positions), spans: spans(segments) };
  const readRotation = rotate(rows.map((row) => positions[row]!));
  const last: Layout = { ...inner, spans: spans(readSegments), queries: { rows, rotation: readRotation } };
  return {
    layer: (index) => (index === config.numHiddenLayers - 1 ? last : inner),
    dispose() {
      for (const { cos, sin } of [inner.rotation, readRotation]) {
        cos.dispose();
        sin.dispose();
      }
    },
  };
}

/** A segment in runs of rows, at most `most` each, with just the keys that these can see within `window`. */
export function spansOf({ row, rows, keys }: Segment, window: number, most = ROWS): AttentionSpan[] {
  const offset = keys.reduce((total, run) => total + run.length, 0) - rows; // position of the first row
  const each = Math.ceil(rows / Math.ceil(rows / most));
  const spans: AttentionSpan[] = [];
  for (let start = 0; start < rows; start += each) {
    const count = Math.min(each, rows - start);
    const first = Math.max(0, offset + start - window + 1);
    const end = offset + start + count;
    spans.push({
      row: row + start,
      rows: count,
      keys: cut(keys, first, end),
      lead: offset + start - first,
      window,
    });
  }
  return spans;
}

/** The part of `runs`, end to end, from `first` up to `end`; runs that touch become one. */
function cut(runs: Segment['keys'], first: number, end: number) {
  const parts: { start: number; length: number }[] = [];
  let at = 0;
  for (const run of runs) {
    const from = Math.max(first, at);
    const to = Math.min(end, at + run.length);
    const last = parts.at(-1);
    const start = run.start + from - at;
    if (to > from) {
      if (last && last.start + last.length === start) last.length += to - from;
      else parts.push({ start, length: to - from });
    }
    at += run.length;
  }
  return parts;
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
