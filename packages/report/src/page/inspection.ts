import * as Plot from '@observablehq/plot';
import type { ExampleRow, InspectionReport, LengthBin, Spread } from '../inspection-report';
import { h, section, short, table, visible } from './dom';
import { type FigureOptions, figure } from './figure';
import { themeButton } from './theme';

/** Draws the page of preference pairs. Of several sets, the first is shown, and the reader chooses. */
export function renderInspections(report: HTMLElement, inspections: readonly InspectionReport[]): void {
  const [first] = inspections;
  const isList = inspections.length > 1;
  const title = isList ? `${inspections.length} sets of pairs` : visible(first!.file);
  document.title = `${title} – WPO data inspection`;
  const heading = h('h1', {}, title);
  report.append(
    h(
      'header',
      { class: 'page' },
      h('div', {}, h('p', { class: 'eyebrow' }, 'WPO data inspection'), heading, !isList && badge(first!)),
      themeButton(),
    ),
  );
  if (!isList) {
    report.append(...parts(first!));
    return;
  }
  report.append(section('sets', 'Sets of pairs', overview(inspections)));
  const details = h('div', {});
  const names = inspections.map(({ file }, i) => h('option', { value: i }, visible(file)));
  const choice = h('select', { id: 'set' }, ...names);
  const show = () => {
    const chosen = inspections[Number(choice.value)]!;
    details.replaceChildren(badge(chosen), ...parts(chosen));
  };
  choice.addEventListener('change', show);
  report.append(h('div', { class: 'choice' }, h('label', { for: 'set' }, 'Details of '), choice), details);
  show();
}

const count = (n: number) => Math.round(n).toLocaleString('en-US');
const counted = (n: number, noun: string) => `${count(n)} ${noun}${n === 1 ? '' : 's'}`;
const share = (n: number, all: number) => `${((100 * n) / all).toFixed(1)} %`;

function badge({ verdict: { findings } }: InspectionReport): HTMLElement {
  if (findings.length === 0) return h('p', { class: 'badge' }, 'ready for training');
  return h('p', { class: 'badge warn' }, `${findings.length} to decide before training`);
}

function overview(inspections: readonly InspectionReport[]): HTMLElement {
  const hasShares = inspections.some(({ epochShare }) => epochShare !== undefined);
  const head = ['unusable rows', 'median length', 'chosen longer', 'cut', 'to decide'];
  return table(
    'Sets of pairs',
    ['set', 'pairs', ...(hasShares ? ['of an epoch'] : []), ...head],
    inspections.map(({ file, pairs, epochShare, badRows, lengths, lengthBias, cuts, verdict }) => [
      ...[file, count(pairs), ...(hasShares ? [epochShare === undefined ? '–' : share(epochShare, 1)] : [])],
      ...[count(badRows), count(lengths.longest!.percentiles[50]), share(lengthBias.chosenLonger, pairs)],
      ...[cuts ? share(cuts.pairs, pairs) : '–', String(verdict.findings.length)],
    ]),
  );
}

const parts = (inspection: InspectionReport): HTMLElement[] =>
  [
    tiles(inspection),
    verdict(inspection),
    lengthSection(inspection),
    sourceSection(inspection),
    marginSection(inspection),
    rowSection(inspection),
  ].filter((part) => part !== undefined);

function tiles({ pairs, badRows, unit, lengths, lengthBias, cuts, repeats }: InspectionReport): HTMLElement {
  const entries: [string, string][] = [
    ['pairs', count(pairs)],
    ['unusable rows', count(badRows)],
    [`median length, ${unit}`, count(lengths.longest!.percentiles[50])],
    [`longest, ${unit}`, count(lengths.longest!.max)],
    ['chosen answer longer', share(lengthBias.chosenLonger, pairs)],
    cuts ? ['pairs that are cut', share(cuts.pairs, pairs)] : ['repeated pairs', count(repeats.pairs)],
  ];
  return h(
    'dl',
    { class: 'tiles' },
    ...entries.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))),
  );
}

