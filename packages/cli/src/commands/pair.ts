import { pairAnswerFiles, readRecords } from '@wpo/data/node';
import { evaluationText, OverlapIndex, type PairStrategy, type PairSummary } from '@wpo/data/pairing';
import { nearestName } from '@wpo/internal/nearest';
import { fromInput, UserError } from '../errors';
import { formatPairSummary } from '../pair-summary';
import { SkippedRows } from '../skipped-rows';
import type { Terminal } from '../terminal';
import { writeWholeFile } from '../whole-file';

export interface PairArguments {
  /** JSONL files of scored answers. */
  readonly answers: readonly string[];
  /** File to write, one pair a line. */
  readonly out: string;
  readonly strategy: PairStrategy;
  readonly minMargin?: number;
  /** Sources that are not the model to be trained. */
  readonly offPolicy?: readonly string[];
  /** Share of prompts whose off-policy answers take part. */
  readonly hybrid?: number;
  readonly seed: number;
  /** An evaluation set to look for in the pairs. */
  readonly against?: string;
  /** Words that have to agree. */
  readonly ngram: number;
  /** Leave out the pairs that overlap. */
  readonly dropOverlaps?: boolean;
  readonly onBadRow: 'error' | 'skip';
  /** Print the summary as JSON. */
  readonly json?: boolean;
}

/** `wpo pair`: makes preference pairs of scored answers. Returns the exit status. */
export async function pair(given: PairArguments, terminal: Terminal = process): Promise<number> {
  checkPairing(given);
  const { against, ngram, onBadRow } = given;
  const skipped = new SkippedRows();
  const summary = await fromInput(async () => {
    const { rows, summary } = await pairAnswerFiles(given.answers, {
      ...given,
      against: against === undefined ? undefined : await overlapIndex(against, ngram),
      onBadRow,
      onSkip: skipped.add,
    });
    checkSources(given, summary());
    await writeWholeFile(given.out, async (append) => {
      for await (const row of rows) await append(`${JSON.stringify(row)}\n`);
      if (summary().pairs === 0) throw new UserError(`found no pair to write:\n${formatPairSummary(summary())}`);
    });
    return summary();
  });
  skipped.warn(terminal);
  terminal.stdout.write(
    given.json ? `${JSON.stringify(summary)}\n` : `${formatPairSummary(summary)}\n\nWritten to ${given.out}\n`,
  );
  return 0;
}

/** @throws {UserError} where options do not go together */
export function checkPairing({
  strategy,
  minMargin = 0,
  offPolicy,
  hybrid,
  against,
  dropOverlaps,
}: PairArguments): void {
  if (strategy === 'margin' && minMargin === 0) {
    throw new UserError(
      '--strategy margin: wanted --min-margin above 0 beside it: the margin that a pair has at least.',
    );
  }
  if (hybrid !== undefined && offPolicy === undefined) {
    throw new UserError('--hybrid: wanted --off-policy beside it: the sources that are not the model’s own.');
  }
  if (dropOverlaps && against === undefined) {
    throw new UserError('--drop-overlaps: wanted --against FILE beside it.');
  }
}

/** @throws {UserError} where no answer is of a source that is named */
function checkSources({ offPolicy = [] }: PairArguments, { sources }: PairSummary): void {
  const known = Object.keys(sources);
  const unknown = offPolicy.find((source) => !known.includes(source));
  if (unknown === undefined || known.length === 0) return;
  throw new UserError(
    `--off-policy ${unknown}: found no answer of that source, wanted one of ${known.join(', ')}. ` +
      `Did you mean ${nearestName(unknown, known)}?`,
  );
}

async function overlapIndex(source: string, n: number): Promise<OverlapIndex> {
  const texts: string[] = [];
  for await (const { value, at } of readRecords(source)) texts.push(evaluationText(value, at));
  if (texts.length === 0) throw new UserError(`${source}: found no rows, wanted an evaluation set.`);
  return new OverlapIndex(texts, n);
}
