import { pairAnswerFiles, readRecords } from '@wpo/data/node';
import { evaluationText, OverlapIndex, type PairSummary } from '@wpo/data/pairing';
import { nearestName } from '@wpo/internal/nearest';
import { fromInput, UserError } from '../errors';
import { formatPairSummary } from '../pair-summary';
import { checkFlags } from '../schemas/flags';
import { type PairConfig, pairSchema } from '../schemas/pair';
import { SkippedRows } from '../skipped-rows';
import type { Terminal } from '../terminal';
import { writeWholeFile } from '../whole-file';

/** `wpo pair`: makes preference pairs of scored answers. Returns the exit status. */
export async function pair(given: PairConfig, terminal: Terminal = process): Promise<number> {
  checkFlags(pairSchema, given);
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

/** @throws {UserError} where no answer is of a source that is named */
function checkSources({ offPolicy = [] }: PairConfig, { sources }: PairSummary): void {
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