function verdict({ verdict: { findings, next }, worst, badRowErrors }: InspectionReport): HTMLElement {
  const found = findings.map(({ rows, text, kind }) => {
    const examples = kind === undefined ? [] : (worst[kind] ?? []);
    // rows with positive margins are among the smallest margins too
    const shown = kind === 'margin' ? examples.filter(({ value }) => value < 0) : examples;
    const errors = kind === 'badRows' ? badRowErrors : [];
    return h(
      'article',
      { class: 'pair' },
      h('header', {}, h('h3', {}, `${count(rows)} ${rows === 1 ? 'row' : 'rows'} ${visible(text)}`)),
      ...errors.map((message) => h('p', { class: 'text' }, visible(message))),
      shown.length > 0 &&
        h('details', {}, h('summary', {}, shown.length === 1 ? 'Example' : 'Examples'), ...shown.map(example)),
    );
  });
  return section(
    'verdict',
    findings.length === 0 ? 'Ready for training' : 'Decide these first',
    ...found,
    next !== undefined && h('p', { class: 'next' }, 'Next: ', h('code', {}, visible(next))),
  );
}

const example = ({ id, at, prompt, chosen, rejected }: ExampleRow): HTMLElement =>
  h(
    'div',
    { class: 'example' },
    h('p', { class: 'note' }, visible(id === at ? at : `${at}, id ${id}`)),
    passage('Prompt', prompt),
    h('div', { class: 'sides' }, passage('Chosen', chosen), passage('Rejected', rejected)),
  );

const passage = (title: string, text: string) =>
  h('section', {}, h('h4', {}, title), h('blockquote', { class: 'text', dir: 'auto' }, visible(text)));

/** A vertical line in a histogram. */
interface Mark {
  readonly label: string;
  readonly at: number;
  /** What the caption says if the line is to the right of the chart. */
  readonly beyond?: string;
}

const limitMark = (key: string, at: number): Mark => ({
  label: `${key} ${count(at)}`,
  at,
  beyond: ` ${key}, ${count(at)}, is to the right of the chart.`,
});

function lengthSection(inspection: InspectionReport): HTMLElement {
  const { unit, lengths, histograms, limits, lengthBias, cuts, pairs } = inspection;
  const total = unit === 'tokens' ? limitMark('max_length', limits.maxLength) : undefined;
  const ofPrompt =
    total && limits.truncation === 'paper' ? limitMark('max_prompt_length', limits.maxPromptLength) : undefined;
  const chart = (title: string, bins: readonly LengthBin[], what: string, mark?: Mark) =>
    figure(lengthHistogram(title, bins, { unit, what, mark }));
  const mean = lengthBias.difference!.mean;
  const longer = `${share(lengthBias.chosenLonger, pairs)} longer, ${share(lengthBias.rejectedLonger, pairs)} shorter, ${share(lengthBias.equal, pairs)} equal`;
  return section(
    'lengths',
    `Lengths in ${unit}`,
    h('p', { class: 'note' }, cutText(inspection)),
    h(
      'div',
      { class: 'charts' },
      chart('Prompt and longer answer', histograms.longest, 'The prompt with the longer of the two answers.', total),
      chart('Prompt', histograms.prompt, 'All messages before the answer.', ofPrompt),
      chart('Chosen answer', histograms.chosen, 'The better answer.'),
      chart('Rejected answer', histograms.rejected, 'The worse answer.'),
      chart(
        'Chosen minus rejected',
        histograms.difference,
        `How much longer the chosen answer is, ${short(mean)} ${unit} on average: ${longer}.`,
        { label: 'equal lengths', at: 0 },
      ),
    ),
    spreadTable(`Lengths in ${unit}`, [
      ['prompt', lengths.prompt],
      ['chosen', lengths.chosen],
      ['rejected', lengths.rejected],
      ['prompt + longer answer', lengths.longest],
    ]),
    cuts && cuts.pairs > 0 && cutTable(cuts),
  );
}

