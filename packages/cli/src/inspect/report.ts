import type { Distribution, PairReport, WorstKind, WorstRow } from '@wpo/data';
import { describeControlTokens, describeSharedPrompts } from '../pairs';
import { count, counted, share, table } from '../terminal/format';
import type { SourceWeights } from './source-weights';

/** The results of `wpo inspect`, as `--json` prints them. */
export interface Inspection extends InspectedPairs {
  readonly limits: InspectionLimits;
  readonly verdict: Verdict;
}

/** What was found in a file, without a judgement. */
export interface InspectedPairs extends PairReport {
  readonly file: string;
  readonly unit: 'tokens' | 'words';
  /** Rows that cannot be used. All other numbers leave them out. */
  readonly badRows: number;
  /** Messages about the first of them. */
  readonly badRowErrors: readonly string[];
  readonly weights?: SourceWeights;
  /** Of a source of a run: the part of an epoch's pairs that it has, from 0 to 1. */
  readonly epochShare?: number;
}

/** Whether a run can start with the pairs: it can if nothing was found. */
export interface Verdict {
  readonly findings: readonly Finding[];
  /** What to do next: a command, or a sentence with one. Absent in a part of a run's pairs. */
  readonly next?: string;
}

/** Something to decide before training. */
export interface Finding {
  readonly rows: number;
  /** What the rows have in common, and what can be done. Continues the number of rows. */
  readonly text: string;
  /** Where its examples are: a kind of rows in `worst`, or `badRows` for `badRowErrors`; absent if there are none. */
  readonly kind?: WorstKind | 'badRows';
}

/** The length limits for which cuts are counted. */
export interface InspectionLimits {
  readonly maxLength: number;
  readonly maxPromptLength: number;
  readonly truncation: 'paper' | 'keep_start';
  readonly systemRole: 'error' | 'merge';
  /** Default `error`: rows that cannot be used stop a run. */
  readonly onBadRow?: 'error' | 'skip';
}

/** Judges pairs. @param more what else was found, and what to do next */
export function judged(pairs: InspectedPairs, limits: InspectionLimits, more: Partial<Verdict> = {}): Inspection {
  const { maxLength, maxPromptLength, truncation, systemRole } = limits;
  const findings = [...findingsIn(pairs, limits), ...(more.findings ?? [])];
  return { ...pairs, limits: { maxLength, maxPromptLength, truncation, systemRole }, verdict: { ...more, findings } };
}

/** The results as lines of text. */
export function formatReport(report: Inspection): string {
  const bad = report.badRows > 0 ? `, and ${counted(report.badRows, 'row')} that cannot be used` : '';
  return [
    `${report.file}: ${counted(report.pairs, 'pair')}${bad}`,
    lengths(report),
    cuts(report),
    lengthBias(report),
    margins(report),
    sources(report),
    report.weights && weights(report.weights),
    repeats(report),
    report.controlTokens.rows > 0 ? describeControlTokens(report.file, report.controlTokens) : undefined,
    report.sharedPrompts > 0 ? describeSharedPrompts(report.file, report.sharedPrompts) : undefined,
    systemTurns(report),
    worst(report),
    verdict(report),
  ]
    .filter((part) => part !== undefined)
    .join('\n\n');
}

const systemTurns = ({ file, systemTurns }: Inspection): string | undefined =>
  systemTurns === 0
    ? undefined
    : `${file}: ${count(systemTurns)} ${systemTurns === 1 ? 'row has' : 'rows have'} system turns, which Gemma’s chat template refuses. ` +
      'With system_role: merge, their text is put before the first user message.';

function findingsIn(pairs: InspectedPairs, { systemRole, onBadRow = 'error' }: InspectionLimits): Finding[] {
  const { badRows, controlTokens, sharedPrompts, systemTurns, negativeMargins, repeats } = pairs;
  const all: readonly Finding[] = [
    {
      ...{ rows: onBadRow === 'error' ? badRows : 0, kind: 'badRows' },
      text: 'cannot be used, which stops a run: fix them, or set on_bad_row: skip',
    },
    {
      ...{ rows: systemRole === 'error' ? systemTurns : 0, kind: 'systemTurn' },
      text: 'with system turns: set system_role: merge for Gemma',
    },
    { rows: controlTokens.rows, text: 'with control tokens in their text', kind: 'controlTokens' },
    { rows: sharedPrompts, text: 'without a column for the prompt', kind: 'sharedPrompt' },
    { rows: negativeMargins, text: 'whose rejected answer has the higher score', kind: 'margin' },
    { rows: repeats.equalAnswers, text: 'with two equal answers, which teach nothing', kind: 'equalAnswers' },
  ];
  return all.filter(({ rows }) => rows > 0);
}

function verdict({ verdict: { findings, next } }: Inspection): string {
  const head = findings.length === 0 ? 'Verdict: ready for training.' : 'Verdict: decide these first.';
  const found = findings.map(({ rows, text }) => `  ${counted(rows, 'row')} ${text}`);
  return [head, ...found, ...(next === undefined ? [] : [`Next: ${next}`])].join('\n');
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

function cuts({ cuts, pairs, limits: { maxLength, maxPromptLength, truncation } }: Inspection): string {
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
  controlTokens: 'control tokens',
  sharedPrompt: 'no prompt column',
  systemTurn: 'system turns',
};

/** Kinds whose value says nothing. */
const WITHOUT_VALUE: readonly WorstKind[] = ['repeated', 'controlTokens', 'sharedPrompt', 'systemTurn'];

function worst({ worst }: Inspection): string | undefined {
  const lines = (Object.entries(worst) as [WorstKind, readonly WorstRow[]][]).flatMap(([kind, rows]) =>
    rows.map(({ at, id, value }) => [
      KINDS[kind],
      WITHOUT_VALUE.includes(kind) ? '' : String(Number(value.toPrecision(4))),
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
