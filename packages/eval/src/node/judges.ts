import type { Message } from '@wpo/data';
import { hashJson } from '@wpo/internal/node/hash';
import * as v from 'valibot';
import { type AnswerRow, promptText } from '../answers';
import { EvaluationError } from '../errors';
import {
  type Judgement,
  type JudgeRequest,
  judgeMessages,
  preferenceFromLogprobs,
  preferenceFromVerdict,
} from '../pairwise-judge';
import type { Comparison, Scorer } from '../score-answers';
import { type ChatOptions, chatBody } from './chat';
import { type Endpoint, EndpointError } from './endpoint';
import type { ReplyCache } from './reply-cache';

const RATE = 'Rate how well the answer serves the person who wrote the prompt.';
const COMPARE = 'Say which of the two answers better serves the person who wrote the prompt.';
const CRITERIA =
  'Judge whether it is correct, does what was asked, is clear, and is no longer than it need be. Length, confidence and ' +
  'lists are not merits in themselves.';

/** The token limit of a judge's reasons and verdict. */
const REPLY_TOKENS = 512;

/** Scores answers with a model that rates each from 1 to 10. */
export async function ratingJudge(endpoint: Endpoint): Promise<Scorer> {
  return {
    name: `${await endpoint.model()} rating`,
    async score({ prompt_id, prompt, completion }) {
      const end =
        'Give your reasons in two sentences. Then end with the line "Rating: N", N from 1 (useless) to 10 (best).';
      const reply = await ask(endpoint, [RATE, CRITERIA, end], { Prompt: promptText(prompt), Answer: completion });
      return parseRating(reply) ?? failUnclear(prompt_id, reply, 'Rating: N, from 1 to 10');
    },
  };
}

/** A judge that compares two answers. */
export interface ComparingJudge {
  /** Identifies the judge in the rows. */
  readonly name: string;
  /** 1 if the first answer is better, 0 if the second is, 0.5 for a draw. */
  compare(comparison: Comparison<AnswerRow>): Promise<number>;
}

/** Compares answers with a model that sees two answers and names the better one. */
export async function comparingJudge(endpoint: Endpoint): Promise<ComparingJudge> {
  return {
    name: `${await endpoint.model()} comparison`,
    async compare({ prompt_id, prompt, first, second }) {
      const end =
        'Their order means nothing. Give your reasons in two sentences. Then end with the line "Verdict: A", "Verdict: B" ' +
        'or "Verdict: equal".';
      const texts = { Prompt: promptText(prompt), 'Answer A': first.completion, 'Answer B': second.completion };
      const reply = await ask(endpoint, [COMPARE, CRITERIA, end], texts);
      return parseVerdict(reply) ?? failUnclear(prompt_id, reply, 'Verdict: A, B or equal');
    },
  };
}

async function ask(endpoint: Endpoint, task: readonly string[], texts: Readonly<Record<string, string>>) {
  const blocks = Object.entries(texts).map(([name, text]) => `<<< ${name} >>>\n${text}\n<<< end of ${name} >>>`);
  const content = [task.slice(0, -1).join(' '), ...blocks, task.at(-1)].join('\n\n');
  const options = { temperature: 0, maxTokens: REPLY_TOKENS };
  return (await endpoint.chat([{ role: 'user', content }], options)).text;
}

/** The last rating in a reply, because the reasons may mention others. Undefined if there is none from 1 to 10. */
export function parseRating(reply: string): number | undefined {
  const rating = Number([...reply.matchAll(/rating\W*?(\d+(?:\.\d+)?)/gi)].at(-1)?.[1]);
  return rating >= 1 && rating <= 10 ? rating : undefined;
}

/** The last verdict in a reply: 1 for A, 0 for B, 0.5 for equal. Undefined if there is none. */
export function parseVerdict(reply: string): number | undefined {
  const verdict = [...reply.matchAll(/verdict\W*?\b(a|b|equal)\b/gi)].at(-1)?.[1]?.toLowerCase();
  return verdict === undefined ? undefined : { a: 1, b: 0, equal: 0.5 }[verdict];
}

function failUnclear(prompt_id: string, reply: string, expected: string): never {
  const end = reply.length > 100 ? `…${reply.slice(-100)}` : reply;
  throw new EvaluationError(
    `prompt "${prompt_id}": expected a judge’s reply that ends in "${expected}", found ${JSON.stringify(end)}. Use a ` +
      'judge that follows instructions.',
  );
}

/** Whether a judge's preference is read from the log-probs of its first token, or from the text of its reply. */
export type JudgeForm = 'logprobs' | 'verdict';

const judgeReply = v.object({
  text: v.string(),
  top: v.exactOptional(v.array(v.object({ token: v.string(), logprob: v.number() }))),
});

/** A judge's reply as it is cached. */
export interface JudgeReply {
  readonly text: string;
  /** The most likely first tokens, for the form `logprobs`. */
  readonly top?: readonly { readonly token: string; readonly logprob: number }[];
}

export const isJudgeReply = (value: unknown): value is JudgeReply => v.is(judgeReply, value);

export interface EndpointJudgeOptions {
  readonly endpoint: Endpoint;
  readonly form: JudgeForm;
  /** With placeholders: see `judgePrompt`. */
  readonly prompt: readonly Message[];
  /** Keeps replies, so that no request is sent twice: see `openReplyCache`. */
  readonly cache?: ReplyCache<JudgeReply>;
}

/** As in alpaca_eval. Some servers apply the temperature to the log-probs that they return, so it must be 1 there. */
const CHAT_OPTIONS: Readonly<Record<JudgeForm, ChatOptions>> = {
  logprobs: { temperature: 1, maxTokens: 1, topLogprobs: 5 },
  verdict: { temperature: 0, maxTokens: 8 },
};

/**
 * A judge for `judgeOutputs` that asks a model on a server. If the server refuses a request for its content (status 400,
 * 413 or 422, e.g. because it is too long), the preference is null.
 */
export async function endpointJudge({ endpoint, form, prompt, cache }: EndpointJudgeOptions) {
  const model = await endpoint.model();
  return async (request: JudgeRequest): Promise<Judgement> => {
    const messages = judgeMessages(prompt, request);
    const askJudge = () => askForPreference(endpoint, messages, form);
    // the key is the whole request, so that another model, prompt or option is another entry
    const key = hashJson(JSON.parse(JSON.stringify(chatBody(model, messages, CHAT_OPTIONS[form]))));
    const reply = await nullIfRefused(cache === undefined ? askJudge() : cache.getOrAsk(key, askJudge));
    if (reply === null) return { preference: null, text: '' };
    const { text, top } = reply;
    return { preference: top ? preferenceFromLogprobs(top) : preferenceFromVerdict(text), text };
  };
}

async function askForPreference(
  endpoint: Endpoint,
  messages: readonly Message[],
  form: JudgeForm,
): Promise<JudgeReply> {
  const { text, logprobs } = await endpoint.chat(messages, CHAT_OPTIONS[form]);
  if (form === 'verdict') return { text };
  if (logprobs?.[0] !== undefined) {
    return { text, top: logprobs[0].top.map(({ token, logprob }) => ({ token, logprob })) };
  }
  throw new EvaluationError(
    'judge’s reply: expected log-probs, found none. Not every server returns them: add --judge-form verdict to read the ' +
      'reply’s text instead.',
  );
}

async function nullIfRefused<T>(reply: Promise<T>): Promise<T | null> {
  try {
    return await reply;
  } catch (error) {
    if (error instanceof EndpointError && [400, 413, 422].includes(error.status ?? 0)) return null;
    throw error;
  }
}
