import type { Message } from '@wpo/data';
import {
  type Judgement,
  type JudgeRequest,
  judgeMessages,
  preferenceFromLogprobs,
  preferenceFromVerdict,
} from '@wpo/eval';
import { type ChatOptions, chatBody, type Endpoint, EndpointError } from '@wpo/eval/node';
import { hashJson } from '@wpo/trainer/node';
import * as v from 'valibot';
import { UserError } from '../errors';
import type { Memo } from './memo';

/** Whether a judge's preference is read from the log-probs of its first token, or from its words. */
export type JudgeForm = 'logprobs' | 'verdict';

/** What is kept of a judge's reply. */
export const judgeReply = v.object({
  text: v.string(),
  /** The likeliest first tokens. */
  top: v.exactOptional(v.array(v.object({ token: v.string(), logprob: v.number() }))),
});

export type JudgeReply = v.InferOutput<typeof judgeReply>;

export interface JudgeOptions {
  readonly endpoint: Endpoint;
  readonly form: JudgeForm;
  readonly prompt: readonly Message[];
  readonly memo: Memo<JudgeReply>;
}

/** As alpaca_eval asks: a temperature would change the log-probs that some servers give, and draws do not count. */
const ASKED: Readonly<Record<JudgeForm, ChatOptions>> = {
  logprobs: { temperature: 1, maxTokens: 1, topLogprobs: 5 },
  verdict: { temperature: 0, maxTokens: 8 },
};

/** A judge behind a server. What was asked before, in the very same words and of the same model, is not asked again. */
export async function endpointJudge({ endpoint, form, prompt, memo }: JudgeOptions) {
  const model = await endpoint.model();
  return async (request: JudgeRequest): Promise<Judgement> => {
    const messages = judgeMessages(prompt, request);
    const key = hashJson(JSON.parse(JSON.stringify(chatBody(model, messages, ASKED[form]))));
    const reply = await unlessRefused(memo.once(key, () => ask(endpoint, messages, form)));
    if (reply === undefined) return { preference: null, text: '' };
    const { text, top } = reply;
    return { preference: top ? preferenceFromLogprobs(top) : preferenceFromVerdict(text), text };
  };
}

async function ask(endpoint: Endpoint, messages: readonly Message[], form: JudgeForm): Promise<JudgeReply> {
  const { text, logprobs } = await endpoint.chat(messages, ASKED[form]);
  if (form === 'verdict') return { text };
  if (logprobs?.[0] !== undefined)
    return { text, top: logprobs[0].top.map(({ token, logprob }) => ({ token, logprob })) };
  throw new UserError(
    'the judge’s reply has no log-probs, which this server may not give. Add --judge-form verdict to go by its words.',
  );
}

/** Nothing where the server will not take this very request, as where it is too long: others may go on. */
async function unlessRefused<T>(reply: Promise<T>): Promise<T | undefined> {
  try {
    return await reply;
  } catch (error) {
    if (error instanceof EndpointError && [400, 413, 422].includes(error.status ?? 0)) return undefined;
    throw error;
  }
}