function cutText({ cuts, pairs, limits, unit }: InspectionReport): string {
  if (unit === 'words' || cuts === undefined)
    return 'Length limits count tokens: inspect with a tokenizer to see what they cut.';
  const { maxLength, maxPromptLength, truncation } = limits;
  const named = `max_length ${count(maxLength)}${truncation === 'paper' ? `, max_prompt_length ${count(maxPromptLength)}` : ''}`;
  const what =
    cuts.pairs === 0
      ? 'No pair is cut'
      : `${counted(cuts.pairs, 'pair')} (${share(cuts.pairs, pairs)}) ${cuts.pairs === 1 ? 'is' : 'are'} cut`;
  return `${what} with ${named}, truncation ${truncation}.`;
}

const cutTable = (cuts: NonNullable<InspectionReport['cuts']>) =>
  table(
    'What the limits cut',
    ['cut', 'prompts', 'chosen answers', 'rejected answers', 'tokens of prompts', 'tokens of answers'],
    [['', ...[cuts.prompts, cuts.chosen, cuts.rejected, cuts.promptTokens, cuts.answerTokens].map(count)]],
  );

const PERCENTS = [5, 25, 50, 75, 90, 95, 99] as const;

const spreadTable = (name: string, rows: readonly (readonly [string, Spread | undefined])[], format = count) =>
  table(
    name,
    ['', 'mean', 'min', ...PERCENTS.map((percent) => `${percent} %`), 'max'],
    rows.flatMap(([part, spread]) => {
      if (spread === undefined) return [];
      const { mean, min, percentiles, max } = spread;
      return [[part, ...[mean, min, ...PERCENTS.map((percent) => percentiles[percent]), max].map(format)]];
    }),
  );

function lengthHistogram(
  title: string,
  bins: readonly LengthBin[],
  { unit, what, mark }: { readonly unit: string; readonly what: string; readonly mark: Mark | undefined },
): FigureOptions {
  const range = ({ low, high }: LengthBin, i = bins.findIndex((bin) => bin.low === low)) => {
    const [isFirst, isLast] = [i === 0, i === bins.length - 1];
    if (isFirst && isLast) return `${count(low)}`;
    if (isFirst) return `below ${count(high)}`;
    if (isLast) return `${count(low)} and more`;
    return high - low === 1 ? count(low) : `${count(low)} to ${count(high - 1)}`;
  };
  const [from, to] = [bins[0]!.low, bins.at(-1)!.high];
  const shown = mark !== undefined && mark.at >= from && mark.at <= to ? [mark] : [];
  const beyond = mark !== undefined && mark.at > to ? (mark.beyond ?? '') : '';
  return {
    title,
    caption: `${what}${beyond}`,
    legend: shown.map(({ label }) => ({ label, color: 'var(--s2)', kind: 'line' })),
    plot: (width) => ({
      x: { label: unit, labelOffset: 38, domain: [from, to], ticks: Math.max(2, Math.floor(width / 90)) },
      y: { label: 'pairs', grid: true, ticks: 5, tickFormat: (n: number) => (Number.isInteger(n) ? count(n) : '') },
      marginTop: 28,
      marks: [
        Plot.rectY(bins, { x1: 'low', x2: 'high', y: 'count', fill: 'var(--s1)', inset: 0.5 }),
        Plot.ruleY([0]),
        Plot.ruleX(shown, { x: 'at', stroke: 'var(--s2)', strokeWidth: 2, strokeDasharray: '4 3' }),
      ],
    }),
    tip: () =>
      Plot.tip(
        bins,
        Plot.pointerX({
          ...{ x1: 'low', x2: 'high', y: 'count' },
          title: (bin: LengthBin) => `${range(bin)} ${unit}\n${count(bin.count)} pairs`,
        }),
      ),
    numbers: () => ({ head: [unit, 'pairs'], rows: bins.map((bin, i) => [range(bin, i), count(bin.count)]) }),
  };
}

/** Sources that the chart shows. */
const MAX_SOURCES = 12;

