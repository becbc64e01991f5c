import { type FileRow, openRowsFile, readRowsFile } from '@wpo/eval/node';
import { counted } from '../terminal/format';
import { withProgress } from '../terminal/progress';
import { failureLimit, type StopSignal } from '../terminal/signals';
import type { Terminal } from '../terminal/terminal';

/** Work that appends rows to a file and can be resumed. */
export interface RowsTask {
  /** Label of the progress bar, e.g. `sample`. */
  readonly label: string;
  /** Name of the rows in messages, e.g. `answers`. */
  readonly rows: string;
  /** The output file, which may hold some of the rows already. */
  readonly out: string;
  /** Keys of all rows that the finished file must hold. */
  readonly expectedKeys: ReadonlySet<string>;
  /** Key of a row in the file. Throws if the row belongs to another run. */
  readonly keyOf: (row: FileRow) => string;
  /** Makes the missing rows. Not called if no row is missing. */
  readonly work: (controls: TaskControls) => AsyncIterable<object>;
}

/** Passed to a task's work. */
export interface TaskControls {
  /** Keys of the rows that are in the file already. */
  readonly existingKeys: ReadonlySet<string>;
  /** Aborted when no further row may start: after a signal, or after too many failures in succession. */
  readonly signal: { readonly aborted: boolean };
  /** Records the error of a row that failed. Throws the error again if it is not about the input, which ends the work. */
  readonly onError: (error: unknown) => void;
}

/** How far a task is. */
interface TaskProgress {
  /** Number of expected rows that were in the file at the start. */
  readonly before: number;
  /** Number of expected rows that are in the file now. */
  readonly now: number;
  readonly failures: readonly Error[];
}

/**
 * Appends a task's rows to its file as they are made, and shows the progress. If rows are missing at the end, it prints how
 * many. The rows so far are kept, and running the task again makes the missing ones.
 *
 * @returns the exit status: 0; 1 if rows are missing; 130 or 143 after a signal
 */
export async function runRowsTask(task: RowsTask, stop: StopSignal, terminal: Terminal): Promise<number> {
  const file = await openRowsFile(task.out);
  try {
    const existingKeys = new Set<string>();
    for await (const row of readRowsFile(task.out)) existingKeys.add(task.keyOf(row));
    const progress = await appendMissing(task, existingKeys, file.append, stop, terminal);
    return report(task, progress, stop, terminal);
  } finally {
    await file.close();
  }
}

async function appendMissing(
  { label, expectedKeys, work }: RowsTask,
  existingKeys: ReadonlySet<string>,
  append: (row: object) => Promise<void>,
  stop: StopSignal,
  terminal: Terminal,
): Promise<TaskProgress> {
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
  { rows, out, expectedKeys }: RowsTask,
  { before, now, failures }: TaskProgress,
  stop: StopSignal,
  terminal: Terminal,
) {
  const { stdout, stderr } = terminal;
  const total = expectedKeys.size;
  if (now >= total) {
    stdout.write(
      `${out} has all ${counted(total, rows.replace(/s$/, ''))}${before > 0 ? `, ${before} of them from before` : ''}.\n`,
    );
    return 0;
  }
  const [first] = failures;
  if (first !== undefined) stderr.write(`${first.message}\n`);
  stderr.write(
    `${out} has ${now} of ${counted(total, rows.replace(/s$/, ''))}; ${total - now} ${total - now === 1 ? 'is' : 'are'} missing. Run the same command again to resume.\n`,
  );
  return stop.status() || 1;
}
