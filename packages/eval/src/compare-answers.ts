import { type ConcurrencyOptions, concurrently } from '@wpo/internal/concurrently';
import { type AnswerRow, answerKey, type NamedPrompt, type Scored } from './answers';

/** Two answers to a prompt in the order in which a judge is shown them. */
export interface Comparison<A extends AnswerRow = AnswerRow> extends NamedPrompt {
  readonly first: A;
  readonly second: A;
}

/** What a judge made of a comparison. */
export interface Verdict {
  readonly prompt_id: string;
  /** Key of the answer that was shown first: see `answerKey`. */
  readonly first: string;
  readonly second: string;
  /** 1 where the first is the better one, 0 where the second is, 0.5 for a draw; or a probability. */
  readonly preference: number;
}

export interface CompareAnswersOptions<A extends AnswerRow> extends ConcurrencyOptions<Comparison<A>> {
  readonly answers: Iterable<A>;
  /** 1 where the first answer is better, 0 where the second is, 0.5 for a draw; or a probability. */
  readonly compare: (comparison: Comparison<A>) => number | Promise<number>;
  /** Whether a comparison was made before, and is not to be made again. */
  readonly done?: (comparison: Comparison<A>) => boolean;
}

/**
 * Has a judge compare each answer with each other answer to its prompt, in both orders, since judges lean to one place.
 *
 * @throws what `compare` threw, after the verdicts that are there, where no `onError` is given
 */
export async function* compareAnswers<A extends AnswerRow>(
  options: CompareAnswersOptions<A>,
): AsyncGenerator<Verdict, void, undefined> {
  const { answers, compare, done = () => false } = options;
  yield* concurrently(
    comparisons(answers).filter((comparison) => !done(comparison)),
    async function* (comparison) {
      const preference = await compare(comparison);
      if (!(preference >= 0 && preference <= 1)) {
        throw new Error(`prompt "${comparison.prompt_id}": found the preference ${preference}, wanted 0 to 1.`);
      }
      const { prompt_id, first, second } = comparison;
      yield { prompt_id, first: answerKey(first), second: answerKey(second), preference };
    },
    options,
  );
}

/** Both orders of each two answers to one prompt. */
export const comparisons = <A extends AnswerRow>(answers: Iterable<A>): Comparison<A>[] =>
  [...byPrompt(answers).values()].flatMap((own) =>
    own.flatMap((first) =>
      own
        .filter((second) => second !== first)
        .map((second) => ({ prompt_id: first.prompt_id, prompt: first.prompt, first, second })),
    ),
  );

/**
 * Scores answers by what came of their comparisons: the mean preference for an answer, from 0 (lost them all) to 1. An
 * answer of which a comparison is missing, or that is the only one to its prompt, is left out.
 */
export function* scoresFromVerdicts<A extends AnswerRow>(
  answers: Iterable<A>,
  verdicts: Iterable<Verdict>,
): Generator<Scored<A>, void, undefined> {
  const preferences = new Map<string, number[]>();
  const count = (key: string, preference: number) =>
    preferences.set(key, [...(preferences.get(key) ?? []), preference]);
  for (const { first, second, preference } of verdicts) {
    count(first, preference);
    count(second, 1 - preference);
  }
  for (const own of byPrompt(answers).values()) {
    for (const answer of own) {
      const found = preferences.get(answerKey(answer)) ?? [];
      if (found.length === 0 || found.length < 2 * (own.length - 1)) continue;
      yield { ...answer, score: found.reduce((sum, preference) => sum + preference, 0) / found.length };
    }
  }
}

function byPrompt<A extends AnswerRow>(answers: Iterable<A>): Map<string, A[]> {
  const groups = new Map<string, A[]>();
  for (const answer of answers) {
    const group = groups.get(answer.prompt_id);
    if (group === undefined) groups.set(answer.prompt_id, [answer]);
    else group.push(answer);
  }
  return groups;
}
