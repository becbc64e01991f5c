import * as v from 'valibot';
import { type AnswerRow, promptMessages, promptText } from '../answers';
import { EvaluationError } from '../errors';
import type { Sampler, SamplingParams } from '../sample-answers';
import type { Scorer } from '../score-answers';
import type { Endpoint } from './endpoint';

/** Samples answers from a server, one request per answer. */
export function serverSampler(
  endpoint: Endpoint,
  { temperature, topP, maxNewTokens, concurrency }: SamplingParams & { readonly concurrency: number },
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

/** vLLM's paths that return the value of a reward model. */
export type RewardApi = 'pooling' | 'classify' | 'score';

interface RewardRequest {
  body(answer: AnswerRow): object;
  /** The values in a reply. */
  values(reply: unknown): readonly number[];
}

/** The conversation with the answer. The server applies the model's chat template. */
const conversation = ({ prompt, completion }: AnswerRow) => ({
  messages: [...promptMessages(prompt), { role: 'assistant', content: completion }],
  add_generation_prompt: false,
});

const data = <T extends v.GenericSchema>(item: T) => v.object({ data: v.pipe(v.array(item), v.length(1)) });

const finite = v.pipe(v.number(), v.finite()); // JSON may have 1e999
const numbers = v.pipe(v.array(finite), v.minLength(1));
const poolingReply = data(v.object({ data: v.union([finite, numbers, v.pipe(v.array(numbers), v.minLength(1))]) }));
const classifyReply = data(v.object({ probs: numbers }));
const scoreReply = data(v.object({ score: finite }));

/** Requests and replies as in vLLM's vllm/entrypoints/pooling/{pooling,classify,scoring}/protocol.py. */
const REQUESTS: Readonly<Record<RewardApi, RewardRequest>> = {
  pooling: {
    body: conversation,
    values(reply) {
      const found = v.parse(poolingReply, reply, { abortEarly: true }).data[0]!.data;
      if (typeof found === 'number') return [found];
      const last = found.at(-1)!;
      return typeof last === 'number' ? (found as number[]) : last; // with a value per token, the last token's
    },
  },
  classify: {
    body: conversation,
    values: (reply) => v.parse(classifyReply, reply, { abortEarly: true }).data[0]!.probs,
  },
  score: {
    body: ({ prompt, completion }) => ({ text_1: promptText(prompt), text_2: completion }),
    values: (reply) => [v.parse(scoreReply, reply, { abortEarly: true }).data[0]!.score],
  },
};

/**
 * Scores answers with a reward model on a vLLM server. The score is the model's value for the conversation that ends with
 * the answer.
 *
 * @throws {EvaluationError} from `score`, if the model returns several numbers
 */
export async function rewardServer(endpoint: Endpoint, api: RewardApi): Promise<Scorer> {
  const { body, values } = REQUESTS[api];
  const model = await endpoint.model();
  return {
    name: `${model} ${api}`,
    async score(answer) {
      // vLLM's default activation squashes rewards; for a model with one output it can return 1 for every answer
      const found = await endpoint.post(`/${api}`, { model, ...body(answer), use_activation: false }, values);
      if (found.length === 1) return found[0]!;
      throw new EvaluationError(
        `prompt "${answer.prompt_id}": expected one number from /${api}, found ${found.length}. Serve a reward model ` +
          'with one output.',
      );
    },
  };
}
