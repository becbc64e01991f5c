import type { Flags } from '../flags';
import type { Row } from '../report';
import type { Peer } from '../sides';

/** What a measure is given. */
export interface Bench {
  readonly flags: Flags;
  /** Folder of the model. */
  readonly model: string;
  /** Folder of a model that is quick to run. */
  readonly small: string;
  readonly peer: Peer | undefined;
  /** Files of rows whose text the encoding's rows are made of. */
  readonly texts: readonly string[];
  readonly say: (line: string) => void;
}

export interface Measured {
  readonly rows: readonly Row[];
  readonly turns: readonly object[];
}

export type Measure = (bench: Bench) => Promise<Measured>;
