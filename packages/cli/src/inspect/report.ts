import type { Distribution, PairReport, WorstKind, WorstRow } from '@wpo/data';
import { describeControlTokens, describeSharedPrompts } from '../pairs';
import { count, counted, share, table } from '../terminal/format';
import type { SourceWeights } from './source-weights';

/** The results of `wpo inspect`, as `--json` prints them. */
export interface Inspection extends PairReport {
  readonly file: string;
  readonly unit: 'tokens' | 'words';
  /** Rows that cannot be used. All other numbers leave them out. */
  readonly badRows: number;
  readonly weights?: SourceWeights;
}

/** The length limits for which cuts are counted. */
export interface Limits {
  readonly maxLength: number;
  readonly maxPromptLength: number;
  readonly truncation: 'paper' | 'keep_start';
  readonly systemRole: 'error' | 'merge';
}

/** The results as lines of text. */
export function formatReport(report: Inspection, limits: Limits): string {
  const bad = report.badRows > 0 ? `, and ${counted(report.badRows, 'row')} that cannot be used` : '';
  return [
    `${report.file}: ${counted(report.pairs, 'pair')}${bad}`,
    lengths(report),
    cuts(report, limits),
    lengthBias(report),
    margins(report),
    sources(report),
    report.weights && weights(report.weights),
    repeats(report),
    report.controlTokens.rows > 0 ? describeControlTokens(report.file, report.controlTokens) : undefined,
    report.sharedPrompts > 0 ? describeSharedPrompts(report.file, report.sharedPrompts) : undefined,
    systemTurns(report),
    worst(report),
    verdict(report, limits),
  ]
    .filter((part) => part !== undefined)
    .join('\n\n');
}

const systemTurns = ({ file, systemTurns }: Inspection): string | undefined =>
  systemTurns === 0
    ? undefined
    : `${file}: ${count(systemTurns)} ${systemTurns === 1 ? 'row has' : 'rows have'} system turns, which Gemma’s chat template refuses. ` +
      'With system_role: merge, their text is put before the first user message.';

/** Whether a run can start with these pairs, what to decide before, and the next command. */
function verdict(report: Inspection, { systemRole }: Limits): string {
  const { badRows, controlTokens, sharedPrompts, systemTurns, negativeMargins, repeats, unit, file } = report;
  const found: readonly (readonly [number, string])[] = [
    [badRows, 'cannot be used, which stops a run: fix them, or set on_bad_row: skip'],
    [systemRole === 'error' ? systemTurns : 0, 'with system turns: set system_role: merge for Gemma'],
    [controlTokens.rows, 'with control tokens in their text'],
    [sharedPrompts, 'without a column for the prompt'],
    [negativeMargins, 'whose rejected answer has the higher score'],
    [repeats.equalAnswers, 'with two equal answers, which teach nothing'],
  ];
  const open = found.filter(([rows]) => rows > 0).map(([rows, what]) => `  ${counted(rows, 'row')} ${what}`);
  const next =
    unit === 'words'
      ? `wpo inspect ${file} --tokenizer MODEL, to see lengths in tokens and what the limits cut`
      : `write train_file: ${file} into a run’s YAML file, then wpo plan run.yaml`;
  const head = open.length === 0 ? 'Verdict: ready for training.' : 'Verdict: decide these first.';
  return [head, ...open, `Next: ${next}`].join('\n');
}

const HEAD = ['mean', 'min', '5 %', '25 %', '50 %', '75 %', '90 %', '95 %', '99 %', 'max'];

function cells({ mean, min, percentiles, max }: Distribution, digits: number): string[] {
  const { 5: p5, 25: p25, 50: p50, 75: p75, 90: p90, 95: p95, 99: p99 } = percentiles;
  return [mean, min, p5, p25, p50, p75, p90, p95, p99, max].map((n) =>
    digits === 0 ? count(Math.round(n)) : String(Number(n.toPrecision(digits))),
  );
}

function lengths({ unit, lengths: { prompt, chosen, rejected, longest } }: Inspection): string {
  const row = (name: string, lengths: Distribution | undefined) => [name, ...cells(lengths!, 0)];
  return table([
    [unit, ...HEAD],
    row('prompt', prompt),
    row('chosen', chosen),
    row('rejected', rejected),
    row('prompt + longer answer', longest),
  ]);
}

