import { createCache } from './cache';
import { block, embedding, type Gemma2, type KeyValues, readout } from './model';
import { composed, type Kernels, type Value } from './ops/kernels';
import { continueSequence, layOut, type Sequence } from './pack';
import { checkSampling, type SamplingOptions, sampleToken, seededRandom } from './sample';
import { Tape } from './tape';

export interface GenerateOptions extends SamplingOptions {
  /** Tokens to write at most. Default 256. */
  readonly maxNewTokens?: number;
  /** Seeds the draws; the same seed writes the same answer. Default 0. */
  readonly seed?: number;
  /** Ids that end the answer; default the config's eos ids. The one met is part of the answer, as in transformers. */
  readonly stopIds?: readonly number[];
  readonly kernels?: Kernels;
}

/** Continues `prompt` (ids `[T]`, T ≥ 1) token by token, keeping keys and values of what is behind. */
export async function* generateTokens(
  model: Gemma2,
  prompt: ArrayLike<number>,
  {
    maxNewTokens = 256,
    seed = 0,
    stopIds = model.config.eosTokenIds,
    kernels = composed,
    ...sampling
  }: GenerateOptions = {},
): AsyncGenerator<number, void> {
  checkSampling(sampling);
  if (prompt.length === 0) throw new Error('generate: the prompt has no tokens; start it with the <bos> token');
  const random = seededRandom(seed);
  const cache = createCache(kernels);
  try {
    let next = Int32Array.from(prompt);
    for (let written = 0, seen = 0; written < maxNewTokens; written++) {
      const logits = await readLogits(model, kernels, continueSequence(seen, next), cache);
      seen += next.length;
      const token = sampleToken(logits, sampling, random);
      yield token;
      if (stopIds.includes(token)) return;
      next = Int32Array.of(token);
    }
  } finally {
    cache.dispose();
  }
}

/** The whole answer's ids, a stop id included where one ended it. */
export async function generate(model: Gemma2, prompt: ArrayLike<number>, options?: GenerateOptions): Promise<number[]> {
  const ids: number[] = [];
  for await (const id of generateTokens(model, prompt, options)) ids.push(id);
  return ids;
}

/** Logits `[T, V]` of every position of one sequence, row-major: for comparing models, not for long text. */
export async function sequenceLogits(
  model: Gemma2,
  ids: ArrayLike<number>,
  kernels: Kernels = composed,
): Promise<Float32Array> {
  return readLogits(model, kernels, continueSequence(0, Int32Array.from(ids), ids.length));
}

/** Logits `[rows, V]` of the rows that a sequence reads. */
async function readLogits(
  model: Gemma2,
  kernels: Kernels,
  sequence: Sequence,
  cache?: KeyValues,
): Promise<Float32Array> {
  const layouts = layOut(sequence, model.config, kernels);
  const tape = new Tape(kernels, false);
  let x: Value = embedding(kernels, model, sequence.ids).value;
  for (let layer = 0; layer < model.blocks.length; layer++) {
    const output = tape.release(block(tape, model, layer, x, { ...layouts.layer(layer), cache }));
    tape.dispose();
    x.dispose();
    x = output;
  }
  const logits = kernels.logits(readout(tape, model, x), model.embedding, model.config.finalLogitSoftcapping);
  tape.dispose();
  x.dispose();
  layouts.dispose();
  const values = (await logits.data()) as Float32Array;
  logits.dispose();
  return values;
}
