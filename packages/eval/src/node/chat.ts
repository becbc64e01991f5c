import type { Message } from '@wpo/data';
import * as v from 'valibot';

/** Options of a chat request. An option that is not set is left to the server. */
export interface ChatOptions {
  readonly temperature?: number;
  readonly topP?: number;
  readonly seed?: number;
  /** The most tokens that the answer may have. */
  readonly maxTokens?: number;
  /** How many of the most likely tokens to return for each position of the answer, with their log-probs. */
  readonly topLogprobs?: number;
}

/** A server's answer to a conversation. */
export interface ChatAnswer {
  /** Empty if the model stopped at once. */
  readonly text: string;
  /** `length` if the token limit cut the answer off. */
  readonly finishReason: 'stop' | 'length';
  /** One entry per token of the answer, if `topLogprobs` was set. */
  readonly logprobs?: readonly TokenLogprobs[];
}

/** A token and its natural log-prob. */
export interface TokenLogprob {
  readonly token: string;
  readonly logprob: number;
}

/** A token of an answer, and the most likely tokens at its position. */
export interface TokenLogprobs extends TokenLogprob {
  readonly top: readonly TokenLogprob[];
}

/** The body of a request to `/chat/completions`. */
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
        message: v.object({ content: v.nullish(v.string(), '') }), // null if reasoning used up all tokens
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

/** Parses a reply of `/chat/completions`. @throws if the answer or its finish reason is missing */
export function parseChat(reply: unknown): ChatAnswer {
  const [choice] = v.parse(chatReply, reply).choices;
  const { message, finish_reason: finishReason, logprobs } = choice!;
  const tokens = logprobs?.content?.map(({ token, logprob, top_logprobs: top }) => ({ token, logprob, top }));
  return { text: message.content, finishReason, ...(tokens === undefined ? {} : { logprobs: tokens }) };
}
