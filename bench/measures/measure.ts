import type { Flags } from '../flags';
import type { Row } from '../report';
import type { Peer } from '../turns';

/** The input of a measure. */
export interface Bench {
  readonly flags: Flags;
  /** Folder of the model. */
  readonly model: string;
  /** Folder of a model that runs quickly. */
  readonly small: string;
  readonly peer: Peer | undefined;
  /** Files of preference rows. The rows to encode are made from their text. */
  readonly texts: readonly string[];
  readonly say: (line: string) => void;
}

export interface Measured {
  readonly rows: readonly Row[];
  readonly turns: readonly object[];
}

export type Measure = (bench: Bench) => Promise<Measured>;

/** Joins several measurements into one. */
export const join = (parts: readonly Measured[]): Measured => ({
  rows: parts.flatMap(({ rows }) => rows),
  turns: parts.flatMap(({ turns }) => turns),
});
