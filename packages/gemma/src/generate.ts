import type { Tensor2D } from '@tensorflow/tfjs-core';
import { describe } from '@wpo/internal/describe';
import { seededRandom } from '@wpo/internal/random';
import { createCache, type KeyValueCache } from './cache';
import { checkLogits } from './check-logits';
import { forward, type Gemma2, logits as logitsOf } from './model';
import type { Kernels, Pause } from './ops/contract';
import { portableKernels } from './ops/portable';
import { checkTokenIds, type ModelInput, singleSequence } from './pack';
import { checkSampling, type SamplingOptions, sampleToken } from './sample';
import { Tape } from './tape';

export interface GenerateOptions extends SamplingOptions {
  /** Most tokens to generate, from 0 to 1,048,576. The cache has room for all of them from the start. Default 256. */
  readonly maxNewTokens?: number;
  /**
   * Seed of the random draws: one number for every prompt, or one per prompt. A prompt's answer depends on its seed and not
   * on the other prompts. Whole numbers of at least 0. Default 0.
   */
  readonly seed?: number | readonly number[];
  /** Token ids that end the answer. The answer includes the stop token, as in transformers. Default: the config's `eosTokenId`. */
  readonly stopIds?: readonly number[];
  /** Default `portableKernels`. */
  readonly kernels?: Kernels;
  /** Awaited between layers. If it throws, the generation ends with that error. */
  readonly pause?: Pause;
}

/** A token of an answer, as it is generated. */
export interface GeneratedToken {
  /** Index of the prompt. */
  readonly prompt: number;
  readonly token: number;
}

/** The most tokens of an answer. */
const MAX_NEW_TOKENS = 2 ** 20;

/**
 * Continues prompts side by side with a key-value cache. Each pass generates one token for every prompt that has no stop token
 * yet. Each prompt has its own random generator.
 *
 * @param prompts token ids `[T]` of each prompt, T ≥ 1
 * @throws RangeError for an option outside its range; Error for an empty prompt or a token id outside the vocabulary;
 *   ModelError for logits that are not finite
 */
export async function* generateBatchTokens(
  model: Gemma2,
  prompts: readonly ArrayLike<number>[],
  options: GenerateOptions = {},
): AsyncGenerator<GeneratedToken, void> {
  const {
    maxNewTokens = 256,
    seed = 0,
    stopIds = model.config.eosTokenId,
    kernels = portableKernels,
    pause,
    ...sampling
  } = options;
  const { vocabSize } = model.config;
  checkSampling(sampling);
  if (!isInteger(maxNewTokens, MAX_NEW_TOKENS)) {
    throw refuse('maxNewTokens', `a whole number from 0 to ${MAX_NEW_TOKENS}`, maxNewTokens);
  }
  for (const id of stopIds) if (!isInteger(id)) throw refuse('stopIds', 'whole numbers of at least 0', id);
  for (const [i, prompt] of prompts.entries()) checkPrompt(prompt, `generate: prompt ${i}`, vocabSize);
  const randoms = seedsOf(seed, prompts.length).map(seededRandom);
  const cache = createCache(prompts.map((prompt) => prompt.length + Math.max(0, maxNewTokens - 1)));
  try {
    let unfinished = prompts.map((ids, sequence) => ({ sequence, ids }));
    for (let generated = 0; generated < maxNewTokens && unfinished.length > 0; generated++) {
      const logits = await readLogits(
        model,
        kernels,
        cache.next(unfinished),
        `generate: token ${generated} of the answer`,
        { cache, pause },
      );
      const next: typeof unfinished = [];
      for (const [row, { sequence }] of unfinished.entries()) {
        const own = logits.subarray(row * vocabSize, (row + 1) * vocabSize);
        const token = sampleToken(own, sampling, randoms[sequence]!);
        yield { prompt: sequence, token };
        if (!stopIds.includes(token)) next.push({ sequence, ids: [token] });
      }
      unfinished = next;
    }
  } finally {
    cache.dispose();
  }
}

/** Continues one prompt, token by token. @throws the errors of `generateBatchTokens` */
export async function* generateTokens(
  model: Gemma2,
  prompt: ArrayLike<number>,
  options?: GenerateOptions,
): AsyncGenerator<number, void> {
  for await (const { token } of generateBatchTokens(model, [prompt], options)) yield token;
}

/**
 * Returns each prompt's answer as token ids, including the stop id that ended it.
 *
 * @throws the errors of `generateBatchTokens`
 */
export async function generateBatch(
  model: Gemma2,
  prompts: readonly ArrayLike<number>[],
  options?: GenerateOptions,
): Promise<number[][]> {
  const answers: number[][] = prompts.map(() => []);
  for await (const { prompt, token } of generateBatchTokens(model, prompts, options)) answers[prompt]!.push(token);
  return answers;
}

/** Returns the answer's token ids, including the stop id that ended it. @throws the errors of `generateBatchTokens` */
export async function generate(model: Gemma2, prompt: ArrayLike<number>, options?: GenerateOptions): Promise<number[]> {
  return (await generateBatch(model, [prompt], options))[0]!;
}

/**
 * Logits of every position of one sequence: `[T, V]`, row-major. Meant for comparing models, not for long texts.
 *
 * @throws Error for an empty sequence or a token id outside the vocabulary; ModelError for logits that are not finite
 */
export async function sequenceLogits(
  model: Gemma2,
  ids: ArrayLike<number>,
  kernels: Kernels = portableKernels,
): Promise<Float32Array> {
  checkPrompt(ids, 'sequenceLogits', model.config.vocabSize);
  return readLogits(model, kernels, singleSequence(Int32Array.from(ids)), 'sequenceLogits');
}

/** Logits of the input's output rows: `[A, V]`, row-major. */
async function readLogits(
  model: Gemma2,
  kernels: Kernels,
  input: ModelInput,
  where: string,
  { cache, pause }: { readonly cache?: KeyValueCache; readonly pause?: Pause } = {},
): Promise<Float32Array> {
  const tape = new Tape(kernels, { record: false, pause });
  let logits: Tensor2D; // [A, V]
  try {
    const [hidden] = await forward(tape, model, [input], cache);
    logits = logitsOf(tape, model, hidden!);
  } finally {
    tape.dispose();
  }
  const values = (await logits.data()) as Float32Array;
  logits.dispose();
  await checkLogits(values, model, where);
  return values;
}

function seedsOf(seed: number | readonly number[], prompts: number): readonly number[] {
  const seeds = typeof seed === 'number' ? new Array<number>(prompts).fill(seed) : seed;
  if (seeds.length !== prompts) {
    throw new RangeError(
      `generate: seed: expected a number, or one for each of ${prompts} prompts, found ${seeds.length} numbers.`,
    );
  }
  for (const value of seeds) if (!isInteger(value)) throw refuse('seed', 'whole numbers of at least 0', value);
  return seeds;
}

const isInteger = (value: unknown, max = Number.MAX_SAFE_INTEGER) =>
  Number.isInteger(value) && Number(value) >= 0 && Number(value) <= max;

const refuse = (option: string, expected: string, found: unknown) =>
  new RangeError(`generate: ${option}: expected ${expected}, found ${describe(found)}.`);

function checkPrompt(prompt: ArrayLike<number>, where: string, vocabSize: number): void {
  if (prompt.length === 0) {
    throw new Error(`${where}: expected at least one token, found none. Start it with the <bos> token.`);
  }
  checkTokenIds(prompt, vocabSize, where);
}
