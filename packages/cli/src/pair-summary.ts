import type { Overlaps, PairSummary } from '@wpo/data/pairing';
import { count, share, table } from './table';

/** What came of answers, as lines of text. */
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
          `Off-policy answers took part at ${count(offPolicy.prompts)} prompts; ` +
            `${share(offPolicy.pairs, pairs)} of the pairs have one.`,
        ]),
    ...(overlaps === undefined ? [] : ['', describeOverlaps(overlaps, summary)]),
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
      ['  left out: text of another answer', duplicate],
    ]),
    ['prompts', count(prompts)],
    ...leftOut([
      ['  left out: fewer than two answers', tooFewAnswers],
      ['  left out: all scores equal', equalScores],
      ['  left out: margin too small', smallMargin],
      ['  left out: overlaps with the evaluation', overlaps],
    ]),
    ['pairs', count(pairs)],
    ...(margin === undefined
      ? []
      : [
          ['mean margin', margin.mean.toPrecision(4)],
          ['  least, median, most', [margin.min, margin.percentiles[50], margin.max].map(short).join(', ')],
        ]),
  ];
}

const short = (n: number) => String(Number(n.toPrecision(4)));

function describeOverlaps({ n, pairs, parts, texts }: Overlaps, { promptsLeftOut }: PairSummary): string {
  if (pairs === 0) return `No pair shares ${n} words in a row with the evaluation.`;
  const where = Object.entries(parts).map(([part, found]) => `${count(found)} in the ${part}`);
  return (
    `${count(pairs)} pairs share ${n} words in a row with ${count(texts.length)} texts of the evaluation: ` +
    `${where.join(', ')}. ${promptsLeftOut.overlaps > 0 ? 'They are left out.' : 'They are kept.'}`
  );
}
