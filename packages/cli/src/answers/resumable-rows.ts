import { type FileRow, openRowsFile, readRowsFile } from '@wpo/eval/node';
import type { StopSignal } from '../terminal/signals';
import { failureLimit } from '../terminal/signals';
import { type Terminal, withProgress } from '../terminal/terminal';

/** Work that appends rows to a file and can be resumed. */
export interface Stage {
  /** Label of the progress bar, e.g. `sample`. */
  readonly label: string;
  /** What the rows are, e.g. `answers`. */
  readonly rows: string;
  /** The output file, which may hold some of the rows already. */
  readonly out: string;
  /** Keys of all rows that the finished file must hold. */
  readonly expectedKeys: ReadonlySet<string>;
  /** Key of a row in the file. Throws if the row belongs to another run. */
  readonly keyOf: (row: FileRow) => string;
  /** Makes the missing rows. Not called if no row is missing. */
  readonly work: (controls: StageControls) => AsyncIterable<object>;
}

/** What a stage's work must respect. */
export interface StageControls {
  /** Keys of the rows that are in the file already. */
  readonly existingKeys: ReadonlySet<string>;
  /** Aborted if no further row is to start: after a signal, or after too many failures in a row. */
  readonly signal: { readonly aborted: boolean };
  /** Records a row that could not be made. Throws an error that is not about the input, which ends the work. */
  readonly onError: (error: unknown) => void;
}

/** A stage's progress. */
interface StageProgress {
  /** Number of rows in the file before. */
  readonly before: number;
  /** Number of rows in the file now. */
  readonly now: number;
  readonly failures: readonly Error[];
}

/**
 * Appends a stage's rows to its file as they are made, and shows the progress. Rows that were made are kept, whatever
 * fails. If rows are missing at the end, a message says so, and the same command resumes the work.
 *
 * @returns the exit status: 0; 1 if rows are missing; 130 or 143 after a signal
 */
export async function runStage(stage: Stage, stop: StopSignal, terminal: Terminal): Promise<number> {
  const file = await openRowsFile(stage.out);
  try {
    const existingKeys = new Set<string>();
    for await (const row of readRowsFile(stage.out, stage.rows)) existingKeys.add(stage.keyOf(row));
    const progress = await appendMissing(stage, existingKeys, file.append, stop, terminal);
    return report(stage, progress, stop, terminal);
  } finally {
    await file.close();
  }
}

async function appendMissing(
  { label, expectedKeys, work }: Stage,
  existingKeys: ReadonlySet<string>,
  append: (row: object) => Promise<void>,
  stop: StopSignal,
  terminal: Terminal,
): Promise<StageProgress> {
  const before = [...expectedKeys].filter((key) => existingKeys.has(key)).length;
  const { signal, failures, onError, onSuccess } = failureLimit(stop);
  let now = before;
  if (now === expectedKeys.size) return { before, now, failures };
  await withProgress(terminal, { label, total: expectedKeys.size }, async (shown) => {
    shown.update(now);
    for await (const row of work({ existingKeys, signal, onError })) {
      await append(row);
      onSuccess();
      shown.update(++now, failures.length > 0 ? `${failures.length} failed` : undefined);
    }
  });
  return { before, now, failures };
}

function report(
  { rows, out, expectedKeys }: Stage,
  { before, now, failures }: StageProgress,
  stop: StopSignal,
  terminal: Terminal,
) {
  const { stdout, stderr } = terminal;
  const total = expectedKeys.size;
  if (now >= total) {
    stdout.write(`${out} has all ${total} ${rows}${before > 0 ? `, ${before} of them from before` : ''}.\n`);
    return 0;
  }
  const [first] = failures;
  if (first !== undefined) stderr.write(`${first.message}\n`);
  stderr.write(
    `${out} has ${now} of ${total} ${rows}; ${total - now} are missing. Run the same command again to resume.\n`,
  );
  return stop.status() || 1;
}
