import { type RunReport, reportPage, runReport } from '@wpo/report';
import type { TrainEvent } from '@wpo/trainer';
import { writeWholeFile } from '../files';
import type { Terminal } from '../terminal/terminal';
import type { RunFolder } from '../training/run-folder';
import type { PromptAnswers } from './prompt-answers';
import { readRun } from './read-run';
import { type RecordingOptions, scoreExtremes } from './recordings';

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

/** Answers all prompts before training. A signal that arrives meanwhile ends it. */
export const recordBefore = (options: RecordingOptions, answers: PromptAnswers): Promise<void> =>
  recordAnswers(options, () => answers.recordAll(options, 0));

/** Answers the prompts that are due after an event. A signal that arrives meanwhile ends it. */
export const recordDuring = (options: RecordingOptions, answers: PromptAnswers, event: TrainEvent): Promise<void> =>
  recordAnswers(options, () => answers.follow(options, event));

/** Records what the report needs the trained model for. @param step the step of its weights */
export async function recordTrained(options: RecordingOptions, answers: PromptAnswers, step: number): Promise<void> {
  await recordAnswers(options, async () => {
    await answers.recordAll(options, step);
    await scoreExtremes(options);
  });
}

/** A signal that arrives meanwhile ends the work. */
const recordAnswers = (options: RecordingOptions, work: () => Promise<void>): Promise<void> =>
  withoutFailing('answers and tokens for the report', options.terminal, work, options.stop.signal);

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
