import { patience } from './patience';
import { withProgress } from './progress';
import { type FileRow, openRowsFile, readRowsFile } from './rows-file';
import type { Stop } from './stop';
import type { Terminal } from './terminal';

/** Work that fills a file with rows, one by one, and can be gone on with. */
export interface Stage {
  /** What is counted off, e.g. `sample`. */
  readonly label: string;
  /** What the rows are, e.g. `answers`. */
  readonly rows: string;
  /** The file, which may have some of the rows already. */
  readonly out: string;
  /** A key for each row that is wanted. */
  readonly wanted: ReadonlySet<string>;
  /** The key of a row that the file has; throws where it is of another run. */
  readonly keyOf: (row: FileRow) => string;
  /** Makes the rows that are not there yet; not called where there are none. */
  readonly work: (heed: StageControls) => AsyncIterable<object>;
}

/** What a stage's work heeds. */
export interface StageControls {
  /** Keys of the rows that are there, and are not to be made again. */
  readonly there: ReadonlySet<string>;
  /** Aborted where no further row is to be begun: by a signal, or after too many failures. */
  readonly signal: { readonly aborted: boolean };
  /** Takes note of a row that could not be made. An error that is not about the input ends the work. */
  readonly onError: (error: unknown) => void;
}

/** How far a stage came. */
interface Standing {
  /** Rows of the stage that the file had before, and has now. */
  readonly before: number;
  readonly now: number;
  readonly failures: readonly Error[];
}

/**
 * Writes a stage's rows as they are made, and shows how far it is. All that is made is kept, whatever fails; what is
 * missing is said, and the same command goes on with it.
 *
 * @returns the exit status: 0; 1 where rows are missing; 130 or 143 where a signal stopped it
 */
export async function runStage(stage: Stage, stop: Stop, terminal: Terminal): Promise<number> {
  const file = await openRowsFile(stage.out);
  try {
    const there = new Set<string>();
    for await (const row of readRowsFile(stage.out, stage.rows)) there.add(stage.keyOf(row));
    const standing = await fill(stage, there, file.append, stop, terminal);
    return report(stage, standing, stop, terminal);
  } finally {
    await file.close();
  }
}

async function fill(
  { label, wanted, work }: Stage,
  there: ReadonlySet<string>,
  append: (row: object) => Promise<void>,
  stop: Stop,
  terminal: Terminal,
): Promise<Standing> {
  const before = [...wanted].filter((key) => there.has(key)).length;
  const { signal, failures, onError, onSuccess } = patience(stop);
  let now = before;
  if (now === wanted.size) return { before, now, failures };
  await withProgress(terminal, { label, total: wanted.size }, async (shown) => {
    shown.update(now);
    for await (const row of work({ there, signal, onError })) {
      await append(row);
      onSuccess();
      shown.update(++now, failures.length > 0 ? `${failures.length} failed` : undefined);
    }
  });
  return { before, now, failures };
}

function report({ rows, out, wanted }: Stage, { before, now, failures }: Standing, stop: Stop, terminal: Terminal) {
  const { stdout, stderr } = terminal;
  if (now >= wanted.size) {
    stdout.write(`${out} has all ${wanted.size} ${rows}${before > 0 ? `, ${before} of them from before` : ''}.\n`);
    return 0;
  }
  const [first] = failures;
  if (first !== undefined) stderr.write(`${first.message}\n`);
  stderr.write(
    `${out} has ${now} of ${wanted.size} ${rows}, ${wanted.size - now} are missing. What is there is kept; the same ` +
      'command goes on with the rest.\n',
  );
  return stop.status() || 1;
}
