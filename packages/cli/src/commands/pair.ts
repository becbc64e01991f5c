import { pairAnswerFiles, readRecords } from '@wpo/data/node';
import { evaluationText, OverlapIndex, type Overlaps, type PairSummary } from '@wpo/data/pairing';
import { printable } from '@wpo/internal/printable';
import { fromInput, UserError } from '../errors';
import { writeWholeFile } from '../files';
import { nearestName } from '../nearest';
import { SkippedRows } from '../pairs';
import { checkFlags } from '../schemas/flags';
import { type PairConfig, pairSchema } from '../schemas/pair';
import { count, counted, share, table } from '../terminal/format';
import { type StopSignal, stopIfAsked, withSignals } from '../terminal/signals';
import { processTerminal, type Terminal } from '../terminal/terminal';

/** `wpo pair`: makes preference pairs from scored answers. Returns the exit status. */
export async function pair(config: PairConfig, terminal: Terminal = processTerminal()): Promise<number> {
  checkFlags(pairSchema, config);
  const skipped = new SkippedRows(config.answers.join(', '));
  return withSignals(terminal, async (stop) => {
    const summary = await makePairs(config, skipped, stop);
    skipped.warn(terminal);
    terminal.stdout.write(
      config.json ? `${JSON.stringify(summary)}\n` : `${formatPairSummary(summary)}\n\nWritten to ${config.out}\n`,
    );
    return 0;
  });
}

const makePairs = (config: PairConfig, skipped: SkippedRows, stop: StopSignal): Promise<PairSummary> =>
  fromInput(async () => {
    const { against, ngram, onBadRow } = config;
    const { rows, summary } = await pairAnswerFiles(config.answers, {
      ...config,
      against: against === undefined ? undefined : await overlapIndex(against, ngram),
      onBadRow,
      onSkip: skipped.add,
    });
    checkSources(config, summary());
    await writeWholeFile(config.out, async (append) => {
      for await (const row of rows) {
        await stopIfAsked(stop);
        await append(`${JSON.stringify(row)}\n`);
      }
      if (summary().pairs === 0) {
        throw new UserError(`${config.out}: expected at least one pair, found none:\n${formatPairSummary(summary())}`);
      }
    });
    return summary();
  });

/** @throws {UserError} if a source of --off-policy has no answers */
function checkSources({ offPolicy = [] }: PairConfig, { sources }: PairSummary): void {
  const known = Object.keys(sources);
  const unknown = offPolicy.find((source) => !known.includes(source));
  if (unknown === undefined || known.length === 0) return;
  const nearest = nearestName(unknown, known);
  throw new UserError(
    `--off-policy: expected sources of the answers (${printable(known.join(', '))}), found ${unknown}.` +
      (nearest === undefined ? '' : ` Did you mean ${nearest}?`),
  );
}

async function overlapIndex(source: string, n: number): Promise<OverlapIndex> {
  const texts: string[] = [];
  for await (const { value, at } of readRecords(source)) texts.push(evaluationText(value, at));
  if (texts.length === 0) throw new UserError(`${source}: expected an evaluation set, found no rows.`);
  return new OverlapIndex(texts, n);
}

/** The summary as lines of text. */
export function formatPairSummary(summary: PairSummary): string {
  const { pairs, sources, offPolicy, overlaps } = summary;
  const sourceRows = Object.entries(sources).map(([source, { answers, chosen, rejected }]) => [
    source,
    count(answers),
    share(chosen, pairs),
    share(rejected, pairs),
  ]);
  return [
    table(countRows(summary)),
    '',
    table([['source', 'answers', 'chosen', 'rejected'], ...sourceRows]),
    ...(offPolicy.prompts === 0
      ? []
      : [
          '',
          `Off-policy answers were used for ${counted(offPolicy.prompts, 'prompt')}; ` +
            `${share(offPolicy.pairs, pairs)} of the pairs have one.`,
        ]),
    ...(overlaps === undefined ? [] : ['', describeOverlaps(overlaps, summary)]),
    ...(summary.answersLeftOut.duplicate === 0 ? [] : ['', describeDuplicates(summary)]),
  ].join('\n');
}

function countRows({ answers, answersLeftOut, prompts, promptsLeftOut, pairs, margin }: PairSummary): string[][] {
  const { empty, unscored, offPolicy, duplicate } = answersLeftOut;
  const { tooFewAnswers, equalScores, smallMargin, overlaps } = promptsLeftOut;
  const leftOut = (rows: [string, number][]) => rows.filter(([, n]) => n > 0).map(([name, n]) => [name, count(n)]);
  return [
    ['answers', count(answers)],
    ...leftOut([
      ['  left out: empty', empty],
      ['  left out: without a score', unscored],
      ['  left out: off-policy', offPolicy],
      ['  left out: same text as another', duplicate],
    ]),
    ['prompts', count(prompts)],
    ...leftOut([
      ['  left out: fewer than two answers', tooFewAnswers],
      ['  left out: all scores equal', equalScores],
      ['  left out: margin too small', smallMargin],
      ['  left out: overlaps with the evaluation set', overlaps],
    ]),
    ['pairs', count(pairs)],
    ...(margin === undefined
      ? []
      : [
          ['mean margin', margin.mean.toPrecision(4)],
          ['  minimum, median, maximum', [margin.min, margin.percentiles[50], margin.max].map(formatNumber).join(', ')],
        ]),
  ];
}

const describeDuplicates = ({ answersLeftOut }: PairSummary): string =>
  `${counted(answersLeftOut.duplicate, 'answer has', 'answers have')} the same text as another answer to the same prompt. If ` +
  'their seeds differ, the seeds had no effect: sample at a higher temperature, or from a server that accepts `seed`.';

const formatNumber = (n: number) => String(Number(n.toPrecision(4)));

function describeOverlaps({ n, pairs, parts, texts }: Overlaps, { promptsLeftOut }: PairSummary): string {
  if (pairs === 0) return `No pair shares ${n} consecutive words with the evaluation set.`;
  const where = Object.entries(parts).map(([part, found]) => `${count(found)} in the ${part}`);
  return (
    `${counted(pairs, 'pair')} ${pairs === 1 ? 'shares' : 'share'} ${n} consecutive words with ${counted(texts.length, 'text')} of the evaluation set: ` +
    `${where.join(', ')}. ${promptsLeftOut.overlaps > 0 ? 'They are left out.' : 'They are included.'}`
  );
}
