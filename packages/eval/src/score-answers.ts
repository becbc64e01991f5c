import { type ConcurrencyOptions, concurrently } from '@wpo/internal/concurrently';
import { type AnswerRow, answerKey, type NamedPrompt, type Scored } from './answers';
import { EvaluationError } from './errors';

/** Scores answers one at a time: a reward model, a judge, or a file of scores. */
export interface Scorer {
  /** Identifies the scorer in the scored rows, as `scored_by`. */
  readonly name: string;
  /** Higher is better; null if the answer has no score. */
  score(answer: AnswerRow): number | null | Promise<number | null>;
}

export interface ScoreAnswersOptions<A extends AnswerRow> extends ConcurrencyOptions<A> {
  readonly answers: Iterable<A> | AsyncIterable<A>;
  /** A finite number, higher is better; null if the answer has no score. */
  readonly score: (answer: A) => number | null | Promise<number | null>;
  /** Whether an answer has its score already. */
  readonly isDone?: (answer: A) => boolean;
}

/**
 * Scores answers one at a time. Yields a row as soon as its score is there, in any order. Answers are read as they are
 * needed, so a file of them does not have to fit in memory.
 *
 * @throws the first error of `score`, or an error for a score that is not finite, after the rows of the other running
 *   requests, if there is no `onError`
 */
export async function* scoreAnswers<A extends AnswerRow>(
  options: ScoreAnswersOptions<A>,
): AsyncGenerator<Scored<A>, void, undefined> {
  const { answers, isDone = () => false, score } = options;
  yield* concurrently(
    without(answers, isDone),
    async function* (answer) {
      const value = await score(answer);
      if (value !== null && !Number.isFinite(value)) {
        throw new EvaluationError(`prompt "${answer.prompt_id}": score: expected a finite number, found ${value}.`);
      }
      yield { ...answer, score: value };
    },
    options,
  );
}

async function* without<A>(answers: Iterable<A> | AsyncIterable<A>, isDone: (answer: A) => boolean) {
  for await (const answer of answers) if (!isDone(answer)) yield answer;
}

/** Two answers to a prompt in the order in which a judge sees them. */
export interface Comparison<A extends AnswerRow = AnswerRow> extends NamedPrompt {
  readonly first: A;
  readonly second: A;
}

/** A judge's verdict on a comparison. */
export interface Verdict {
  readonly prompt_id: string;
  /** Key of the first answer: see `answerKey`. */
  readonly first: string;
  readonly second: string;
  /** Probability that the first answer is better, from 0 to 1; 0.5 for a draw. */
  readonly preference: number;
}

export interface CompareAnswersOptions<A extends AnswerRow> extends ConcurrencyOptions<Comparison<A>> {
  readonly answers: Iterable<A>;
  /** Returns the probability that the first answer is better, from 0 to 1; 0.5 for a draw. */
  readonly compare: (comparison: Comparison<A>) => number | Promise<number>;
  /** Whether a comparison has its verdict already. */
  readonly isDone?: (comparison: Comparison<A>) => boolean;
}

/**
 * Has a judge compare every two answers to a prompt in both orders, because judges favour a position. Yields verdicts as
 * they come, in any order.
 *
 * @throws the first error of `compare`, or an error for a preference outside 0 to 1, after the verdicts of the other
 *   running requests, if there is no `onError`
 */
export async function* compareAnswers<A extends AnswerRow>(
  options: CompareAnswersOptions<A>,
): AsyncGenerator<Verdict, void, undefined> {
  const { answers, compare, isDone = () => false } = options;
  yield* concurrently(
    listComparisons(answers).filter((comparison) => !isDone(comparison)),
    async function* (comparison) {
      const preference = await compare(comparison);
      if (!(preference >= 0 && preference <= 1)) {
        throw new EvaluationError(
          `prompt "${comparison.prompt_id}": preference: expected a number from 0 to 1, found ${preference}.`,
        );
      }
      const { prompt_id, first, second } = comparison;
      yield { prompt_id, first: answerKey(first), second: answerKey(second), preference };
    },
    options,
  );
}

/** Every ordered pair of different answers to the same prompt. */
export const listComparisons = <A extends AnswerRow>(answers: Iterable<A>): Comparison<A>[] =>
  [...groupByPrompt(answers).values()].flatMap((group) =>
    group.flatMap((first) =>
      group
        .filter((second) => second !== first)
        .map((second) => ({ prompt_id: first.prompt_id, prompt: first.prompt, first, second })),
    ),
  );

/**
 * Scores answers by their verdicts: the mean preference for an answer, from 0 (lost every comparison) to 1 (won every
 * comparison). Leaves out answers that lack a verdict, and answers that are the only one to their prompt.
 */
export function* scoresFromVerdicts<A extends AnswerRow>(
  answers: Iterable<A>,
  verdicts: Iterable<Verdict>,
): Generator<Scored<A>, void, undefined> {
  const preferences = new Map<string, number[]>();
  const add = (key: string, preference: number) => preferences.set(key, [...(preferences.get(key) ?? []), preference]);
  for (const { first, second, preference } of verdicts) {
    add(first, preference);
    add(second, 1 - preference);
  }
  for (const group of groupByPrompt(answers).values()) {
    for (const answer of group) {
      const own = preferences.get(answerKey(answer)) ?? [];
      if (own.length === 0 || own.length < 2 * (group.length - 1)) continue;
      yield { ...answer, score: own.reduce((sum, preference) => sum + preference, 0) / own.length };
    }
  }
}

function groupByPrompt<A extends AnswerRow>(answers: Iterable<A>): Map<string, A[]> {
  const groups = new Map<string, A[]>();
  for (const answer of answers) {
    const group = groups.get(answer.prompt_id);
    if (group === undefined) groups.set(answer.prompt_id, [answer]);
    else group.push(answer);
  }
  return groups;
}