function sourceSection({ sources, pairs, unit }: InspectionReport): HTMLElement {
  const all = Object.entries(sources).sort(([, a], [, b]) => b.chosen + b.rejected - a.chosen - a.rejected);
  if (all.length === 0) {
    const text = 'No row names the sources of its answers (source_chosen, source_rejected).';
    return section('sources', 'Sources', h('p', { class: 'note' }, text));
  }
  const rows = all.map(([source, { chosen, rejected, meanLength, meanScore }]) => [
    ...[source, `${count(chosen)} (${share(chosen, pairs)})`, `${count(rejected)} (${share(rejected, pairs)})`],
    ...[count(meanLength), meanScore === undefined ? '–' : short(meanScore)],
  ]);
  return section(
    'sources',
    'Sources',
    h('div', { class: 'charts' }, figure(sourceChart(all.slice(0, MAX_SOURCES), all.length))),
    table('Sources', ['source', 'chosen', 'rejected', `mean ${unit}`, 'mean score'], rows),
  );
}

type Source = readonly [name: string, report: InspectionReport['sources'][string]];

function sourceChart(sources: readonly Source[], all: number): FigureOptions {
  const bars = sources.flatMap(([source, { chosen, rejected }]) => [
    { source, side: 'chosen', answers: chosen },
    { source, side: 'rejected', answers: rejected },
  ]);
  const color = ({ side }: (typeof bars)[number]) => (side === 'chosen' ? 'var(--s1)' : 'var(--s2)');
  const most = all > sources.length ? ` The ${sources.length} of ${count(all)} sources with the most answers.` : '';
  return {
    title: 'Answers by source',
    caption: `How often the answers of a source are chosen and rejected.${most}`,
    legend: [
      { label: 'chosen', color: 'var(--s1)', kind: 'area' },
      { label: 'rejected', color: 'var(--s2)', kind: 'area' },
    ],
    plot: (width) => {
      const room = Math.round(Math.min(190, width * 0.4));
      const shortened = (text: string) =>
        text.length > room / 7 ? `${text.slice(0, Math.floor(room / 7) - 1)}…` : text;
      return {
        ...{ marginLeft: room, marginTop: 8, height: 64 + 40 * sources.length },
        x: { label: 'answers', labelOffset: 38, grid: true, ticks: Math.max(2, Math.floor((width - room) / 80)) },
        fy: {
          ...{ label: null, domain: sources.map(([source]) => source), axis: 'left' },
          tickFormat: (source: string) => shortened(visible(source)),
        },
        y: { axis: null, domain: ['chosen', 'rejected'] },
        marks: [Plot.barX(bars, { x: 'answers', y: 'side', fy: 'source', fill: color })],
      };
    },
    tip: () =>
      Plot.tip(
        bars,
        Plot.pointerY({
          ...{ x: 'answers', y: 'side', fy: 'source' },
          title: (bar: (typeof bars)[number]) => `${visible(bar.source)}\n${bar.side}: ${count(bar.answers)}`,
        }),
      ),
    numbers: () => ({
      head: ['source', 'chosen', 'rejected'],
      rows: sources.map(([source, { chosen, rejected }]) => [source, count(chosen), count(rejected)]),
    }),
  };
}

function marginSection({ margins }: InspectionReport): HTMLElement | undefined {
  if (margins === undefined) return undefined;
  const rows = [[`${count(margins.count)} pairs`, margins]] as const;
  return section(
    'margins',
    'Score margins',
    h('p', { class: 'note' }, 'score_chosen minus score_rejected. Below 0, the scores contradict the preference.'),
    spreadTable('Score margins', rows, short),
  );
}

const KINDS: Readonly<Record<string, string>> = {
  longest: 'Longest pairs',
  lengthDifference: 'Largest length differences',
  margin: 'Smallest margins',
  repeated: 'Repeated rows',
};

function rowSection({ worst, repeats, verdict: { findings } }: InspectionReport): HTMLElement {
  const shown = new Set(findings.map(({ kind }) => kind));
  const kinds = Object.entries(KINDS).filter(([kind]) => (worst[kind]?.length ?? 0) > 0 && !shown.has(kind));
  const { prompts, pairs, ids } = repeats;
  const repeated = `Repeated: ${counted(prompts, 'prompt')}, ${counted(pairs, 'entire pair')}, ${counted(ids, 'id')}.`;
  return section(
    'rows',
    'Rows worth a look',
    h('p', { class: 'note' }, repeated),
    ...kinds.map(([kind, name]) =>
      h('article', { class: 'pair' }, h('details', {}, h('summary', {}, name), ...worst[kind]!.map(example))),
    ),
  );
}
