import { fingerprint } from '@wpo/internal/fingerprint';
import { xoshiro128, xoshiroState } from '@wpo/internal/random';
import { NumberList } from '../numbers';
import { fail } from '../rows/fields';
import { type Candidate, type ChooseOptions, choosePair, type NoPair } from './choose-pair';
import type { ScoredAnswer } from './scored-answer';

export interface PairOptions extends Omit<ChooseOptions, 'random'> {
  /** Sources other than the model to train, e.g. `gpt-4-turbo`. Default none. */
  readonly offPolicy?: readonly string[];
  /**
   * Fraction of the prompts, from 0 to 1, for which off-policy answers are candidates. The other prompts use the model's
   * own answers only. Each prompt is drawn independently of the others. Default 1, the paper's hybrid setting.
   */
  readonly hybrid?: number;
  /** Seeds the draws of `max-random` and of `hybrid`. Default 42. */
  readonly seed?: number;
}

/** Answers that could not take part in a pair, by reason. */
export interface AnswerDrops {
  readonly empty: number;
  readonly unscored: number;
  /** Off-policy answers to prompts for which `hybrid` left them out. */
  readonly offPolicy: number;
  /** Answers with the same text as another answer that was kept. */
  readonly duplicate: number;
}

/** A pair as the indices of its answers, in the order in which they were added. */
export interface ChosenAnswers {
  readonly chosen: number;
  readonly rejected: number;
}

/** The pairs of a pool, in the order in which their prompts were first added. */
export interface PoolPairs {
  readonly pairs: readonly ChosenAnswers[];
  readonly answersLeftOut: AnswerDrops;
  readonly promptsLeftOut: Readonly<Record<NoPair, number>>;
  /** Prompts with off-policy answers among the candidates. */
  readonly hybridPrompts: number;
}

interface PoolCandidate extends Candidate {
  readonly answer: number;
  readonly source: string;
  readonly seed: number;
}

/** Counts of the answers and prompts that `pairs` leaves out. */
type Tally = { -readonly [K in keyof AnswerDrops]: number } & { -readonly [K in NoPair]: number };

/**
 * The scored answers from which pairs are chosen. It keeps no texts, which may stay on disk: 48 bytes per answer, and up
 * to twice that as the pool grows. The order of the answers does not matter.
 */
export class AnswerPool {
  private readonly prompts = new Map<string, number>();
  /** Fingerprint of each prompt's turns. */
  private readonly promptTexts = new NumberList();
  private readonly sourceNames: string[] = [];
  private readonly promptOf = new NumberList();
  private readonly sourceOf = new NumberList();
  private readonly seeds = new NumberList(); // -1 for none
  private readonly scores = new NumberList(); // NaN for none
  private readonly lengths = new NumberList(); // characters
  private readonly texts = new NumberList(); // fingerprints

  get promptCount(): number {
    return this.prompts.size;
  }

  get answerCount(): number {
    return this.promptOf.length;
  }

  /** All sources, in the order in which they were first added. */
  get sources(): readonly string[] {
    return this.sourceNames;
  }

  source(answer: number): string {
    return this.sourceNames[this.sourceOf.at(answer)]!;
  }

  /** The score of an answer; NaN if it has none. */
  score(answer: number): number {
    return this.scores.at(answer);
  }

  /** How many answers each of `sources` has. */
  answersBySource(): number[] {
    const counts = this.sourceNames.map(() => 0);
    for (const source of this.sourceOf.view()) counts[source]! += 1;
    return counts;
  }

  /**
   * Adds an answer. Answers without a `promptId` belong to the same prompt if their prompts are equal.
   *
   * @returns the answer's index
   * @throws {RowError} if an earlier answer has another prompt under the same id
   */
  add({ promptId, prompt, completion, source, seed = -1, score = Number.NaN, at }: ScoredAnswer): number {
    const text = fingerprint(JSON.stringify(prompt.map(({ role, content }) => [role, content])));
    const index = this.promptIndex(promptId === undefined ? `text ${text}` : `id ${promptId}`, text);
    if (this.promptTexts.at(index) !== text) {
      fail(at, {
        field: 'prompt',
        expected: `the prompt that an earlier row has under prompt_id "${promptId}"`,
        found: 'another prompt',
        hint: 'Give different prompts different ids, or leave "prompt_id" out.',
      });
    }
    this.promptOf.add(index);
    this.sourceOf.add(this.sourceIndex(source));
    this.seeds.add(seed);
    this.scores.add(score);
    this.lengths.add(completion.length);
    this.texts.add(fingerprint(completion));
    return this.answerCount - 1;
  }

