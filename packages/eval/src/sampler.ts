import type { NamedPrompt } from './answers';
import type { Sampled, SampleRequest } from './sample-answers';

/** What answers prompts. */
export interface Sampler {
  /** Requests that it takes at once, and how many such batches are best under way. */
  readonly batchSize: number;
  readonly concurrency: number;
  /** Puts prompts into the order in which they are best asked. */
  order(prompts: readonly NamedPrompt[]): readonly NamedPrompt[];
  sample(batch: readonly SampleRequest[]): AsyncIterable<Sampled>;
  dispose(): void;
}

/** How answers are drawn, whatever draws them. */
export interface Drawing {
  readonly temperature: number;
  readonly topP: number;
  readonly maxNewTokens: number;
}
