import { type RunReport, reportPage, runReport } from '@wpo/report';
import { writeWholeFile } from '../files';
import type { Terminal } from '../terminal/terminal';
import type { RunFolder } from '../training/run-folder';
import { readRun } from './read-run';
import { type RecordingOptions, sampleAnswers, scoreExtremes } from './recordings';

/** Writes a page about one run, or several. */
export const writePage = (path: string, runs: readonly RunReport[]): Promise<void> =>
  writeWholeFile(path, (append) => append(reportPage(runs)));

/**
 * Writes the report of the run in a folder. A run's results do not depend on it: a failure is a warning, and the run continues.
 *
 * @returns the page's path; undefined after a failure
 */
export const reportRun = ({ path, report }: RunFolder, terminal: Terminal): Promise<string | undefined> =>
  withoutFailing('the report', terminal, async () => {
    const { run } = await readRun(path);
    await writePage(report, [runReport(run)]);
    return report;
  });

/** Records what the report needs the trained model for. A signal that arrives meanwhile ends it. */
export async function recordTrained(options: RecordingOptions, before: Answers): Promise<void> {
  const { terminal, stop } = options;
  const record = async () => {
    if (before !== undefined) await sampleAnswers(options, before);
    await scoreExtremes(options);
  };
  await withoutFailing('answers and tokens for the report', terminal, record, stop.signal);
}

type Answers = Awaited<ReturnType<typeof sampleAnswers>> | undefined;

/** As `sampleAnswers`, before training. @returns undefined after a failure @throws the signal's reason */
export async function recordBefore(options: RecordingOptions): Promise<Answers> {
  const answers = await withoutFailing(
    'answers for the report',
    options.terminal,
    () => sampleAnswers(options),
    options.stop.signal,
  );
  options.stop.signal.throwIfAborted();
  return answers;
}

/** Runs a task, and reports its failure as a warning. If the signal stopped it, nothing is reported. */
export async function withoutFailing<T>(
  what: string,
  { stderr }: Terminal,
  task: () => Promise<T>,
  signal?: AbortSignal,
): Promise<T | undefined> {
  try {
    return await task();
  } catch (error) {
    if (signal?.aborted) return undefined;
    stderr.write(`${what} could not be written: ${error instanceof Error ? error.message : String(error)}\n`);
    return undefined;
  }
}
