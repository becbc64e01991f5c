import { type ConcurrencyOptions, concurrently } from '@wpo/internal/concurrently';
import type { AnswerRow, NamedPrompt } from './answers';

/** An answer that is wanted. */
export interface SampleRequest extends NamedPrompt {
  readonly seed: number;
}

/** An answer to a request. */
export interface Sampled {
  readonly request: SampleRequest;
  readonly completion: string;
  readonly finish_reason: 'stop' | 'length';
}

export interface SampleAnswersOptions extends ConcurrencyOptions<readonly SampleRequest[]> {
  readonly prompts: Iterable<NamedPrompt>;
  /** An answer to each prompt by each of them. */
  readonly seeds: readonly number[];
  /** The model's name. */
  readonly source: string;
  /** Answers a batch, giving each answer once it is whole; one that is left out is not written. */
  readonly sample: (batch: readonly SampleRequest[]) => AsyncIterable<Sampled>;
  /** Whether an answer is there already, and is not to be asked for. */
  readonly done?: (request: SampleRequest) => boolean;
  /** Requests that `sample` is given at once. Default 1. */
  readonly batchSize?: number;
}

/** An answer as `sampleAnswers` gives it. */
export type SampledRow = AnswerRow & Required<Pick<AnswerRow, 'seed' | 'finish_reason'>>;

/**
 * Answers each prompt once by each seed: in batches of prompts as they come, so order them by length where batches cost
 * as much as their longest. Gives a row as soon as its answer is there, whatever the order.
 *
 * @throws what `sample` threw, after the rows that are there, where no `onError` is given
 */
export async function* sampleAnswers(options: SampleAnswersOptions): AsyncGenerator<SampledRow, void, undefined> {
  const { sample, source, batchSize = 1 } = options;
  for await (const answer of concurrently(batchesOf(requests(options), batchSize), sample, options)) {
    const { request, completion, finish_reason } = answer;
    const { prompt_id, prompt, seed } = request;
    yield { prompt_id, prompt, completion, source, seed, finish_reason };
  }
}

function* requests({ prompts, seeds, done }: SampleAnswersOptions): Generator<SampleRequest> {
  for (const { prompt_id, prompt } of prompts) {
    for (const seed of seeds) {
      const request = { prompt_id, prompt, seed };
      if (!done?.(request)) yield request;
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
