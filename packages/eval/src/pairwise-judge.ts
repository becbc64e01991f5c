import type { Message } from '@wpo/data';
import type { Preference } from './win-rate';

/** Names under which a judge sees two answers, as the project alpaca_eval has them. */
const [FIRST, SECOND] = ['m', 'M'];

/** What a judge is told; `{instruction}`, `{output_1}` and `{output_2}` stand for the texts. */
export const judgePrompt: readonly Message[] = [
  {
    role: 'system',
    content:
      'You compare answers of language models. You are fair, you look at how well an answer serves the person who asked, ' +
      'and neither its length nor its place in the comparison moves you.',
  },
  {
    role: 'user',
    content: `A person asked two models the same thing. Their answers are named m and M.

<request>
{instruction}
</request>

<answer name="m">
{output_1}
</answer>

<answer name="M">
{output_2}
</answer>

Which answer would a careful person rather have? Weigh whether it is right, whether it does what was asked, and how well it is written. Reply with the name alone, one letter and nothing else: m or M.`,
  },
];

/**
 * Reads a judge's prompt as alpaca_eval writes its own: turns between `<|im_start|>role` and `<|im_end|>`; text without
 * them is one user turn.
 *
 * @throws {Error} where one of the three places is missing
 */
export function parseJudgePrompt(text: string): Message[] {
  for (const place of ['{instruction}', '{output_1}', '{output_2}']) {
    if (!text.includes(place)) {
      throw new Error(`found no ${place} in the judge’s prompt, wanted {instruction}, {output_1} and {output_2}.`);
    }
  }
  const turns = [...text.matchAll(/<\|im_start\|>(\w+)\s*\n([\s\S]*?)<\|im_end\|>/g)];
  if (turns.length === 0) return [{ role: 'user', content: text.trim() }];
  return turns.map(([, role, content]) => ({ role: role!, content: content!.trim() }));
}

/** The conversation in which a judge is asked about two answers, in the order in which they are given. */
export const judgeMessages = (
  prompt: readonly Message[],
  texts: { readonly instruction: string; readonly output_1: string; readonly output_2: string },
): Message[] =>
  prompt.map(({ role, content }) => ({
    role,
    // all at once, so that a place that stands in an answer stays as it is
    content: content.replace(/\{(instruction|output_1|output_2)\}/g, (_, name: keyof typeof texts) => texts[name]),
  }));

/**
 * The preference of a judge from log-probs of its first token: 2 − p(m) / (p(m) + p(M)), alpaca_eval's
 * `weighted_alpaca_eval` form. Null where neither name is among the tokens.
 */
export function preferenceFromLogprobs(
  tokens: readonly { readonly token: string; readonly logprob: number }[],
): Preference {
  const [first, second] = [FIRST, SECOND].map((name) => tokens.find(({ token }) => token === name)?.logprob);
  if (first === undefined && second === undefined) return null;
  return 2 - 1 / (1 + Math.exp((second ?? Number.NEGATIVE_INFINITY) - (first ?? Number.NEGATIVE_INFINITY)));
}

/** The preference of a judge from its words: 1 for `m`, 2 for `M`, whatever signs stand around; null for anything else. */
export function preferenceFromVerdict(text: string): Preference {
  const name = /^\P{L}*(\p{L}+)\P{L}*$/u.exec(text)?.[1];
  return name === FIRST ? 1 : name === SECOND ? 2 : null;
}
