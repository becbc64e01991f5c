/** Where a row lies. */
export interface Place {
  /** The file's path as the caller gave it, or any name for data that lies in no file. */
  readonly file: string;
  /** The line on which the row starts, counted from 1. */
  readonly line: number;
}

/** What is wrong with a row: the parts of a `RowError`'s message. */
export interface RowFault {
  /** The field at fault, e.g. `chosen[1].content`; absent where the row as a whole is at fault. */
  readonly field?: string;
  readonly found: string;
  readonly wanted: string;
  readonly mend: string;
}

/** A row that cannot be used: says which file, line and field, what was found against what was wanted, and the mend. */
export class RowError extends Error implements RowFault, Place {
  override readonly name = 'RowError';
  readonly file: string;
  readonly line: number;
  readonly field?: string;
  readonly found: string;
  readonly wanted: string;
  readonly mend: string;

  constructor(at: Place, fault: RowFault, options?: ErrorOptions) {
    const field = fault.field === undefined ? '' : ` "${fault.field}":`;
    super(`${at.file}:${at.line}:${field} found ${fault.found}, wanted ${fault.wanted}. ${fault.mend}`, options);
    this.file = at.file;
    this.line = at.line;
    if (fault.field !== undefined) this.field = fault.field;
    this.found = fault.found;
    this.wanted = fault.wanted;
    this.mend = fault.mend;
  }
}
