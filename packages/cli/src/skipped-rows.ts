import type { RowError } from '@wpo/data';
import type { Terminal } from './terminal';

const NAMED = 3;

/** Counts rows that are left out, and keeps the first few to name them. */
export class SkippedRows {
  count = 0;
  private readonly named: string[] = [];

  readonly add = ({ message }: RowError): void => {
    this.count += 1;
    if (this.named.length < NAMED) this.named.push(message);
  };

  /** Says on the terminal which rows were left out, where there are any. */
  warn({ stderr }: Terminal): void {
    if (this.count === 0) return;
    stderr.write(`Skipped ${this.count} rows that cannot be used:\n`);
    for (const message of this.named) stderr.write(`  ${message}\n`);
    if (this.count > this.named.length) stderr.write(`  and ${this.count - this.named.length} more\n`);
  }
}
