import * as v from 'valibot';
import { type AnswerRow, promptMessages, promptText } from '../answers';
import { EvaluationError } from '../errors';
import type { Scorer } from '../score-answers';
import type { Endpoint } from './endpoint';

/** A way of asking a reward model: the paths that vLLM serves. */
export type RewardApi = 'pooling' | 'classify' | 'score';

/** How a path is asked, and which numbers of its reply are the score. */
interface Form {
  body(answer: AnswerRow): object;
  numbers(reply: unknown): readonly number[];
}

/** The conversation that is scored, laid out by the server's own chat template. */
const conversation = ({ prompt, completion }: AnswerRow) => ({
  messages: [...promptMessages(prompt), { role: 'assistant', content: completion }],
  add_generation_prompt: false,
});

const data = <T extends v.GenericSchema>(item: T) => v.object({ data: v.pipe(v.array(item), v.length(1)) });

const numbers = v.pipe(v.array(v.number()), v.minLength(1));
const poolingReply = data(v.object({ data: v.union([v.number(), numbers, v.pipe(v.array(numbers), v.minLength(1))]) }));
const classifyReply = data(v.object({ probs: numbers }));
const scoreReply = data(v.object({ score: v.number() }));

/** Requests and replies as in vLLM's vllm/entrypoints/pooling/{pooling,classify,scoring}/protocol.py. */
const FORMS: Readonly<Record<RewardApi, Form>> = {
  pooling: {
    body: conversation,
    numbers(reply) {
      const found = v.parse(poolingReply, reply).data[0]!.data;
      if (typeof found === 'number') return [found];
      const last = found.at(-1)!;
      return typeof last === 'number' ? (found as number[]) : last; // of values token by token, the last token's
    },
  },
  classify: { body: conversation, numbers: (reply) => v.parse(classifyReply, reply).data[0]!.probs },
  score: {
    body: ({ prompt, completion }) => ({ text_1: promptText(prompt), text_2: completion }),
    numbers: (reply) => [v.parse(scoreReply, reply).data[0]!.score],
  },
};

/**
 * Scores by a reward model that is served as vLLM serves one: the number that it gives the conversation with the answer.
 *
 * @throws {EvaluationError} from `score`, where the model gives several numbers
 */
export async function rewardServer(endpoint: Endpoint, api: RewardApi): Promise<Scorer> {
  const { body, numbers } = FORMS[api];
  const model = await endpoint.model();
  return {
    name: `${model} ${api}`,
    async score(answer) {
      // without use_activation: false a reward comes squashed, and that of a model with one output may come as 1
      const found = await endpoint.post(`/${api}`, { model, ...body(answer), use_activation: false }, numbers);
      if (found.length === 1) return found[0]!;
      throw new EvaluationError(
        `prompt "${answer.prompt_id}": /${api} gave ${found.length} numbers, wanted one. Serve a model with one output.`,
      );
    },
  };
}
