import { type ConcurrencyOptions, concurrently } from '@wpo/internal/concurrently';
import type { AnswerRow, Scored } from './answers';

export interface ScoreAnswersOptions<A extends AnswerRow> extends ConcurrencyOptions<A> {
  readonly answers: Iterable<A> | AsyncIterable<A>;
  /** How good an answer is: a finite number, more is better. */
  readonly score: (answer: A) => number | Promise<number>;
  /** Whether an answer has its score already, and is not to be asked for. */
  readonly done?: (answer: A) => boolean;
}

/**
 * Scores answers, each by itself. Gives a row as soon as its score is there, whatever the order; answers are read as
 * they are needed, so that a file of them need not be in memory.
 *
 * @throws what `score` threw, after the rows that are there, where no `onError` is given; a score that is not finite is
 *   such a failure
 */
export async function* scoreAnswers<A extends AnswerRow>(
  options: ScoreAnswersOptions<A>,
): AsyncGenerator<Scored<A>, void, undefined> {
  const { answers, done = () => false, score } = options;
  yield* concurrently(
    left(answers, done),
    async function* (answer) {
      const found = await score(answer);
      if (!Number.isFinite(found)) {
        throw new Error(`prompt "${answer.prompt_id}": found the score ${found}, wanted a finite number.`);
      }
      yield { ...answer, score: found };
    },
    options,
  );
}

async function* left<A>(answers: Iterable<A> | AsyncIterable<A>, done: (answer: A) => boolean) {
  for await (const answer of answers) if (!done(answer)) yield answer;
}
