import { fingerprint } from '@wpo/internal/fingerprint';
import { stateFrom, xoshiro128 } from '@wpo/internal/random';
import { Numbers } from '../numbers';
import { fail } from '../rows/preference-row';
import { type Candidate, type ChooseOptions, choosePair, type NoPair } from './choose-pair';
import type { ScoredAnswer } from './scored-answer';

export interface PairOptions extends Omit<ChooseOptions, 'random'> {
  /** Sources that are not the model to be trained, e.g. `gpt-4-turbo`. Default none. */
  readonly offPolicy?: readonly string[];
  /**
   * Share of the prompts whose off-policy answers take part, 0 to 1; the other prompts are left to the model's own
   * answers. Each prompt is drawn by itself, so that other prompts change nothing. Default 1: all, the paper's hybrid.
   */
  readonly hybrid?: number;
  /** Decides the draws of `max-random` and of `hybrid`. Default 42. */
  readonly seed?: number;
}

/** Answers that made no part of a pair for a reason of their own. */
export interface AnswerDrops {
  readonly empty: number;
  readonly unscored: number;
  /** Off-policy answers to prompts that `hybrid` left to the model's own. */
  readonly offPolicy: number;
  /** Answers with another's text, of which one was kept. */
  readonly duplicate: number;
}

/** A pair as the numbers of its answers, in the order in which they were added. */
export interface ChosenAnswers {
  readonly chosen: number;
  readonly rejected: number;
}

/** The pairs of a pool, in the order in which their prompts first came. */
export interface PoolPairs {
  readonly pairs: readonly ChosenAnswers[];
  readonly answersLeftOut: AnswerDrops;
  readonly promptsLeftOut: Readonly<Record<NoPair, number>>;
  /** Prompts whose off-policy answers took part. */
  readonly hybridPrompts: number;
}

interface PoolCandidate extends Candidate {
  readonly answer: number;
  readonly source: string;
  readonly seed: number;
}

/** What `pairs` counts while it goes over the prompts. */
type Tally = { -readonly [K in keyof AnswerDrops]: number } & { -readonly [K in NoPair]: number };

/**
 * Scored answers to be paired, in any order, without their texts: 48 bytes an answer, up to twice that as it grows, so that
 * the answers themselves may stay on disk.
 */
export class AnswerPool {
  private readonly prompts = new Map<string, number>();
  /** Fingerprint of each prompt's turns. */
  private readonly promptTexts = new Numbers();
  private readonly sourceNames: string[] = [];
  private readonly promptOf = new Numbers();
  private readonly sourceOf = new Numbers();
  private readonly seeds = new Numbers(); // -1 for none
  private readonly scores = new Numbers(); // NaN for none
  private readonly lengths = new Numbers(); // characters
  private readonly texts = new Numbers(); // fingerprints

  get promptCount(): number {
    return this.prompts.size;
  }

  get answerCount(): number {
    return this.promptOf.length;
  }

  /** All sources, in the order in which they came. */
  get sources(): readonly string[] {
    return this.sourceNames;
  }

  /** The source of an answer. */
  source(answer: number): string {
    return this.sourceNames[this.sourceOf.at(answer)]!;
  }

  /** The score of an answer; NaN where it has none. */
  score(answer: number): number {
    return this.scores.at(answer);
  }

  /** How many answers each source has. */
  answersBySource(): number[] {
    const counts = this.sourceNames.map(() => 0);
    for (const source of this.sourceOf.view()) counts[source]! += 1;
    return counts;
  }

  /**
   * Takes an answer in. Answers without a `promptId` belong together where their prompts are equal.
   *
   * @returns the answer's number, counted from 0
   * @throws {RowError} where an answer before had another prompt under the same id
   */
  add({ promptId, prompt, completion, source, seed = -1, score = Number.NaN, at }: ScoredAnswer): number {
    const text = fingerprint(JSON.stringify(prompt.map(({ role, content }) => [role, content])));
    const number = this.promptNumber(promptId === undefined ? `text ${text}` : `id ${promptId}`, text);
    if (this.promptTexts.at(number) !== text) {
      fail(at, {
        field: 'prompt',
        found: `another prompt than a row before has under prompt_id "${promptId}"`,
        wanted: 'one prompt an id',
        mend: 'Give different prompts different ids, or leave "prompt_id" out.',
      });
    }
    this.promptOf.add(number);
    this.sourceOf.add(this.sourceNumber(source));
    this.seeds.add(seed);
    this.scores.add(score);
    this.lengths.add(completion.length);
    this.texts.add(fingerprint(completion));
    return this.answerCount - 1;
  }

  /**
   * Chooses a pair for each prompt that has one.
   *
   * @throws {RangeError} where an option makes no sense
   */
  pairs(options: PairOptions = {}): PoolPairs {
    checkOptions(options);
    const { offPolicy = [], hybrid = 1, seed = 42 } = options;
    const foreign = new Set(offPolicy);
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
      const random = drawsOf(seed, this.promptTexts.at(prompt));
      const takesForeign = random() < hybrid * 2 ** 32;
      const usable = this.usable(answers, takesForeign ? undefined : foreign, tally);
      if (takesForeign && usable.some(({ source }) => foreign.has(source))) hybridPrompts += 1;
      const choice = choosePair(usable, { ...options, random });
      if (typeof choice === 'string') tally[choice] += 1;
      else pairs.push({ chosen: choice.chosen.answer, rejected: choice.rejected.answer });
    }
    const { tooFewAnswers, equalScores, smallMargin, ...answersLeftOut } = tally;
    return { pairs, answersLeftOut, promptsLeftOut: { tooFewAnswers, equalScores, smallMargin }, hybridPrompts };
  }

  /** The answers that may make a pair, each text once; the others are counted. */
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

  /** Each prompt with the numbers of its answers: sorted by counting, four bytes an answer. */
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

  private promptNumber(key: string, text: number): number {
    const known = this.prompts.get(key);
    if (known !== undefined) return known;
    this.prompts.set(key, this.promptCount);
    this.promptTexts.add(text);
    return this.promptCount - 1;
  }

  private sourceNumber(source: string): number {
    const known = this.sourceNames.indexOf(source);
    return known >= 0 ? known : this.sourceNames.push(source) - 1;
  }
}

/** Of answers with one text the first is kept: the best score, then by source and seed. */
const beforeDuplicate = (a: PoolCandidate, b: PoolCandidate) =>
  b.score - a.score || (a.source < b.source ? -1 : a.source > b.source ? 1 : a.seed - b.seed);

/** A prompt's own draws. */
function drawsOf(seed: number, prompt: number): () => number {
  const words = [seed, prompt].flatMap((n) => [n % 2 ** 32, Math.floor(n / 2 ** 32)]);
  return xoshiro128(stateFrom(words));
}

function checkOptions({ minMargin = 0, hybrid = 1, seed = 42 }: PairOptions): void {
  if (!(minMargin >= 0)) throw new RangeError(`found minMargin ${minMargin}, wanted a number, 0 or more.`);
  if (!(hybrid >= 0 && hybrid <= 1)) throw new RangeError(`found hybrid ${hybrid}, wanted a share from 0 to 1.`);
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new RangeError(`found seed ${seed}, wanted an integer, 0 or more.`);
}
