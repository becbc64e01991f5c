import { below } from '@wpo/internal/random';

/** What decides which answers to a prompt make its pair. */
export interface Candidate {
  /** The higher, the better; finite. */
  readonly score: number;
  /** Length of the answer, in characters or any other unit that all answers share. */
  readonly length: number;
  /** Tells the answer's text from the others', e.g. its fingerprint; decides where score and length do not. */
  readonly text: number;
}

/**
 * Which answer is rejected, of those that score below the chosen one: `max-min` the lowest, as in the WPO authors' v2 data
 * and that of their Gemma-2 models; `max-random` any of them, as in the paper, their v1 (https://github.com/wzhouad/WPO);
 * `margin` the highest.
 */
export type PairStrategy = 'max-min' | 'max-random' | 'margin';

export interface ChooseOptions {
  /** Default `max-min`. */
  readonly strategy?: PairStrategy;
  /** The rejected answer scores at least so much below the chosen one; at least 0, default 0. */
  readonly minMargin?: number;
  /** Draws for `max-random`: 32-bit integers, 0 or more, each as likely as the next; asked again where one is turned down. */
  readonly random?: () => number;
}

/** Why answers make no pair: fewer than two, no score below the best, or none so far below it as was asked. */
export type NoPair = 'tooFewAnswers' | 'equalScores' | 'smallMargin';

/**
 * Chooses a pair among the answers to one prompt, each text once. The chosen answer has the highest score, the shortest
 * of several; the rejected one scores lower, and of several with its score it is the closest in length to the chosen
 * (https://github.com/wzhouad/WPO, "Handling Ties"). What is still even goes to the shorter, then by `text`: the order of
 * the answers decides nothing.
 */
export function choosePair<T extends Candidate>(
  answers: readonly T[],
  options: ChooseOptions = {},
): { readonly chosen: T; readonly rejected: T } | NoPair {
  const { strategy = 'max-min', minMargin = 0, random } = options;
  if (answers.length < 2) return 'tooFewAnswers';
  const [chosen, ...others] = answers.toSorted(byMerit) as [T, ...T[]];
  const lower = others.filter(({ score }) => score < chosen.score);
  if (lower.length === 0) return 'equalScores';
  const far = lower.filter(({ score }) => chosen.score - score >= minMargin);
  if (far.length === 0) return 'smallMargin';
  if (strategy === 'max-random') {
    if (random === undefined) throw new TypeError('strategy "max-random" wants "random", a function that draws');
    return { chosen, rejected: far[below(far.length, random)]! };
  }
  const { score } = far.at(strategy === 'max-min' ? -1 : 0)!;
  const distance = ({ length }: T) => Math.abs(length - chosen.length);
  const tied = far.filter((answer) => answer.score === score); // the shortest first
  const rejected = tied.reduce((best, answer) => (distance(answer) < distance(best) ? answer : best));
  return { chosen, rejected };
}

/** The best first; of equally good ones the shortest. */
const byMerit = (a: Candidate, b: Candidate) => b.score - a.score || a.length - b.length || a.text - b.text;
