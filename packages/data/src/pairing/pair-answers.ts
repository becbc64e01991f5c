import { type Distribution, distribution } from '../distribution';
import { Numbers } from '../numbers';
import { type Fields, type Message, promptTurns } from '../rows/preference-row';
import { type BadRows, keepGood } from '../rows/read-rows';
import type { Place } from '../rows/row-error';
import { type AnswerDrops, AnswerPool, type ChosenAnswers, type PairOptions } from './answer-pool';
import type { NoPair } from './choose-pair';
import type { OverlapIndex } from './overlap';
import { pairRow } from './pair-row';
import { parseScoredAnswer } from './scored-answer';

export interface PairAnswersOptions extends PairOptions {
  /** Texts of an evaluation: pairs that overlap with them are reported. */
  readonly against?: OverlapIndex;
  /** Leaves such pairs out. Default false. */
  readonly dropOverlaps?: boolean;
}

/** What came of the answers. Answers and prompts add up: those of pairs, those left out, and answers not chosen. */
export interface PairSummary {
  readonly answers: number;
  readonly answersLeftOut: AnswerDrops;
  readonly prompts: number;
  readonly promptsLeftOut: Readonly<Record<NoPair | 'overlaps', number>>;
  readonly pairs: number;
  /** Score of the chosen answer less that of the rejected; undefined where there are no pairs. */
  readonly margin: Distribution | undefined;
  /** By source: answers that were read, and those that were chosen and rejected. */
  readonly sources: Readonly<Record<string, SourceCounts>>;
  /** Prompts whose off-policy answers took part, and pairs with an off-policy answer. */
  readonly offPolicy: { readonly prompts: number; readonly pairs: number };
  /** Pairs that overlap with the evaluation, left out or not; undefined where none was given. */
  readonly overlaps: Overlaps | undefined;
}

export interface SourceCounts {
  readonly answers: number;
  readonly chosen: number;
  readonly rejected: number;
}

export interface Overlaps {
  /** Words that agree. */
  readonly n: number;
  readonly pairs: number;
  /** Pairs by part; one pair may overlap in several. */
  readonly parts: Readonly<Record<Part, number>>;
  /** The evaluation's texts that were found, by their numbers from 0: for each part of a pair the first. */
  readonly texts: readonly number[];
}

type Part = 'prompt' | 'chosen' | 'rejected';

/** Rows as `parseRow` reads them, and what came of the answers, whole once the rows have been taken. */
export interface Pairing {
  readonly rows: AsyncGenerator<Record<string, unknown>, void, undefined>;
  summary(): PairSummary;
}

/**
 * Makes preference pairs of scored answers held in memory, in any order: a pair a prompt, in the order in which the
 * prompts first came. Rows are `{prompt_id?, prompt, completion, source, seed?, score}` and whatever else they have.
 *
 * @throws {RowError} on a row that is none, calling it by its number, unless `onBadRow` is `skip`
 * @throws {RangeError} where an option makes no sense
 */
export async function pairAnswers(
  answers: AsyncIterable<object> | Iterable<object>,
  options: PairAnswersOptions & BadRows = {},
): Promise<Pairing> {
  const pool = new AnswerPool();
  const rows: Fields[] = [];
  let line = 0;
  for await (const answer of answers) {
    const at: Place = { file: 'answers', line: ++line };
    keepGood(() => pool.add(parseScoredAnswer(answer, at)), options);
    if (rows.length < pool.answerCount) rows.push(answer as Fields);
  }
  return pairPool(pool, (answer) => rows[answer]!, options);
}

/** Makes the pairs of a pool, reading the rows of chosen and rejected answers only. */
export function pairPool(
  pool: AnswerPool,
  read: (answer: number) => Fields | Promise<Fields>,
  options: PairAnswersOptions = {},
): Pairing {
  const { pairs, answersLeftOut, promptsLeftOut, hybridPrompts } = pool.pairs(options);
  const { against, dropOverlaps = false } = options;
  const sides = new SideCounts(pool, new Set(options.offPolicy));
  const overlaps = against && new OverlapCounts(against);

  async function* rows() {
    for (const pair of pairs) {
      const row = pairRow(await read(pair.chosen), await read(pair.rejected));
      const overlapping = overlaps?.add(row) ?? false;
      if (overlapping && dropOverlaps) continue;
      sides.add(pair);
      yield row;
    }
  }
  return {
    rows: rows(),
    summary: () => ({
      answers: pool.answerCount,
      answersLeftOut,
      prompts: pool.promptCount,
      promptsLeftOut: { ...promptsLeftOut, overlaps: dropOverlaps ? (overlaps?.pairs ?? 0) : 0 },
      pairs: sides.margins.length,
      margin: distribution(sides.margins.view()),
      sources: sides.sources(),
      offPolicy: { prompts: hybridPrompts, pairs: sides.offPolicy },
      overlaps: overlaps?.report(),
    }),
  };
}

/** Counts what pairs are made of. */
class SideCounts {
  readonly margins = new Numbers();
  /** Pairs with an off-policy answer. */
  offPolicy = 0;
  private readonly chosen = new Map<string, number>();
  private readonly rejected = new Map<string, number>();

  constructor(
    private readonly pool: AnswerPool,
    private readonly foreign: ReadonlySet<string>,
  ) {}

  add({ chosen, rejected }: ChosenAnswers): void {
    const { pool, foreign } = this;
    const [better, worse] = [pool.source(chosen), pool.source(rejected)];
    this.margins.add(pool.score(chosen) - pool.score(rejected));
    this.chosen.set(better, (this.chosen.get(better) ?? 0) + 1);
    this.rejected.set(worse, (this.rejected.get(worse) ?? 0) + 1);
    if (foreign.has(better) || foreign.has(worse)) this.offPolicy += 1;
  }

  sources(): Record<string, SourceCounts> {
    const { pool, chosen, rejected } = this;
    const counts = pool.answersBySource();
    return Object.fromEntries(
      pool.sources.map((source, i) => [
        source,
        { answers: counts[i]!, chosen: chosen.get(source) ?? 0, rejected: rejected.get(source) ?? 0 },
      ]),
    );
  }
}

/** Counts pairs that overlap with an evaluation. */
class OverlapCounts {
  pairs = 0;
  private readonly parts: Record<Part, number> = { prompt: 0, chosen: 0, rejected: 0 };
  private readonly texts = new Set<number>();

  constructor(private readonly against: OverlapIndex) {}

  /** Whether the pair overlaps. */
  add(row: Record<string, unknown>): boolean {
    const asked = (promptTurns(row, { file: 'pair', line: 1 }) as readonly Message[]).map(({ content }) => content);
    const texts: [Part, string][] = [
      ['prompt', asked.join('\n')],
      ['chosen', row.chosen as string],
      ['rejected', row.rejected as string],
    ];
    const found = texts.filter(([part, text]) => this.look(part, text));
    if (found.length > 0) this.pairs += 1;
    return found.length > 0;
  }

  report(): Overlaps {
    return {
      n: this.against.n,
      pairs: this.pairs,
      parts: { ...this.parts },
      texts: [...this.texts].sort((a, b) => a - b),
    };
  }

  private look(part: Part, text: string): boolean {
    const found = this.against.find(text);
    if (found === undefined) return false;
    this.parts[part] += 1;
    this.texts.add(found);
    return true;
  }
}
