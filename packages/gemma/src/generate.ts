import { createCache } from './cache';
import { block, embedding, type Gemma2, type KeyValues, readout } from './model';
import type { Kernels, Value } from './ops/contract';
import { portableKernels } from './ops/portable';
import { layOut, type Sequence, wholeSequence } from './pack';
import { checkSampling, type SamplingOptions, sampleToken, seededRandom } from './sample';
import { Tape } from './tape';

export interface GenerateOptions extends SamplingOptions {
  /** Tokens to write at most. Default 256. */
  readonly maxNewTokens?: number;
  /** Seeds the draws, of all prompts or of each; the same seed writes the same answer, beside whatever others. Default 0. */
  readonly seed?: number | readonly number[];
  /** Ids that end the answer; default the config's eos ids. The one met is part of the answer, as in transformers. */
  readonly stopIds?: readonly number[];
  readonly kernels?: Kernels;
}

/** A token of an answer as it is written. */
export interface WrittenToken {
  /** Which prompt it answers. */
  readonly prompt: number;
  readonly token: number;
}

/**
 * Continues prompts (ids `[T]` each, T ≥ 1) side by side, a token of each at a time, keeping keys and values of what is
 * behind. A finished answer leaves the others to go on. Each prompt draws from a generator of its own.
 */
export async function* generateBatchTokens(
  model: Gemma2,
  prompts: readonly ArrayLike<number>[],
  options: GenerateOptions = {},
): AsyncGenerator<WrittenToken, void> {
  const {
    maxNewTokens = 256,
    seed = 0,
    stopIds = model.config.eosTokenId,
    kernels = portableKernels,
    ...sampling
  } = options;
  checkSampling(sampling);
  for (const [i, prompt] of prompts.entries()) checkPrompt(prompt, i, model.config.vocabSize);
  const randoms = seedsOf(seed, prompts.length).map(seededRandom);
  const cache = createCache(prompts.map((prompt) => prompt.length + Math.max(0, maxNewTokens - 1)));
  try {
    let open = prompts.map((ids, sequence) => ({ sequence, ids }));
    for (let written = 0; written < maxNewTokens && open.length > 0; written++) {
      const logits = await readLogits(model, kernels, cache.next(open), cache);
      const { vocabSize } = model.config;
      const next: typeof open = [];
      for (const [row, { sequence }] of open.entries()) {
        const own = logits.subarray(row * vocabSize, (row + 1) * vocabSize);
        const token = sampleToken(own, sampling, randoms[sequence]!);
        yield { prompt: sequence, token };
        if (!stopIds.includes(token)) next.push({ sequence, ids: [token] });
      }
      open = next;
    }
  } finally {
    cache.dispose();
  }
}

/** Continues one prompt, token by token. */
export async function* generateTokens(
  model: Gemma2,
  prompt: ArrayLike<number>,
  options?: GenerateOptions,
): AsyncGenerator<number, void> {
  for await (const { token } of generateBatchTokens(model, [prompt], options)) yield token;
}

/** The whole answers' ids, in order of the prompts; a stop id is included where one ended an answer. */
export async function generateBatch(
  model: Gemma2,
  prompts: readonly ArrayLike<number>[],
  options?: GenerateOptions,
): Promise<number[][]> {
  const answers: number[][] = prompts.map(() => []);
  for await (const { prompt, token } of generateBatchTokens(model, prompts, options)) answers[prompt]!.push(token);
  return answers;
}

/** The whole answer's ids, a stop id included where one ended it. */
export async function generate(model: Gemma2, prompt: ArrayLike<number>, options?: GenerateOptions): Promise<number[]> {
  return (await generateBatch(model, [prompt], options))[0]!;
}

/** Logits `[T, V]` of every position of one sequence, row-major: for comparing models, not for long text. */
export async function sequenceLogits(
  model: Gemma2,
  ids: ArrayLike<number>,
  kernels: Kernels = portableKernels,
): Promise<Float32Array> {
  return readLogits(model, kernels, wholeSequence(Int32Array.from(ids)));
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
  let x: Value = embedding(kernels, model, sequence.ids).output;
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

function seedsOf(seed: number | readonly number[], prompts: number): readonly number[] {
  if (typeof seed === 'number') return new Array<number>(prompts).fill(seed);
  if (seed.length === prompts) return seed;
  throw new RangeError(`generate: found ${seed.length} seeds for ${prompts} prompts, wanted one for each, or a number`);
}

function checkPrompt(prompt: ArrayLike<number>, index: number, vocabSize: number): void {
  if (prompt.length === 0) {
    throw new Error(`generate: prompt ${index} has no tokens; start it with the <bos> token`);
  }
  for (let i = 0; i < prompt.length; i++) {
    const id = prompt[i]!;
    if (Number.isInteger(id) && id >= 0 && id < vocabSize) continue;
    throw new Error(
      `generate: token ${i} of prompt ${index} is ${id}, but the model's vocabulary is 0 … ${vocabSize - 1}; encode the ` +
        "text with the model's own tokenizer",
    );
  }
}
