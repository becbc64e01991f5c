import type { Message } from '@wpo/data';
import { describe } from '@wpo/internal/describe';
import { hashJson } from '@wpo/internal/node/hash';
import * as v from 'valibot';
import { EvaluationError } from '../errors';
import { withoutThinking } from '../judge-replies';
import {
  type Judgement,
  type JudgeRequest,
  judgeMessages,
  preferenceFromLogprobs,
  preferenceFromVerdict,
} from '../pairwise-judge';
import { type ChatAnswer, chatBody, type TokenLogprob, type TokenLogprobs } from './chat';
import { type Endpoint, EndpointError } from './endpoint';
import { describeUnclear, toJson } from './judges';
import type { ReplyCache } from './reply-cache';

/** Whether a judge's preference is read from the log-probs of its first token, or from the text of its reply. */
export type JudgeForm = 'logprobs' | 'verdict';

const judgeReply = v.object({
  text: v.string(),
  top: v.exactOptional(v.array(v.object({ token: v.string(), logprob: v.pipe(v.number(), v.finite()) }))),
});

/** A judge's reply as it is cached. */
export interface JudgeReply {
  readonly text: string;
  /** The most likely tokens at the position of the verdict, for the form `logprobs`. */
  readonly top?: readonly TokenLogprob[];
}

export const isJudgeReply = (value: unknown): value is JudgeReply => v.is(judgeReply, value);

export interface EndpointJudgeOptions {
  readonly endpoint: Endpoint;
  readonly form: JudgeForm;
  /** With placeholders: see `judgePrompt`. */
  readonly prompt: readonly Message[];
  /**
   * The token limit of a reply, reasoning included. Default 1 for `logprobs`, which reads the first token, and 1024 for
   * `verdict`: a judge that does not reason stops after its verdict.
   */
  readonly maxTokens?: number | undefined;
  /** Keeps replies, so that no request is sent twice: see `openReplyCache`. */
  readonly cache?: ReplyCache<JudgeReply>;
}

/** As in alpaca_eval. Some servers apply the temperature to the log-probs that they return, so it must be 1 there. */
const CHAT_OPTIONS = {
  logprobs: { temperature: 1, maxTokens: 1, topLogprobs: 5 },
  verdict: { temperature: 0, maxTokens: 1024 },
} as const;

/**
 * A judge for `judgeOutputs` that asks a model on a server. The preference is null, with a `problem`, if the server refuses
 * a request for its content (status 400, 413 or 422, e.g. because it is too long), if its content filter stops the reply, or
 * if the reply is empty, cut off, or names neither answer. Only whole replies are cached.
 */
export async function endpointJudge({ endpoint, form, prompt, maxTokens, cache }: EndpointJudgeOptions) {
  const options = { ...CHAT_OPTIONS[form], ...(maxTokens === undefined ? {} : { maxTokens }) };
  const model = await endpoint.model();

  async function ask(messages: readonly Message[]): Promise<JudgeReply> {
    const answer = await endpoint.chat(messages, options).catch((error: unknown) => {
      throw explainLogprobs(error);
    });
    const { text, finishReason } = answer;
    const reply = form === 'verdict' ? { text } : { text, top: topTokens(answer) };
    // a single token has the verdict, whether or not more would follow
    const isCutOff = finishReason === 'length' && !(form === 'logprobs' && reply.top!.length > 0);
    if (isCutOff || withoutThinking(text).trim() === '') {
      throw new UnusableReply(describeUnclear(answer, options.maxTokens), text);
    }
    return reply;
  }

  return async (request: JudgeRequest): Promise<Judgement> => {
    const messages = judgeMessages(prompt, request);
    // the key is the whole request without its token limit, which changes no whole reply
    const { max_tokens: _, ...body } = chatBody(model, messages, options);
    const key = hashJson(toJson({ ...body, ...endpoint.request }));
    try {
      const reply = await (cache === undefined ? ask(messages) : cache.getOrAsk(key, () => ask(messages)));
      const { text, top } = reply;
      const preference = top ? preferenceFromLogprobs(top) : preferenceFromVerdict(text);
      if (preference !== null) return { preference, text };
      return { preference, text, problem: `the judge named neither answer: ${describe(text, 80)}` };
    } catch (error) {
      if (error instanceof UnusableReply) return { preference: null, text: error.text, problem: error.message };
      if (isAboutContent(error)) return { preference: null, text: '', problem: error.message };
      throw error;
    }
  };
}

/** A reply that must not be cached, because another attempt or setting may bring a verdict. */
class UnusableReply extends Error {
  override readonly name = 'UnusableReply';

  constructor(
    message: string,
    readonly text: string,
  ) {
    super(message);
  }
}

const isAboutContent = (error: unknown): error is EndpointError =>
  error instanceof EndpointError && (error.isFiltered || [400, 413, 422].includes(error.status ?? 0));

const HINT =
  'Not every server and model returns log-probs; vLLM does with --max-logprobs 5 or more. Add --judge-form verdict to read ' +
  'the reply’s text instead.';

function explainLogprobs(error: unknown): unknown {
  const isRefused = error instanceof EndpointError && /^(?:top_)?logprobs$/.test(error.refusedField ?? '');
  return isRefused ? new EvaluationError(`${error.message} ${HINT}`) : error;
}

/** The most likely tokens at the verdict: the first token of the reply, or of what follows the reasoning. */
function topTokens({ text, finishReason, logprobs = [] }: ChatAnswer): readonly TokenLogprob[] {
  const top = verdictToken(text, logprobs)?.top ?? [];
  if (top.length > 0) return top;
  if (logprobs.some((token) => token.top.length > 0) || (logprobs.length > 0 && finishReason === 'length')) return [];
  throw new EvaluationError(`judge’s reply: expected log-probs, found none. ${HINT}`);
}

/** Finds the token at which the reply without its reasoning begins. */
function verdictToken(text: string, tokens: readonly TokenLogprobs[]): TokenLogprobs | undefined {
  const verdict = withoutThinking(text).trim();
  if (verdict === '') return undefined;
  let suffix = '';
  for (let i = tokens.length - 1; i >= 0 && suffix.length <= verdict.length + 1000; i--) {
    const { token } = tokens[i]!;
    suffix = token + suffix;
    if (token.trim() !== '' && suffix.trim() === verdict) return tokens[i];
  }
  return verdict === text.trim() ? tokens[0] : undefined; // some servers spell tokens differently from the text
}
