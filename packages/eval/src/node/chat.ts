import type { Message } from '@wpo/data';
import * as v from 'valibot';

export interface ChatOptions {
  readonly temperature?: number;
  readonly topP?: number;
  readonly seed?: number;
  /** Tokens of the answer at most. */
  readonly maxTokens?: number;
  /** So many of the likeliest tokens at each place come with the answer, with their log-probs. */
  readonly topLogprobs?: number;
}

export interface Answer {
  /** Empty where the model ended at once. */
  readonly text: string;
  readonly finishReason: 'stop' | 'length';
  /** A value each token; where they were asked for. */
  readonly logprobs?: readonly TokenLogprobs[];
}

/** A token of an answer and the likeliest in its place. */
export interface TokenLogprobs extends TokenLogprob {
  readonly top: readonly TokenLogprob[];
}

export interface TokenLogprob {
  readonly token: string;
  readonly logprob: number;
}

/** The body of a request to `/chat/completions`; what is not given is left to the server. */
export const chatBody = (model: string, messages: readonly Message[], options: ChatOptions) => ({
  model,
  messages,
  temperature: options.temperature,
  top_p: options.topP,
  seed: options.seed,
  max_tokens: options.maxTokens,
  ...(options.topLogprobs === undefined ? {} : { logprobs: true, top_logprobs: options.topLogprobs }),
});

const tokenLogprob = v.object({ token: v.string(), logprob: v.number() });

const chatReply = v.object({
  choices: v.pipe(
    v.array(
      v.object({
        finish_reason: v.picklist(['stop', 'length']),
        message: v.object({ content: v.nullish(v.string(), '') }), // null where reasoning took all the tokens
        logprobs: v.nullish(
          v.object({
            content: v.nullish(v.array(v.object({ ...tokenLogprob.entries, top_logprobs: v.array(tokenLogprob) }))),
          }),
        ),
      }),
    ),
    v.minLength(1),
  ),
});

/** @throws where the reply lacks its answer, or why the answer ended */
export function parseChat(reply: unknown): Answer {
  const [choice] = v.parse(chatReply, reply).choices;
  const { message, finish_reason: finishReason, logprobs } = choice!;
  const tokens = logprobs?.content?.map(({ token, logprob, top_logprobs: top }) => ({ token, logprob, top }));
  return { text: message.content, finishReason, ...(tokens === undefined ? {} : { logprobs: tokens }) };
}
