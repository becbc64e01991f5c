import { type Distribution, distribution } from '../distribution';
import { Numbers } from '../numbers';
import type { PreferenceRow } from '../rows/preference-row';
import { type CutCounts, CutTally } from './cuts';
import type { Measured } from './measure';
import { RepeatCounts, type Repeats } from './repeats';
import { type SourceReport, SourceTally } from './sources';
import { type WorstRow, WorstRows } from './worst';

/** A row and its lengths. */
export interface Inspected {
  readonly row: PreferenceRow;
  readonly measured: Measured;
}

/** What a file of pairs is like. Lengths are in the unit in which the rows were measured. */
export interface PairReport {
  readonly pairs: number;
  /** Of prompts, of answers, and of each pair's prompt with its longer answer; undefined where there are no pairs. */
  readonly lengths: Readonly<Record<'prompt' | 'chosen' | 'rejected' | 'longest', Distribution | undefined>>;
  /** What the limits cut off; undefined where that was not measured. */
  readonly cuts: CutCounts | undefined;
  /** Which answer is the longer one. */
  readonly lengthBias: {
    readonly chosenLonger: number;
    readonly equal: number;
    readonly rejectedLonger: number;
    /** Of lengths, chosen less rejected. */
    readonly difference: Distribution | undefined;
  };
  /** Of score_chosen less score_rejected, over the rows that have both; undefined where none has. */
  readonly margins: Distribution | undefined;
  /** Rows whose scores are equal, and those whose rejected answer scores higher. */
  readonly zeroMargins: number;
  readonly negativeMargins: number;
  /** By who wrote the answers; empty where no row says so. */
  readonly sources: Readonly<Record<string, SourceReport>>;
  readonly repeats: Repeats;
  /** Rows to look at first, of each kind at most as many as were asked for. */
  readonly worst: Readonly<Record<WorstKind, readonly WorstRow[]>>;
}

/**
 * Why a row is named: the longest prompt with answer; the largest difference of lengths, either way; the smallest margin
 * (below 0: the scores are the wrong way round); equal answers; a row that came before.
 */
export type WorstKind = 'longest' | 'lengthDifference' | 'margin' | 'equalAnswers' | 'repeated';

/** Takes rows in one by one, and keeps numbers only. */
export class PairInspector {
  private readonly lengths = { prompt: new Numbers(), chosen: new Numbers(), rejected: new Numbers() };
  private readonly longest = new Numbers();
  private readonly differences = new Numbers();
  private readonly margins = new Numbers();
  private readonly cuts = new CutTally();
  private readonly sources = new SourceTally();
  private readonly repeats = new RepeatCounts();
  private readonly worst: Readonly<Record<WorstKind, WorstRows>>;

  /** @param named rows that are named of each kind; default 3 */
  constructor(named = 3) {
    const rows = () => new WorstRows(named);
    this.worst = { longest: rows(), lengthDifference: rows(), margin: rows(), equalAnswers: rows(), repeated: rows() };
  }

  add({ row, measured }: Inspected): void {
    const { prompt, chosen, rejected } = measured;
    const longest = prompt + Math.max(chosen, rejected);
    this.lengths.prompt.add(prompt);
    this.lengths.chosen.add(chosen);
    this.lengths.rejected.add(rejected);
    this.longest.add(longest);
    this.differences.add(chosen - rejected);
    this.cuts.add(measured);
    this.sources.add(row, measured);
    this.worst.longest.offer(row, longest);
    this.worst.lengthDifference.offer(row, Math.abs(chosen - rejected));
    this.addMargin(row);
    const { repeated, equal } = this.repeats.add(row);
    if (equal) this.worst.equalAnswers.offer(row, chosen);
    if (repeated) this.worst.repeated.offer(row, 0);
  }

  report(): PairReport {
    const { prompt, chosen, rejected } = this.lengths;
    const of = (numbers: Numbers) => distribution(numbers.view());
    const count = (numbers: Numbers, sign: number) =>
      numbers.view().reduce((sum, value) => sum + Number(Math.sign(value) === sign), 0);
    const worst = Object.entries(this.worst).map(([kind, rows]) => [kind, rows.rows()]);
    return {
      pairs: prompt.length,
      lengths: { prompt: of(prompt), chosen: of(chosen), rejected: of(rejected), longest: of(this.longest) },
      cuts: this.cuts.counts(),
      lengthBias: {
        chosenLonger: count(this.differences, 1),
        equal: count(this.differences, 0),
        rejectedLonger: count(this.differences, -1),
        difference: of(this.differences),
      },
      margins: of(this.margins),
      zeroMargins: count(this.margins, 0),
      negativeMargins: count(this.margins, -1),
      sources: this.sources.report(),
      repeats: this.repeats.repeats(),
      worst: Object.fromEntries(worst) as PairReport['worst'],
    };
  }

  private addMargin(row: PreferenceRow): void {
    if (row.scores === undefined) return;
    const margin = row.scores.chosen - row.scores.rejected;
    this.margins.add(margin);
    this.worst.margin.offer(row, margin, -margin);
  }
}

/** Inspects rows as they come. @param named see `PairInspector` */
export async function inspectPairs(
  rows: AsyncIterable<Inspected> | Iterable<Inspected>,
  named?: number,
): Promise<PairReport> {
  const inspector = new PairInspector(named);
  for await (const row of rows) inspector.add(row);
  return inspector.report();
}