  /**
   * Chooses a pair for each prompt that has one.
   *
   * @throws {RangeError} if an option is out of range
   */
  pairs(options: PairOptions = {}): PoolPairs {
    checkOptions(options);
    const { offPolicy = [], hybrid = 1, seed = 42 } = options;
    const offPolicySources = new Set(offPolicy);
    const tally: Tally = {
      empty: 0,
      unscored: 0,
      offPolicy: 0,
      duplicate: 0,
      tooFewAnswers: 0,
      equalScores: 0,
      smallMargin: 0,
    };
    const pairs: ChosenAnswers[] = [];
    let hybridPrompts = 0;
    for (const [prompt, answers] of this.byPrompt()) {
      const random = randomFor(seed, this.promptTexts.at(prompt));
      const isHybrid = random() < hybrid * 2 ** 32;
      const usable = this.usable(answers, isHybrid ? undefined : offPolicySources, tally);
      if (isHybrid && usable.some(({ source }) => offPolicySources.has(source))) hybridPrompts += 1;
      const choice = choosePair(usable, { ...options, random });
      if (typeof choice === 'string') tally[choice] += 1;
      else pairs.push({ chosen: choice.chosen.answer, rejected: choice.rejected.answer });
    }
    const { tooFewAnswers, equalScores, smallMargin, ...answersLeftOut } = tally;
    return { pairs, answersLeftOut, promptsLeftOut: { tooFewAnswers, equalScores, smallMargin }, hybridPrompts };
  }

  /** The answers that may make a pair, each text once. Counts the others in `tally`. @param without sources to leave out */
  private usable(answers: Iterable<number>, without: ReadonlySet<string> | undefined, tally: Tally): PoolCandidate[] {
    const candidates: PoolCandidate[] = [];
    for (const answer of answers) {
      const candidate = this.candidate(answer);
      if (candidate.length === 0) tally.empty += 1;
      else if (Number.isNaN(candidate.score)) tally.unscored += 1;
      else if (without?.has(candidate.source)) tally.offPolicy += 1;
      else candidates.push(candidate);
    }
    const kept = new Map<number, PoolCandidate>();
    for (const candidate of candidates.sort(beforeDuplicate)) {
      if (kept.has(candidate.text)) tally.duplicate += 1;
      else kept.set(candidate.text, candidate);
    }
    return [...kept.values()];
  }

  private candidate(answer: number): PoolCandidate {
    return {
      answer,
      source: this.source(answer),
      seed: this.seeds.at(answer),
      score: this.scores.at(answer),
      length: this.lengths.at(answer),
      text: this.texts.at(answer),
    };
  }

  /** Each prompt with the indices of its answers, by a counting sort that takes four bytes per answer. */
  private *byPrompt(): Generator<[prompt: number, answers: Int32Array], void, undefined> {
    const prompts = this.promptOf.view();
    const ends = new Int32Array(this.promptCount + 1);
    for (const prompt of prompts) ends[prompt + 1]! += 1;
    for (let i = 1; i < ends.length; i++) ends[i]! += ends[i - 1]!;
    const next = ends.slice();
    const answers = new Int32Array(prompts.length);
    for (const [answer, prompt] of prompts.entries()) answers[next[prompt]!++] = answer;
    for (let i = 0; i < this.promptCount; i++) yield [i, answers.subarray(ends[i], ends[i + 1])];
  }

  private promptIndex(key: string, text: number): number {
    const known = this.prompts.get(key);
    if (known !== undefined) return known;
    this.prompts.set(key, this.promptCount);
    this.promptTexts.add(text);
    return this.promptCount - 1;
  }

  private sourceIndex(source: string): number {
    const known = this.sourceNames.indexOf(source);
    return known >= 0 ? known : this.sourceNames.push(source) - 1;
  }
}

/** Of answers with equal texts, the first in this order is kept: highest score, then source, then seed. */
const beforeDuplicate = (a: PoolCandidate, b: PoolCandidate) =>
  b.score - a.score || (a.source < b.source ? -1 : a.source > b.source ? 1 : a.seed - b.seed);

/** A prompt's own random numbers, independent of the other prompts. */
function randomFor(seed: number, prompt: number): () => number {
  const words = [seed, prompt].flatMap((n) => [n % 2 ** 32, Math.floor(n / 2 ** 32)]);
  return xoshiro128(xoshiroState(words));
}

function checkOptions({ minMargin = 0, hybrid = 1, seed = 42 }: PairOptions): void {
  if (!(minMargin >= 0)) throw new RangeError(`minMargin: expected a number of at least 0, found ${minMargin}.`);
  if (!(hybrid >= 0 && hybrid <= 1)) throw new RangeError(`hybrid: expected a number from 0 to 1, found ${hybrid}.`);
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new RangeError(`seed: expected an integer of at least 0, found ${seed}.`);
}
