import { type Distribution, distribution, NumberList } from '../numbers';
import type { Fields, RowLocation } from '../rows/fields';
import { type Message, readPrompt } from '../rows/preference-row';
import { type BadRows, keepGood } from '../rows/read-rows';
import { type AnswerDrops, AnswerPool, type ChosenAnswers, type PairOptions } from './answer-pool';
import { type NoPair, pairRow } from './choose-pair';
import type { OverlapIndex } from './overlap';
import { parseScoredAnswer } from './scored-answer';

export interface PairAnswersOptions extends PairOptions {
  /** Index of an evaluation's texts. Pairs that overlap with them are counted. */
  readonly against?: OverlapIndex;
  /** Leaves out pairs that overlap. Default false. */
  readonly dropOverlaps?: boolean;
}

/** Counts of the answers, prompts and pairs. Every prompt has a pair or is left out. */
export interface PairSummary {
  readonly answers: number;
  readonly answersLeftOut: AnswerDrops;
  readonly prompts: number;
  readonly promptsLeftOut: Readonly<Record<NoPair | 'overlaps', number>>;
  readonly pairs: number;
  /** Score of the chosen answer minus that of the rejected one; undefined if there are no pairs. */
  readonly margin: Distribution | undefined;
  /** By source: how many answers were read, chosen and rejected. */
  readonly sources: Readonly<Record<string, SourceCounts>>;
  /** Prompts with off-policy answers among the candidates, and pairs with an off-policy answer. */
  readonly offPolicy: { readonly prompts: number; readonly pairs: number };
  /** Pairs that overlap with the evaluation, left out or not; undefined if no evaluation was given. */
  readonly overlaps: Overlaps | undefined;
}

export interface SourceCounts {
  readonly answers: number;
  readonly chosen: number;
  readonly rejected: number;
}

export interface Overlaps {
  /** Number of consecutive words that agree. */
  readonly n: number;
  readonly pairs: number;
  /** Pairs by the part that overlaps; one pair may overlap in several. */
  readonly parts: Readonly<Record<PairPart, number>>;
  /** Indices of the evaluation texts that were found, in ascending order: for each part of a pair the first. */
  readonly texts: readonly number[];
}

/** A text of a pair. */
export type PairPart = 'prompt' | 'chosen' | 'rejected';

/** The pairs as rows that `parseRow` reads, and a summary, which is complete once all rows have been taken. */
export interface Pairing {
  readonly rows: AsyncGenerator<Record<string, unknown>, void, undefined>;
  summary(): PairSummary;
}

/**
 * Makes preference pairs from scored answers in memory: one pair per prompt, in the order in which the prompts first
 * occur. Answers are `{prompt_id?, prompt, completion, source, seed?, score}` with any other fields, in any order.
 *
 * @throws {RowError} on a row that is not a scored answer, naming its number, unless `onBadRow` is `skip`
 * @throws {RangeError} if an option is out of range
 */
export async function pairAnswers(
  answers: AsyncIterable<object> | Iterable<object>,
  options: PairAnswersOptions & BadRows = {},
): Promise<Pairing> {
  const pool = new AnswerPool();
  const rows: Fields[] = [];
  let line = 0;
  for await (const answer of answers) {
    const at: RowLocation = { file: 'answers', line: ++line };
    keepGood(() => pool.add(parseScoredAnswer(answer, at)), options);
    if (rows.length < pool.answerCount) rows.push(answer as Fields);
  }
  return pairPool(pool, (answer) => rows[answer]!, options);
}

/** Makes the pairs of a pool. `read` is called for the rows of chosen and rejected answers only. */
export function pairPool(
  pool: AnswerPool,
  read: (answer: number) => Fields | Promise<Fields>,
  options: PairAnswersOptions = {},
): Pairing {
  const { pairs, answersLeftOut, promptsLeftOut, hybridPrompts } = pool.pairs(options);
  const { against, dropOverlaps = false } = options;
  const counts = new PairCounts(pool, new Set(options.offPolicy));
  const overlaps = against && new OverlapCounts(against);

  async function* rows() {
    for (const pair of pairs) {
      const row = pairRow(await read(pair.chosen), await read(pair.rejected));
      const isOverlapping = overlaps?.add(row) ?? false;
      if (isOverlapping && dropOverlaps) continue;
      counts.add(pair);
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
      pairs: counts.margins.length,
      margin: distribution(counts.margins.view()),
      sources: counts.sources(),
      offPolicy: { prompts: hybridPrompts, pairs: counts.offPolicyPairs },
      overlaps: overlaps?.report(),
    }),
  };
}

/** Counts pairs by margin and source. */
class PairCounts {
  readonly margins = new NumberList();
  offPolicyPairs = 0;
  private readonly chosen = new Map<string, number>();
  private readonly rejected = new Map<string, number>();

  constructor(
    private readonly pool: AnswerPool,
    private readonly offPolicy: ReadonlySet<string>,
  ) {}

  add({ chosen, rejected }: ChosenAnswers): void {
    const { pool, offPolicy } = this;
    const [better, worse] = [pool.source(chosen), pool.source(rejected)];
    this.margins.add(pool.score(chosen) - pool.score(rejected));
    this.chosen.set(better, (this.chosen.get(better) ?? 0) + 1);
    this.rejected.set(worse, (this.rejected.get(worse) ?? 0) + 1);
    if (offPolicy.has(better) || offPolicy.has(worse)) this.offPolicyPairs += 1;
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
  private readonly parts: Record<PairPart, number> = { prompt: 0, chosen: 0, rejected: 0 };
  private readonly texts = new Set<number>();

  constructor(private readonly against: OverlapIndex) {}

  /** Whether the pair overlaps. */
  add(row: Record<string, unknown>): boolean {
    const messages = readPrompt(row, { file: 'pair', line: 1 }) as readonly Message[];
    const texts: [PairPart, string][] = [
      ['prompt', messages.map(({ content }) => content).join('\n')],
      ['chosen', row.chosen as string],
      ['rejected', row.rejected as string],
    ];
    const found = texts.filter(([part, text]) => this.count(part, text));
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

  private count(part: PairPart, text: string): boolean {
    const found = this.against.find(text);
    if (found === undefined) return false;
    this.parts[part] += 1;
    this.texts.add(found);
    return true;
  }
}
