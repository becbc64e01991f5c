import type { AnswerRow } from '../answers';
import { promptText } from '../answers';
import type { Comparison } from '../score-answers';
import { EvaluationError } from '../errors';
import type { Scorer } from '../score-answers';
import type { Endpoint } from './endpoint';

const RATE = 'Rate how well the answer serves the person who wrote the prompt.';
const COMPARE = 'Say which of the two answers better serves the person who wrote the prompt.';
const MEASURE =
  'Judge whether it is correct, does what was asked, is clear, and is no longer than it need be. Length, confidence and ' +
  'lists are no merits by themselves.';

/** Tokens for a judge's reasons and verdict. */
const REPLY_TOKENS = 512;

/** Scores by a model that is asked to rate each answer from 1 to 10. */
export async function ratingJudge(endpoint: Endpoint): Promise<Scorer> {
  return {
    name: `${await endpoint.model()} rating`,
    async score({ prompt_id, prompt, completion }) {
      const end =
        'Give your reasons in two sentences. Then end with the line "Rating: N", N from 1 (useless) to 10 (best).';
      const reply = await ask(endpoint, [RATE, MEASURE, end], { Prompt: promptText(prompt), Answer: completion });
      return parseRating(reply) ?? unclear(prompt_id, reply, 'Rating: N, from 1 to 10');
    },
  };
}

/** Preferences of a model that is shown two answers and asked for the better one. */
export async function comparingJudge(endpoint: Endpoint) {
  return {
    name: `${await endpoint.model()} comparison`,
    async compare({ prompt_id, prompt, first, second }: Comparison<AnswerRow>): Promise<number> {
      const end =
        'Their order means nothing. Give your reasons in two sentences. Then end with the line "Verdict: A", "Verdict: B" ' +
        'or "Verdict: equal".';
      const texts = { Prompt: promptText(prompt), 'Answer A': first.completion, 'Answer B': second.completion };
      const reply = await ask(endpoint, [COMPARE, MEASURE, end], texts);
      return parseVerdict(reply) ?? unclear(prompt_id, reply, 'Verdict: A, B or equal');
    },
  };
}

async function ask(endpoint: Endpoint, task: readonly string[], texts: Readonly<Record<string, string>>) {
  const blocks = Object.entries(texts).map(([name, text]) => `<<< ${name} >>>\n${text}\n<<< end of ${name} >>>`);
  const content = [task.slice(0, -1).join(' '), ...blocks, task.at(-1)].join('\n\n');
  const options = { temperature: 0, maxTokens: REPLY_TOKENS };
  return (await endpoint.chat([{ role: 'user', content }], options)).text;
}

/** The last rating of a reply, since reasons may speak of others; undefined where there is none from 1 to 10. */
export function parseRating(reply: string): number | undefined {
  const rating = Number([...reply.matchAll(/rating\W*?(\d+(?:\.\d+)?)/gi)].at(-1)?.[1]);
  return rating >= 1 && rating <= 10 ? rating : undefined;
}

/** The last verdict of a reply: 1 for A, 0 for B, 0.5 for equal; undefined where there is none. */
export function parseVerdict(reply: string): number | undefined {
  const verdict = [...reply.matchAll(/verdict\W*?\b(a|b|equal)\b/gi)].at(-1)?.[1]?.toLowerCase();
  return verdict === undefined ? undefined : { a: 1, b: 0, equal: 0.5 }[verdict];
}

function unclear(prompt_id: string, reply: string, wanted: string): never {
  const start = reply.length > 100 ? `…${reply.slice(-100)}` : reply;
  throw new EvaluationError(
    `prompt "${prompt_id}": found the judge’s reply ${JSON.stringify(start)}, wanted one that ends in "${wanted}".`,
  );
}
