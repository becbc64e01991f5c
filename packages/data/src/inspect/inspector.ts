import { ControlTokenCount, type ControlTokens } from '../encode/control-tokens';
import type { PromptFormat } from '../encode/format-pair';
import type { Tokenizer } from '../encode/tokenizer';
import { type Bin, type Distribution, distribution, histogram, NumberList } from '../numbers';
import type { PreferenceRow } from '../rows/preference-row';
import type { MeasuredLengths } from './measure';
import {
  type CutCounts,
  CutTally,
  type Repeats,
  RepeatTally,
  type SourceReport,
  SourceTally,
  type WorstRow,
  WorstRows,
} from './tallies';

/** A row and its lengths. */
export interface MeasuredRow {
  readonly row: PreferenceRow;
  readonly measured: MeasuredLengths;
}

/** Statistics of preference pairs. Lengths are in the unit in which the rows were measured, tokens or words. */
export interface PairReport {
  readonly pairs: number;
  /** Of prompts, of answers, and (`longest`) of each pair's prompt with its longer answer; undefined without pairs. */
  readonly lengths: Readonly<Record<'prompt' | 'chosen' | 'rejected' | 'longest', Distribution | undefined>>;
  /** How the lengths are distributed, and (`difference`) the length of the chosen answer minus that of the rejected. */
  readonly histograms: Readonly<Record<'prompt' | 'chosen' | 'rejected' | 'longest' | 'difference', readonly Bin[]>>;
  /** Pairs and tokens that truncation cuts; undefined if the truncated lengths were not measured. */
  readonly cuts: CutCounts | undefined;
  /** How many pairs have a longer chosen answer, answers of equal length, or a longer rejected answer. */
  readonly lengthBias: {
    readonly chosenLonger: number;
    readonly equal: number;
    readonly rejectedLonger: number;
    /** Length of the chosen answer minus that of the rejected. */
    readonly difference: Distribution | undefined;
  };
  /** score_chosen minus score_rejected, over the rows that have both; undefined if none has. */
  readonly margins: Distribution | undefined;
  /** Rows whose scores are equal, and rows whose rejected answer scores higher. */
  readonly zeroMargins: number;
  readonly negativeMargins: number;
  /** By the source of the answers; empty if no row names one. */
  readonly sources: Readonly<Record<string, SourceReport>>;
  readonly repeats: Repeats;
  readonly controlTokens: ControlTokens;
  /** Number of rows whose prompt is the shared beginning of their answers. */
  readonly sharedPrompts: number;
  /** Number of rows with system turns, which the chat templates of Gemma refuse. */
  readonly systemTurns: number;
  /** Rows to look at first, a few of each kind. */
  readonly worst: Readonly<Record<WorstKind, readonly WorstRow[]>>;
}

/** Why a row stands out. Rows of the last four kinds are reported in the order of the file. */
export type WorstKind =
  /** The longest prompt with an answer. */
  | 'longest'
  /** The largest difference of the answers' lengths, in either direction. */
  | 'lengthDifference'
  /** The smallest margin; below 0 the scores contradict the preference. */
  | 'margin'
  | 'equalAnswers'
  | 'repeated'
  /** Control tokens in its text. */
  | 'controlTokens'
  /** No prompt of its own. */
  | 'sharedPrompt'
  | 'systemTurn';

export interface InspectOptions {
  /** How many rows of each kind to report. Default 3. */
  readonly worst?: number;
  /** Its control tokens are looked for, besides those of common models. */
  readonly tokenizer?: Tokenizer;
  readonly promptFormat?: PromptFormat;
}

/**
 * Inspects rows one by one. Only numbers stay in memory, and the rows to look at. A row that is given again as the same object, as a
 * mixture gives it, counts again, but is no repeat of itself.
 */