function cuts({ cuts, pairs }: Inspection, { maxLength, maxPromptLength, truncation }: Limits): string {
  if (cuts === undefined) return 'Add --tokenizer or --model to see what the length limits cut; they count tokens.';
  const limits = `max_length ${maxLength}${truncation === 'paper' ? `, max_prompt_length ${maxPromptLength}` : ''}`;
  if (cuts.pairs === 0) return `No pair is cut (${limits}, truncation ${truncation}).`;
  return (
    `Cut (${limits}, truncation ${truncation}): ${share(cuts.pairs, pairs)} of the pairs: ${counted(cuts.prompts, 'prompt')}, ` +
    `${count(cuts.chosen)} chosen and ${count(cuts.rejected)} rejected answers; ` +
    `${count(cuts.promptTokens)} tokens of prompts and ${count(cuts.answerTokens)} of answers.`
  );
}

function lengthBias({ unit, pairs, lengthBias }: Inspection): string {
  const { chosenLonger, equal, rejectedLonger, difference } = lengthBias;
  const mean = difference!.mean.toFixed(1);
  return (
    `The chosen answer is longer in ${share(chosenLonger, pairs)} pairs, shorter in ${share(rejectedLonger, pairs)}, and ` +
    `equally long in ${share(equal, pairs)}. Mean difference: ${mean} ${unit}.`
  );
}

function margins({ margins, zeroMargins, negativeMargins }: Inspection): string {
  if (margins === undefined) return 'No row has score_chosen and score_rejected.';
  const rows = table([
    ['score margin', ...HEAD],
    [counted(margins.count, 'pair'), ...cells(margins, 3)],
  ]);
  if (zeroMargins + negativeMargins === 0) return rows;
  return (
    `${rows}\n  ${count(zeroMargins)} margins are 0; ${count(negativeMargins)} are negative (the rejected answer has the ` +
    'higher score).'
  );
}

function sources({ sources, pairs, unit }: Inspection): string | undefined {
  const entries = Object.entries(sources);
  if (entries.length === 0) return 'No row names the sources of its answers (source_chosen, source_rejected).';
  return table([
    ['source', 'chosen', 'rejected', `mean ${unit}`, 'mean score'],
    ...entries.map(([source, { chosen, rejected, meanLength, meanScore }]) => [
      source,
      share(chosen, pairs),
      share(rejected, pairs),
      count(Math.round(meanLength)),
      meanScore === undefined ? '' : meanScore.toPrecision(4),
    ]),
  ]);
}

function weights({ pairs, mean, sources, bySources }: SourceWeights): string {
  return [
    table([
      ['WPO by source', 'answers', 'log p per token', 'weight factor'],
      ...Object.entries(sources)
        .sort(([, a], [, b]) => b.factor - a.factor)
        .map(([source, { answers, logp, factor }]) => [source, count(answers), logp.toFixed(3), factor.toFixed(3)]),
    ]),
    table([
      ['chosen vs. rejected', 'pairs', 'mean weight'],
      ...bySources
        .toSorted((a, b) => b.weight - a.weight)
        .map(({ chosen, rejected, pairs, weight }) => [`${chosen} vs. ${rejected}`, count(pairs), weight.toFixed(3)]),
      ['all weighed pairs', count(pairs), mean.toFixed(3)],
    ]),
  ].join('\n\n');
}

function repeats({ repeats: { prompts, pairs, ids, equalAnswers } }: Inspection): string {
  return (
    `Repeated: ${counted(prompts, 'prompt')}, ${counted(pairs, 'entire pair')}, ${counted(ids, 'id')}. ` +
    `Pairs with two equal answers: ${count(equalAnswers)}.`
  );
}

const KINDS: Readonly<Record<WorstKind, string>> = {
  longest: 'longest',
  lengthDifference: 'largest length difference',
  margin: 'smallest margin',
  equalAnswers: 'equal answers',
  repeated: 'repeated',
};

function worst({ worst }: Inspection): string | undefined {
  const lines = (Object.entries(worst) as [WorstKind, readonly WorstRow[]][]).flatMap(([kind, rows]) =>
    rows.map(({ at, id, value }) => [
      KINDS[kind],
      kind === 'repeated' ? '' : String(Number(value.toPrecision(4))),
      at === id ? at : `${at}  ${id}`,
    ]),
  );
  if (lines.length === 0) return undefined;
  const widths = [0, 1].map((column) => Math.max(...lines.map((line) => line[column]!.length)));
  const shown = lines.map(
    ([kind, value, row]) => `  ${kind!.padEnd(widths[0]!)}  ${value!.padStart(widths[1]!)}  ${row}`,
  );
  return ['Rows worth a look:', ...shown].join('\n');
}
