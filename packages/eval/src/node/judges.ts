import { hashJson, shortHash } from '@wpo/internal/node/hash';
import { printable } from '@wpo/internal/printable';
import { type AnswerRow, promptText } from '../answers';
import { EvaluationError } from '../errors';
import { parseRating, parseVerdict } from '../judge-replies';
import type { Comparison, Scorer } from '../score-answers';
import type { ChatAnswer } from './chat';
import type { Endpoint } from './endpoint';

const RATE = 'Rate how well the answer serves the person who wrote the prompt.';
const COMPARE = 'Say which of the two answers better serves the person who wrote the prompt.';
const CRITERIA =
  'Judge whether it is correct, does what was asked, is clear, and is no longer than it need be. Length, confidence and ' +
  'lists are not merits in themselves.';

export interface JudgeOptions {
  /** The token limit of a reply: reasoning, reasons and verdict. Default 2048. */
  readonly maxTokens?: number | undefined;
}

/** The default token limit of a reply that ends in a verdict. A judge that does not reason needs less, and stops earlier. */
export const REPLY_TOKENS = 2048;

/** Scores answers with a model that rates each from 1 to 10. */
export async function ratingJudge(
  endpoint: Endpoint,
  { maxTokens = REPLY_TOKENS }: JudgeOptions = {},
): Promise<Scorer> {
  return {
    name: await judgeName(endpoint, 'rating'),
    async score({ prompt_id, prompt, completion }) {
      const end =
        'Give your reasons in two sentences. Then end with the line "Rating: N", N from 1 (useless) to 10 (best).';
      const texts = { Prompt: promptText(prompt), Answer: completion };
      const reply = await ask(endpoint, [RATE, CRITERIA, end], texts, maxTokens);
      return statedIn(reply, parseRating) ?? failUnclear(prompt_id, reply, 'Rating: N, from 1 to 10', maxTokens);
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
export async function comparingJudge(
  endpoint: Endpoint,
  { maxTokens = REPLY_TOKENS }: JudgeOptions = {},
): Promise<ComparingJudge> {
  return {
    name: await judgeName(endpoint, 'comparison'),
    async compare({ prompt_id, prompt, first, second }) {
      const end =
        'Their order means nothing. Give your reasons in two sentences. Then end with the line "Verdict: A", "Verdict: B" ' +
        'or "Verdict: equal".';
      const texts = { Prompt: promptText(prompt), 'Answer A': first.completion, 'Answer B': second.completion };
      const reply = await ask(endpoint, [COMPARE, CRITERIA, end], texts, maxTokens);
      return statedIn(reply, parseVerdict) ?? failUnclear(prompt_id, reply, 'Verdict: A, B or equal', maxTokens);
    },
  };
}

/** A judge whose requests have other fields is another judge. */
async function judgeName({ model, request }: Endpoint, task: string): Promise<string> {
  const settings = Object.keys(request).length === 0 ? '' : ` ${shortHash(hashJson(toJson(request))).slice(0, 8)}`;
  return `${await model()} ${task}${settings}`;
}

/** A value as JSON has it, e.g. without fields that are undefined. */
export const toJson = (value: unknown): Parameters<typeof hashJson>[0] => JSON.parse(JSON.stringify(value));

async function ask(
  endpoint: Endpoint,
  task: readonly string[],
  texts: Readonly<Record<string, string>>,
  maxTokens: number,
): Promise<ChatAnswer> {
  const blocks = Object.entries(texts).map(([name, text]) => `<<< ${name} >>>\n${text}\n<<< end of ${name} >>>`);
  const content = [task.slice(0, -1).join(' '), ...blocks, task.at(-1)].join('\n\n');
  return endpoint.chat([{ role: 'user', content }], { temperature: 0, maxTokens });
}

/** A reply that was cut off may end before its verdict, or within it: "Rating: 1" of "Rating: 10". */
const statedIn = ({ text, finishReason }: ChatAnswer, parse: (text: string) => number | undefined) =>
  finishReason === 'length' ? undefined : parse(text);

function failUnclear(prompt_id: string, reply: ChatAnswer, expected: string, maxTokens: number): never {
  throw new EvaluationError(
    `prompt "${printable(prompt_id, 60)}": expected a judge’s reply that ends in "${expected}", found ${describeUnclear(reply, maxTokens)}`,
  );
}

/** Describes a reply without a verdict, and says what to do about it. */
export function describeUnclear({ text, finishReason, reasoning }: ChatAnswer, maxTokens: number): string {
  const raise = `Raise --judge-max-tokens (judge_max_tokens), now ${maxTokens}.`;
  if (finishReason === 'length') {
    const where = text.trim() === '' && reasoning !== undefined ? 'while the judge was reasoning' : 'before its end';
    return `a reply that the token limit cut off ${where}. ${raise}`;
  }
  if (text.trim() === '') return `an empty reply. ${reasoning === undefined ? 'Use another judge.' : raise}`;
  const end = text.length > 100 ? `…${text.slice(-100)}` : text;
  return `"${printable(end)}". Use a judge that follows instructions.`;
}
