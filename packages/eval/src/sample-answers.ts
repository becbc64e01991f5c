import { type ConcurrencyOptions, concurrently } from '@wpo/internal/concurrently';
import type { AnswerRow, NamedPrompt } from './answers';

/** A prompt to answer with a seed. */
export interface SampleRequest extends NamedPrompt {
  readonly seed: number;
}

/** The answer to a request. */
export interface SampledAnswer {
  readonly request: SampleRequest;
  readonly completion: string;
  readonly finish_reason: 'stop' | 'length';
}

/** How tokens are sampled. */
export interface SamplingParams {
  /** 0 takes the most likely token. */
  readonly temperature: number;
  /** Sample from the most likely tokens up to this total probability, above 0 and at most 1. */
  readonly topP: number;
  readonly maxNewTokens: number;
}

/** Samples answers: a local model, or a server. */
export interface Sampler {
  /** How many requests `sample` takes at once. */
  readonly batchSize: number;
  /** How many batches to run at once. */
  readonly concurrency: number;
  /** Puts prompts in the order in which to sample them. */
  order(prompts: readonly NamedPrompt[]): readonly NamedPrompt[];
  sample(batch: readonly SampleRequest[]): AsyncIterable<SampledAnswer>;
  /** Frees the model. */
  dispose(): void;
}

export interface SampleAnswersOptions extends ConcurrencyOptions<readonly SampleRequest[]> {
  readonly prompts: Iterable<NamedPrompt>;
  /** Each prompt is answered once per seed. */
  readonly seeds: readonly number[];
  /** The model's name. */
  readonly source: string;
  /** Answers a batch. Yields each answer when it is complete; a request that it leaves out gets no row. */
  readonly sample: (batch: readonly SampleRequest[]) => AsyncIterable<SampledAnswer>;
  /** Whether an answer exists already, so that it is not sampled again. */
  readonly isDone?: (request: SampleRequest) => boolean;
  /** How many requests `sample` gets at once. Default 1. */
  readonly batchSize?: number;
}

/** A row of `sampleAnswers`. */
export interface SampledRow extends AnswerRow {
  readonly seed: number;
  readonly finish_reason: 'stop' | 'length';
}

/**
 * Answers each prompt once per seed. Yields a row as soon as its answer is complete, in any order. Batches take prompts in
 * the order given: sort them by length if a batch costs as much as its longest prompt.
 *
 * @throws the first error of `sample`, after the rows of the other running batches, if there is no `onError`
 */
export async function* sampleAnswers(options: SampleAnswersOptions): AsyncGenerator<SampledRow, void, undefined> {
  const { sample, source, batchSize = 1 } = options;
  for await (const answer of concurrently(batchesOf(requests(options), batchSize), sample, options)) {
    const { request, completion, finish_reason } = answer;
    const { prompt_id, prompt, seed } = request;
    yield { prompt_id, prompt, completion, source, seed, finish_reason };
  }
}

function* requests({ prompts, seeds, isDone }: SampleAnswersOptions): Generator<SampleRequest> {
  for (const { prompt_id, prompt } of prompts) {
    for (const seed of seeds) {
      const request = { prompt_id, prompt, seed };
      if (!isDone?.(request)) yield request;
    }
  }
}

function* batchesOf<T>(items: Iterable<T>, size: number): Generator<readonly T[]> {
  let batch: T[] = [];
  for (const item of items) {
    batch.push(item);
    if (batch.length < size) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}
