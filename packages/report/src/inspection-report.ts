// The data of a page about preference pairs. `wpo inspect --json` prints objects with these fields.

/** How many pairs have a length from `low` to below `high`. The first and the last bin also count what is outside of all bins. */
export interface LengthBin {
  readonly low: number;
  readonly high: number;
  readonly count: number;
}

/** Statistics of a number over pairs. */
export interface Spread {
  readonly mean: number;
  readonly min: number;
  readonly max: number;
  readonly percentiles: { readonly [percent in 5 | 25 | 50 | 75 | 90 | 95 | 99]: number };
}

/** A row to look at, with the beginnings of its texts. */
export interface ExampleRow {
  readonly id: string;
  /** `file:line` */
  readonly at: string;
  readonly value: number;
  readonly prompt: string;
  readonly chosen: string;
  readonly rejected: string;
}

/** Something to decide before training. */
export interface InspectionFinding {
  readonly rows: number;
  /** Continues the number of rows, e.g. `with two equal answers`. */
  readonly text: string;
  /** Where its examples are: a kind of rows in `worst`, or `badRows` for `badRowErrors`; absent if there are none. */
  readonly kind?: string;
}

/** What has a length: a text of a pair, or `longest`, the prompt with the longer answer. */
export type LengthOf = 'prompt' | 'chosen' | 'rejected' | 'longest';

/** Preference pairs as a page shows them. */
export interface InspectionReport {
  /** The name of the file, or of a part of a run's pairs. */
  readonly file: string;
  readonly pairs: number;
  /** Rows that cannot be used; no other number counts them. */
  readonly badRows: number;
  readonly badRowErrors: readonly string[];
  /** Of a source of a run: the part of an epoch's pairs that it has, from 0 to 1. */
  readonly epochShare?: number;
  /** Of lengths. */
  readonly unit: 'tokens' | 'words';
  readonly limits: { readonly maxLength: number; readonly maxPromptLength: number; readonly truncation: string };
  readonly lengths: Readonly<Record<LengthOf, Spread | undefined>>;
  /** `difference` is the length of the chosen answer minus that of the rejected. */
  readonly histograms: Readonly<Record<LengthOf | 'difference', readonly LengthBin[]>>;
  /** What the limits cut; undefined if lengths are in words. */
  readonly cuts?:
    | {
        readonly pairs: number;
        readonly prompts: number;
        readonly chosen: number;
        readonly rejected: number;
        readonly promptTokens: number;
        readonly answerTokens: number;
      }
    | undefined;
  /** Numbers of pairs, and the length of the chosen answer minus that of the rejected. */
  readonly lengthBias: {
    readonly chosenLonger: number;
    readonly equal: number;
    readonly rejectedLonger: number;
    readonly difference: { readonly mean: number } | undefined;
  };
  /** score_chosen minus score_rejected; undefined if no row has both. */
  readonly margins?: (Spread & { readonly count: number }) | undefined;
  readonly sources: Readonly<
    Record<
      string,
      {
        readonly chosen: number;
        readonly rejected: number;
        readonly meanLength: number;
        readonly meanScore?: number | undefined;
      }
    >
  >;
  /** Rows that repeat an earlier one: its prompt, its prompt and both answers, or its id. */
  readonly repeats: { readonly prompts: number; readonly pairs: number; readonly ids: number };
  /** Rows to look at, by kind. */
  readonly worst: Readonly<Record<string, readonly ExampleRow[]>>;
  readonly verdict: { readonly findings: readonly InspectionFinding[]; readonly next?: string };
}