export async function inspectPairs(
  rows: AsyncIterable<MeasuredRow> | Iterable<MeasuredRow>,
  options: InspectOptions = {},
): Promise<PairReport> {
  const inspector = new PairInspector(options);
  for await (const row of rows) inspector.add(row);
  return inspector.report();
}

class PairInspector {
  private readonly lengths = { prompt: new NumberList(), chosen: new NumberList(), rejected: new NumberList() };
  private readonly longest = new NumberList();
  private readonly differences = new NumberList();
  private readonly margins = new NumberList();
  private readonly cuts = new CutTally();
  private readonly sources = new SourceTally();
  private readonly repeats = new RepeatTally();
  private readonly controlTokens: ControlTokenCount;
  /** Rows that were added. One that is added again, as the same object, is no repeat, and no other example. */
  private readonly seen = new WeakSet<PreferenceRow>();
  private sharedPrompts = 0;
  private systemTurns = 0;
  private readonly worst: Readonly<Record<WorstKind, WorstRows>>;

  constructor({ worst = 3, ...options }: InspectOptions) {
    this.controlTokens = new ControlTokenCount(options);
    this.worst = {
      longest: new WorstRows(worst),
      lengthDifference: new WorstRows(worst),
      margin: new WorstRows(worst),
      equalAnswers: new WorstRows(worst),
      repeated: new WorstRows(worst),
      controlTokens: new WorstRows(worst),
      sharedPrompt: new WorstRows(worst),
      systemTurn: new WorstRows(worst),
    };
  }

  add({ row, measured }: MeasuredRow): void {
    const { prompt, chosen, rejected } = measured;
    const longest = prompt + Math.max(chosen, rejected);
    this.lengths.prompt.add(prompt);
    this.lengths.chosen.add(chosen);
    this.lengths.rejected.add(rejected);
    this.longest.add(longest);
    this.differences.add(chosen - rejected);
    this.cuts.add(measured);
    this.sources.add(row, measured);
    const isNew = !this.seen.has(row);
    this.seen.add(row);
    const offer = (kind: WorstKind, value: number, rank?: number) => {
      if (isNew) this.worst[kind].offer(row, value, rank);
    };
    offer('longest', longest);
    offer('lengthDifference', Math.abs(chosen - rejected));
    if (row.scores !== undefined) {
      const margin = row.scores.chosen - row.scores.rejected;
      this.margins.add(margin);
      offer('margin', margin, -margin);
    }
    if (this.controlTokens.add(row)) offer('controlTokens', 0);
    if (row.sharedPrompt) {
      this.sharedPrompts += 1;
      offer('sharedPrompt', 0);
    }
    if (row.context.some(({ role }) => role === 'system')) {
      this.systemTurns += 1;
      offer('systemTurn', 0);
    }
    if (!isNew) return;
    const { repeated, equal } = this.repeats.add(row);
    if (equal) offer('equalAnswers', chosen);
    if (repeated) offer('repeated', 0);
  }

  report(): PairReport {
    const { prompt, chosen, rejected } = this.lengths;
    const of = (numbers: NumberList) => distribution(numbers.view());
    const bins = (numbers: NumberList) => histogram(numbers.view());
    const count = (numbers: NumberList, sign: number) =>
      numbers.view().reduce((sum, value) => sum + Number(Math.sign(value) === sign), 0);
    const worst = Object.entries(this.worst).map(([kind, rows]) => [kind, rows.rows()]);
    return {
      pairs: prompt.length,
      lengths: { prompt: of(prompt), chosen: of(chosen), rejected: of(rejected), longest: of(this.longest) },
      histograms: {
        ...{ prompt: bins(prompt), chosen: bins(chosen), rejected: bins(rejected) },
        ...{ longest: bins(this.longest), difference: bins(this.differences) },
      },
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
      controlTokens: this.controlTokens.report(),
      sharedPrompts: this.sharedPrompts,
      systemTurns: this.systemTurns,
      worst: Object.fromEntries(worst) as PairReport['worst'],
    };
  }
}
