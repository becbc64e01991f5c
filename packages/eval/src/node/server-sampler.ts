import { promptMessages } from '../answers';
import type { Drawing, Sampler } from '../sample-answers';
import type { Endpoint } from './endpoint';

/** Answers by a server, a request each. */
export function serverSampler(
  endpoint: Endpoint,
  { temperature, topP, maxNewTokens, concurrency }: Drawing & { readonly concurrency: number },
): Sampler {
  return {
    batchSize: 1,
    concurrency,
    order: (prompts) => prompts,
    async *sample(batch) {
      for (const request of batch) {
        const options = { temperature, topP, seed: request.seed, maxTokens: maxNewTokens };
        const { text, finishReason } = await endpoint.chat(promptMessages(request.prompt), options);
        yield { request, completion: text, finish_reason: finishReason };
      }
    },
    dispose() {},
  };
}
