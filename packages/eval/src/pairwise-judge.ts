import type { Message } from '@wpo/data';
import { type ConcurrencyOptions, concurrently } from '@wpo/internal/concurrently';
import type { Annotation, ModelOutput, OutputPair } from './alpaca-eval';
import { withoutThinking } from './judge-replies';
import type { Preference } from './win-rate';

/** Two answers in the order in which a judge sees them. */
export interface JudgeRequest {
  readonly instruction: string;
  readonly output_1: string;
  readonly output_2: string;
}

/** A judge's reply to a `JudgeRequest`. */
export interface Judgement {
  /** From 1, the first answer is better, to 2, the second is better. Null if the judge named neither. */
  readonly preference: Preference;
  /** The judge's reply, as text. */
  readonly text: string;
  /** Why the preference is null, and what to do about it. */
  readonly problem?: string;
}

export interface JudgeOutputsOptions extends ConcurrencyOptions<OutputPair> {
  readonly pairs: readonly OutputPair[];
  readonly judge: (request: JudgeRequest) => Promise<Judgement>;
  /** The judge's name. */
  readonly annotator: string;
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Pairs a model's answers with the baseline's answers to the same instruction, in the baseline's order. If an instruction
 * occurs several times, first answers are paired with first answers, and so on. Answers without a partner are left out.
 */
export function pairOutputs(baseline: readonly ModelOutput[], model: readonly ModelOutput[]): OutputPair[] {
  const waiting = new Map<string, ModelOutput[]>();
  for (const answer of model) waiting.set(answer.instruction, [...(waiting.get(answer.instruction) ?? []), answer]);
  return baseline.flatMap(({ instruction, dataset, output, generator }) => {
    const partner = waiting.get(instruction)?.shift();
    if (partner === undefined) return [];
    const set = dataset ?? partner.dataset;
    return {
      instruction,
      ...(set === undefined ? {} : { dataset: set }),
      output_1: output,
      generator_1: generator,
      output_2: partner.output,
      generator_2: partner.generator,
    };
  });
}

/**
 * Has a judge compare the two answers of each pair in both orders, because judges favour a position. The preference of a
 * row is the mean of both. Equal answers are a draw, without a request. If one of the two replies names no answer, the
 * preference is null. Rows come in the order of `pairs`.
 *
 * @returns fewer rows than pairs if `signal` was aborted or `onError` was called
 * @throws the first error of `judge`, after the running requests have finished, if there is no `onError`
 */
export async function judgeOutputs(options: JudgeOutputsOptions): Promise<Annotation[]> {
  const { pairs, onProgress, concurrency, signal, onError } = options;
  const rows: (Annotation | undefined)[] = pairs.map(() => undefined);
  let done = 0;
  const judgeAt = async function* (index: number) {
    yield { index, row: await judgePair(pairs[index]!, options) };
  };
  const onIndexError = onError && ((error: unknown, index: number) => onError(error, pairs[index]!));
  const judged = concurrently(pairs.keys(), judgeAt, { concurrency, signal, onError: onIndexError });
  for await (const { index, row } of judged) {
    rows[index] = row;
    onProgress?.(++done, pairs.length);
  }
  return rows.filter((row) => row !== undefined);
}

async function judgePair(pair: OutputPair, { judge, annotator }: JudgeOutputsOptions): Promise<Annotation> {
  const { instruction, output_1, output_2 } = pair;
  if (output_1 === output_2) return { ...pair, annotator, preference: 1.5, raw_completion: null };
  const inOrder = await judge({ instruction, output_1, output_2 });
  const swapped = await judge({ instruction, output_1: output_2, output_2: output_1 });
  const preference =
    inOrder.preference === null || swapped.preference === null
      ? null
      : (inOrder.preference + (3 - swapped.preference)) / 2;
  return { ...pair, annotator, preference, raw_completion: [inOrder.text, swapped.text] };
}

/** The names under which a judge sees the two answers, as in alpaca_eval. */
const [FIRST, SECOND] = ['m', 'M'];

/** The default prompt of a judge, with the placeholders `{instruction}`, `{output_1}` and `{output_2}`. */
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
 * Parses a judge's prompt in alpaca_eval's format: turns between `<|im_start|>role` and `<|im_end|>`. Text without such
 * marks becomes one user turn.
 *
 * @throws {Error} if `{instruction}`, `{output_1}` or `{output_2}` is missing
 */
export function parseJudgePrompt(text: string): Message[] {
  for (const placeholder of ['{instruction}', '{output_1}', '{output_2}']) {
    if (text.includes(placeholder)) continue;
    throw new Error(
      'judge prompt: expected the placeholders {instruction}, {output_1} and {output_2}, ' +
        `found no ${placeholder}. Add it to the prompt.`,
    );
  }
  const turns = [...text.matchAll(/<\|im_start\|>(\w+)\s*\n([\s\S]*?)<\|im_end\|>/g)];
  if (turns.length === 0) return [{ role: 'user', content: text.trim() }];
  return turns.map(([, role, content]) => ({ role: role!, content: content!.trim() }));
}

/** Fills a judge's prompt with an instruction and two answers. */
export const judgeMessages = (prompt: readonly Message[], request: JudgeRequest): Message[] =>
  prompt.map(({ role, content }) => ({
    role,
    // one pass, so that a placeholder inside an answer is not replaced
    content: content.replace(/\{(instruction|output_1|output_2)\}/g, (_, name: keyof JudgeRequest) => request[name]),
  }));

/**
 * A judge's preference from the log-probs of its first token: 2 − p(m) / (p(m) + p(M)), as alpaca_eval's
 * `weighted_alpaca_eval` computes it. Null if neither name is among the tokens.
 *
 * @param tokens the most likely first tokens, with natural log-probs
 */
export function preferenceFromLogprobs(
  tokens: readonly { readonly token: string; readonly logprob: number }[],
): Preference {
  const [first, second] = [FIRST, SECOND].map((name) => tokens.find(({ token }) => token === name)?.logprob);
  if (first === undefined && second === undefined) return null;
  return 2 - 1 / (1 + Math.exp((second ?? Number.NEGATIVE_INFINITY) - (first ?? Number.NEGATIVE_INFINITY)));
}

/** A reply that is one of the names and nothing else but punctuation. */
const ONE_NAME = new RegExp(`^[\\s*_\`"'“”‘’.,:;()[\\]{}<>#$]*(${FIRST}|${SECOND})[\\s*_\`"'“”‘’.,:;()[\\]{}<>#$]*$`);

/**
 * A judge's preference from its reply: 1 for `m`, 2 for `M`, ignoring punctuation around it and reasoning before it; null for
 * any other text.
 */
export function preferenceFromVerdict(text: string): Preference {
  const name = ONE_NAME.exec(withoutThinking(text))?.[1];
  return name === FIRST ? 1 : name === SECOND ? 2 : null;
}
