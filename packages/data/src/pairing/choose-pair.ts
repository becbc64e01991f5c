import { randomBelow } from '@wpo/internal/random';
import type { Fields } from '../rows/fields';

/** The properties of an answer that decide whether it is in the pair of its prompt. */
export interface Candidate {
  /** Finite; higher is better. */
  readonly score: number;
  /** Length of the answer, in characters or any other unit that all answers share. */
  readonly length: number;
  /** A number for the answer's text, e.g. its fingerprint: decides between answers of equal score and length. */
  readonly text: number;
}

/**
 * Which of the answers that score below the chosen one is rejected:
 *
 * - `max-min`: the lowest, as in the WPO authors' v2 data and the data of their Gemma-2 models;
 * - `max-random`: a random one, as in the paper and the authors' v1 data (https://github.com/wzhouad/WPO);
 * - `margin`: the highest.
 */
export type PairStrategy = 'max-min' | 'max-random' | 'margin';

export interface ChooseOptions {
  /** Default `max-min`. */
  readonly strategy?: PairStrategy;
  /** The rejected answer scores at least this much below the chosen one; at least 0, default 0. */
  readonly minMargin?: number;
  /** Random numbers for `max-random`: uniform 32-bit integers of at least 0. May be called more than once per pair. */
  readonly random?: () => number;
}

/** Why answers make no pair: fewer than two; no score below the best; or none far enough below it. */
export type NoPair = 'tooFewAnswers' | 'equalScores' | 'smallMargin';

/**
 * Chooses a pair among the answers to one prompt. The answers have different texts. The chosen answer has the highest
 * score; if several have it, the shortest of them is chosen. The rejected answer scores lower; if several have its score,
 * the one closest in length to the chosen answer is rejected (https://github.com/wzhouad/WPO, "Handling Ties"). Remaining
 * ties are broken by the shorter length, then by `text`, so that the order of the answers does not matter.
 *
 * @throws {TypeError} for `max-random` without `random`
 */
export function choosePair<T extends Candidate>(
  answers: readonly T[],
  options: ChooseOptions = {},
): { readonly chosen: T; readonly rejected: T } | NoPair {
  const { strategy = 'max-min', minMargin = 0, random } = options;
  if (answers.length < 2) return 'tooFewAnswers';
  const [chosen, ...others] = answers.toSorted(bestFirst) as [T, ...T[]];
  const lower = others.filter(({ score }) => score < chosen.score);
  if (lower.length === 0) return 'equalScores';
  const candidates = lower.filter(({ score }) => chosen.score - score >= minMargin);
  if (candidates.length === 0) return 'smallMargin';
  if (strategy === 'max-random') {
    if (random === undefined)
      throw new TypeError('strategy "max-random" needs the option "random", a number generator.');
    return { chosen, rejected: candidates[randomBelow(candidates.length, random)]! };
  }
  const { score } = candidates.at(strategy === 'max-min' ? -1 : 0)!;
  const distance = ({ length }: T) => Math.abs(length - chosen.length);
  const tied = candidates.filter((answer) => answer.score === score); // the shortest first
  const rejected = tied.reduce((best, answer) => (distance(answer) < distance(best) ? answer : best));
  return { chosen, rejected };
}

/** The best first; of equally good answers the shortest. */
const bestFirst = (a: Candidate, b: Candidate) => b.score - a.score || a.length - b.length || a.text - b.text;

/** Columns of an answer that `pairRow` writes itself. */
const REPLACED = new Set(['prompt_id', 'prompt', 'completion', 'source', 'score']);

/**
 * The row of a pair, as `parseRow` reads it, from the rows of its answers: `prompt_id` (if they have it), `prompt`,
 * `chosen`, `rejected`, `score_chosen`, `score_rejected`, `source_chosen`, `source_rejected`. Other columns are copied:
 * under their own name if both rows have the same value, else as `NAME_chosen` and `NAME_rejected`.
 */
export function pairRow(chosen: Fields, rejected: Fields): Record<string, unknown> {
  const row: Record<string, unknown> = {
    ...(chosen.prompt_id === undefined ? {} : { prompt_id: chosen.prompt_id }),
    prompt: chosen.prompt,
    chosen: chosen.completion,
    rejected: rejected.completion,
    score_chosen: chosen.score,
    score_rejected: rejected.score,
    source_chosen: chosen.source,
    source_rejected: rejected.source,
  };
  const copy = (name: string, value: unknown) => {
    if (value !== undefined && !Object.hasOwn(row, name)) row[name] = value;
  };
  for (const name of new Set([...Object.keys(chosen), ...Object.keys(rejected)])) {
    if (REPLACED.has(name)) continue;
    if (JSON.stringify(chosen[name]) === JSON.stringify(rejected[name])) copy(name, chosen[name]);
    else {
      copy(`${name}_chosen`, chosen[name]);
      copy(`${name}_rejected`, rejected[name]);
    }
  }
  return row;
}
