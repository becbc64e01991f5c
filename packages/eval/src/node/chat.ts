import type { Message } from '@wpo/data';
import { printable } from '@wpo/internal/printable';
import * as v from 'valibot';
import { FinalReplyError } from './request';

/** Options of a chat request. An option that is not set is left to the server. */
export interface ChatOptions {
  readonly temperature?: number;
  readonly topP?: number;
  readonly seed?: number;
  /** The most tokens that the answer may have, reasoning included. */
  readonly maxTokens?: number;
  /** How many of the most likely tokens to return for each position of the answer, with their log-probs. */
  readonly topLogprobs?: number;
}

/** A server's answer to a conversation. */
export interface ChatAnswer {
  /** Empty if the model stopped at once, or spent all its tokens on reasoning. */
  readonly text: string;
  /** `length` if the token limit, or the end of the model's context, cut the answer off. */
  readonly finishReason: 'stop' | 'length';
  /** The model's reasoning, if the server returns it apart from the answer. */
  readonly reasoning?: string;
  /** One entry per token of the answer, if `topLogprobs` was set and the server returned them. */
  readonly logprobs?: readonly TokenLogprobs[];
}

/** A token and its natural log-prob. */
export interface TokenLogprob {
  readonly token: string;
  readonly logprob: number;
}

/** A token of an answer, and the most likely tokens at its position. */
export interface TokenLogprobs {
  readonly token: string;
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

const text = v.nullish(v.string(), '');
const chatReply = v.object({
  choices: v.pipe(v.array(v.unknown()), v.minLength(1)),
});
const chatChoice = v.object({
  finish_reason: v.nullish(v.string(), ''),
  message: v.nullish(
    v.object({
      content: v.nullish(v.union([v.string(), v.array(v.unknown())]), ''), // a list: Mistral's reasoning models
      refusal: text,
      reasoning_content: text, // vLLM, SGLang, DeepSeek
      reasoning: text, // OpenRouter, newer vLLM
    }),
  ),
  logprobs: v.optional(v.unknown()),
});

/** A problem is reported at the first fault, since a hostile reply may have millions. */
const STOP_EARLY = { abortEarly: true };

/** Reasons of a whole answer. A server that gives none returns whole answers too. */
const WHOLE = ['', 'stop', 'eos', 'eos_token', 'end_turn', 'stop_sequence'];
const CUT_OFF = ['length', 'max_tokens', 'model_length'];
/** The server failed; another attempt may succeed. */
const BROKEN = ['error', 'abort', 'aborted', 'cancelled'];
/** Another attempt would bring the same. */
const NO_ANSWER: ReadonlyMap<string, string> = new Map([
  ['content_filter', 'its content filter stopped the answer'],
  ['safety', 'its content filter stopped the answer'],
  ['tool_calls', 'the model called a tool instead of answering'],
  ['function_call', 'the model called a tool instead of answering'],
]);

/**
 * Parses a reply of `/chat/completions`. An answer with a finish reason that is not known counts as whole.
 *
 * @param onNotice gets a message about such a reason
 * @throws {FinalReplyError} if there is no answer because of a content filter or a tool
 * @throws {Error} if the answer is missing
 */
export function parseChat(reply: unknown, onNotice: (text: string) => void = () => {}): ChatAnswer {
  const { choices } = v.parse(chatReply, reply, STOP_EARLY);
  const { message, finish_reason: given, logprobs } = v.parse(chatChoice, choices[0], STOP_EARLY);
  if (choices.length > 1) onNotice('the server returned more than one answer to a request. Only the first is used.');
  const reason = given.toLowerCase();
  const noAnswer = NO_ANSWER.get(reason);
  if (noAnswer !== undefined) throw new FinalReplyError(`finish_reason ${reason}: ${noAnswer}`);
  if (BROKEN.includes(reason)) throw new Error(`finish_reason ${reason}`);
  if (message === null || message === undefined) throw new Error('no message');
  const answer = textOf(message.content) || message.refusal;
  const isKnown = WHOLE.includes(reason) || CUT_OFF.includes(reason);
  if (answer === '' && (reason === '' || !isKnown)) {
    throw new Error(`no text, and finish_reason ${reason === '' ? 'missing' : printable(reason, 40)}`);
  }
  if (!isKnown) onNotice(`finish_reason "${printable(given, 40)}" is not known; such answers count as whole.`);
  const reasoning = message.reasoning_content || message.reasoning;
  const tokens = tokensOf(logprobs);
  return {
    text: answer,
    finishReason: CUT_OFF.includes(reason) ? 'length' : 'stop',
    ...(reasoning === '' ? {} : { reasoning }),
    ...(tokens === undefined ? {} : { logprobs: tokens }),
  };
}

const textPart = v.object({ type: v.literal('text'), text: v.string() });

/** The text of a message, without the parts that are reasoning. */
const textOf = (content: string | readonly unknown[]): string =>
  typeof content === 'string' ? content : content.map((part) => (v.is(textPart, part) ? part.text : '')).join('');

const tokenList = v.object({
  content: v.array(v.object({ token: v.string(), top_logprobs: v.nullish(v.array(v.unknown()), []) })),
});
const finiteLogprob = v.object({ token: v.string(), logprob: v.pipe(v.number(), v.finite()) });

/** The log-probs of a reply in OpenAI's format. Undefined if there are none, or they have another format. */
function tokensOf(logprobs: unknown): TokenLogprobs[] | undefined {
  const { success, output } = v.safeParse(tokenList, logprobs, STOP_EARLY);
  if (!success || output.content.length === 0) return undefined;
  return output.content.map(({ token, top_logprobs: top }) => ({
    token,
    top: top.flatMap((one) => {
      const parsed = v.safeParse(finiteLogprob, one);
      return parsed.success ? [parsed.output] : []; // servers write null for a probability of 0
    }),
  }));
}
