import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { printable } from '@wpo/internal/printable';
import { runReport } from '@wpo/report';
import type { RunFigure } from '@wpo/report/figures';
import type { MetricsRow, PairRow } from '@wpo/trainer';
import { readPairLog } from '@wpo/trainer/node';
import { parse, stringify } from 'yaml';
import { version } from '../../package.json';
import { trainsAdapter } from '../schemas/adapter';
import { decidingValues, defaultsOf, yamlKey } from '../schemas/schema';
import { sourcesOf } from '../schemas/shared';
import { type TrainConfig, trainSchema } from '../schemas/train';
import { formatValue, locationsIn } from '../schemas/yaml-config';
import { count, counted, histogram } from '../terminal/format';
import { type RunFolder, readMetrics } from './run-folder';
import { changedMetrics, summarize } from './summary';

// The model card of a trained model: README.md in its folder, as the Hugging Face Hub shows it, and the images that it names.

const MODEL_CARD = 'README.md';

/** The contents of a card and its images, by the names of their files. */
export type CardFiles = Readonly<Record<string, string>>;

export interface CardSource {
  readonly config: TrainConfig;
  readonly folder: RunFolder;
  /** The folder of the model that was trained, whose own card names the licence. */
  readonly baseFolder: string;
  /** The step of the saved model, if it is not the last. */
  readonly modelStep?: number | undefined;
}

/** Writes the card of a run's model. @throws {UserError} if a file of the run is damaged */
export async function modelCard(source: CardSource): Promise<CardFiles> {
  const { config, folder, modelStep = Number.POSITIVE_INFINITY } = source;
  const rows = (await readMetrics(folder)).filter((row) => (row.step ?? 0) <= modelStep);
  const pairs = await readPairs(folder, modelStep);
  const { runFigures } = await import('@wpo/report/figures'); // which loads a charting library
  const figures = runFigures(runReport({ name: '', status: '', metrics: rows, pairs }));
  const lastWeights = [...new Map(pairs.map(({ id, weight }) => [id, weight])).values()];
  const sections = [
    `# ${inline(basename(config.outputDir))}`,
    introduction(config, lastWeights.length),
    ...results(rows, modelStep),
    ...figureSection(figures, { loss: () => course(rows), weights: () => weightTable(lastWeights) }),
    '## Data',
    markdownTable([['source', 'split', 'share'], ...dataRows(config)]),
    '## Settings',
    markdownTable([['key', 'value'], ...settings(config)]),
    USE,
    usage(trainsAdapter(config)),
    ...(config.useWeighting ? ['## Citation', CITATION] : []),
  ];
  return {
    [MODEL_CARD]: `---\n${stringify(await metadata(source))}---\n\n${sections.join('\n\n')}\n`,
    ...Object.fromEntries(figures.map(({ name, svg }) => [imageFile(name), svg])),
  };
}

/** The card of a model into which an adapter was merged, made from the adapter's card. A card that someone else wrote keeps its text. */
export async function mergedCard(adapterFolder: string): Promise<CardFiles> {
  const card = await readCard(adapterFolder);
  if (card === undefined) return {};
  const { base_model_relation: _, tags, ...data } = card.metadata;
  const kept = Array.isArray(tags) ? tags.filter((tag) => tag !== 'lora') : tags;
  const metadata = { ...data, library_name: 'transformers', ...(kept !== undefined && { tags: kept }) };
  const text = card.text.replace(`${USE}\n\n${usage(true)}`, `${USE}\n\n${usage(false)}`);
  const merged = `${text.trimEnd()}\n\nThe adapter is merged into the weights: the model is loaded without PEFT.\n`;
  return { [MODEL_CARD]: `---\n${stringify(metadata)}---\n${merged}`, ...(await imagesOf(card.text, adapterFolder)) };
}

/** The images of a card that `modelCard` wrote. */
async function imagesOf(text: string, folder: string): Promise<CardFiles> {
  const names = FIGURE_NAMES.map(imageFile).filter(
    (file) => text.includes(`](${file})`) && existsSync(join(folder, file)),
  );
  const read = async (file: string) => [file, await readFile(join(folder, file), 'utf8')] as const;
  return Object.fromEntries(await Promise.all(names.map(read)));
}

/** The metadata and the text of a folder's card; undefined if it has none with metadata. */
async function readCard(folder: string) {
  const path = join(folder, MODEL_CARD);
  if (!existsSync(path)) return undefined;
  const [, yaml, text = ''] = /^---\r?\n(.*?)\r?\n---\r?\n?(.*)$/s.exec(await readFile(path, 'utf8')) ?? [];
  try {
    const metadata: unknown = yaml === undefined ? undefined : parse(yaml, { maxAliasCount: 0, logLevel: 'silent' });
    if (typeof metadata !== 'object' || metadata === null || Array.isArray(metadata)) return undefined;
    return { metadata: metadata as Readonly<Record<string, unknown>>, text };
  } catch {
    return undefined; // not YAML
  }
}

/** What the Hub reads: only what is known. */
async function metadata({ config, baseFolder }: CardSource): Promise<Readonly<Record<string, unknown>>> {
  const isAdapter = trainsAdapter(config);
  const base = hubName(config.modelNameOrPath);
  const datasets = locationsIn(config.trainFile).flatMap((path) => hubName(path) ?? []);
  const licence = Object.entries((await readCard(baseFolder).catch(() => undefined))?.metadata ?? {}).filter(
    ([key, value]) => ['license', 'license_name', 'license_link'].includes(key) && typeof value === 'string',
  );
  return {
    ...(base !== undefined && { base_model: base, base_model_relation: isAdapter ? 'adapter' : 'finetune' }),
    library_name: isAdapter ? 'peft' : 'transformers',
    pipeline_tag: 'text-generation',
    tags: ['gemma2', 'preference-optimization', methodTag(config), ...(isAdapter ? ['lora'] : [])],
    ...(datasets.length > 0 && { datasets: [...new Set(datasets)] }),
    ...Object.fromEntries(licence),
  };
}

const methodTag = ({ useWeighting, lossType }: TrainConfig) =>
  useWeighting ? 'wpo' : lossType[0] === 'sigmoid' ? 'dpo' : lossType[0]!;

/** `org/name` of a location on the Hub. */
const hubName = (location: string): string | undefined =>
  /^hf:\/\/(?:datasets\/)?([\w.-]+\/[\w.-]+)/.exec(location)?.[1];

/** A name that says nothing about this machine: that on the Hub, or the last part of a path. */
const publicName = (location: string): string => hubName(location) ?? basename(location);

function introduction(config: TrainConfig, pairs: number): string {
  const on = pairs === 0 ? 'preference pairs' : counted(pairs, 'preference pair');
  const losses = config.lossType.join(' + ');
  const method = config.useWeighting
    ? '[WPO](https://arxiv.org/abs/2406.11827), which weights each pair by how likely its answers are under the policy'
    : 'unweighted pairs';
  const what = trainsAdapter(config) ? 'A LoRA adapter of' : 'A fine-tuned';
  return `${what} ${inline(publicName(config.modelNameOrPath))}, trained on ${on} with the loss ${losses} and ${method}. Written by wpo ${version}.`;
}

function results(rows: readonly MetricsRow[], modelStep: number): string[] {
  if (!rows.some((row) => row.num_tokens !== undefined && row.loss !== undefined)) return [];
  const summary = summarize(rows, modelStep);
  const note = summary.isHeldOut ? '' : ' Both columns are means over training pairs, which differ.';
  return [
    '## Results',
    `${counted(summary.steps, 'step')}, ${count(summary.tokens)} tokens.${note}`,
    markdownTable(changedMetrics(summary)),
  ];
}

/** The pairs that were trained on, in the order of the steps. */
async function readPairs({ pairs: file }: RunFolder, modelStep: number): Promise<PairRow[]> {
  const pairs: PairRow[] = [];
  if (existsSync(file)) for await (const pair of readPairLog(file)) if (pair.step <= modelStep) pairs.push(pair);
  return pairs;
}

const FIGURE_NAMES: readonly RunFigure['name'][] = ['loss', 'margins', 'weights'];

const imageFile = (name: RunFigure['name']): string => `training-${name}.svg`;

/** Images with their captions, and tables of some of their numbers, which are closed. */
const figureSection = (
  figures: readonly RunFigure[],
  numbers: Readonly<Partial<Record<RunFigure['name'], () => string>>>,
): string[] =>
  figures.length === 0
    ? []
    : [
        '## Training',
        ...figures.flatMap(({ name, title, caption }) => [
          `**${title}.** ${inline(caption)}`,
          `![${title}](${imageFile(name)})`,
          ...(numbers[name] ? [`<details><summary>Numbers</summary>\n\n${numbers[name]()}\n\n</details>`] : []),
        ]),
      ];

/** How many pairs have which weight. */
function weightTable(weights: readonly number[]): string {
  const { borders, counts } = histogram(weights);
  return markdownTable([
    ['weight', 'pairs'],
    ...counts.map((bin, i) => [`${borders[i]} to ${borders[i + 1]}`, count(bin)]),
  ]);
}

/** Rows of the course of training that a card shows. */
const MAX_ROWS = 10;
const COURSE = ['loss', 'rewards/accuracies', 'rewards/margins', 'wpo/weight'];

/** The course of training, as about ten of the rows of metrics.jsonl. */
function course(rows: readonly MetricsRow[]): string {
  const logged = rows.filter((row) => row.loss !== undefined && row.num_tokens !== undefined);
  const parts = Math.min(MAX_ROWS, logged.length);
  const chosen = Array.from({ length: parts }, (_, i) => logged[Math.round(((i + 1) * logged.length) / parts) - 1]!);
  const cells = chosen.map((row) => [count(row.step!), ...COURSE.map((name) => row[name]?.toFixed(4) ?? '')]);
  return markdownTable([['step', ...COURSE], ...cells]);
}

function dataRows({ trainFile, evalFile, evalSplit, datasetTrainSplit, datasetTestSplit }: TrainConfig): string[][] {
  const row = (path: string, split = '', share: number | string = '') => [
    inline(publicName(path)),
    inline(split),
    String(share),
  ];
  return [
    ...sourcesOf(trainFile).map(({ path, split, share }) => row(path, split ?? datasetTrainSplit, share)),
    ...sourcesOf(evalFile).map(({ path, split }) => row(path, split ?? datasetTestSplit, 'held out')),
    ...(evalSplit === undefined ? [] : [['of the same pairs', '', `held out: ${evalSplit}`]]),
  ];
}

/** The keys that a reader looks for, at their defaults too. */
const SHOWN = ['beta', 'lossType', 'useWeighting', 'learningRate', 'perDeviceTrainBatchSize'];
const MAIN = new Set([...SHOWN, 'gradientAccumulationSteps', 'numTrainEpochs', 'optim', 'seed'].map(yamlKey));

/** The settings that decide the result, where they are not the defaults. */
function settings(config: TrainConfig): string[][] {
  const defaults = Object.fromEntries(
    Object.entries(defaultsOf(trainSchema)).map(([name, value]) => [yamlKey(name), value]),
  );
  return Object.entries(decidingValues(trainSchema, config)).flatMap(([key, value]) => {
    const isData = key === 'train_file' || key === 'eval_file'; // in dataRows
    if (value === null || isData || (isDeepStrictEqual(value, defaults[key]) && !MAIN.has(key))) return [];
    return [[inline(key), inline(formatValue(value))]];
  });
}

const USE = '## Use';

const usage = (isAdapter: boolean): string =>
  isAdapter
    ? `\`\`\`python
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer, pipeline

path = "path/to/this/folder"
model = AutoPeftModelForCausalLM.from_pretrained(path)
chat = pipeline("text-generation", model=model, tokenizer=AutoTokenizer.from_pretrained(path))
print(chat([{"role": "user", "content": "Name a river."}], max_new_tokens=64)[0]["generated_text"][-1])
\`\`\``
    : `\`\`\`python
from transformers import pipeline

chat = pipeline("text-generation", model="path/to/this/folder")
print(chat([{"role": "user", "content": "Name a river."}], max_new_tokens=64)[0]["generated_text"][-1])
\`\`\``;

const CITATION = `\`\`\`bibtex
@inproceedings{zhou-etal-2024-wpo,
  title     = {{WPO}: Enhancing {RLHF} with Weighted Preference Optimization},
  author    = {Zhou, Wenxuan and Agrawal, Ravi and Zhang, Shujian and Indurthi, Sathish Reddy and Zhao, Sanqiang and Song, Kaiqiang and Xu, Silei and Zhu, Chenguang},
  booktitle = {Proceedings of the 2024 Conference on Empirical Methods in Natural Language Processing},
  year      = {2024},
  url       = {https://arxiv.org/abs/2406.11827}
}
\`\`\``;

/** Text of data and names on one line of Markdown, without a meaning there or in HTML. */
const inline = (text: string): string =>
  printable(text, 200)
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll(/[\\`*_[\]|~$#!]/g, '\\$&');

function markdownTable([head = [], ...rows]: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map((_, i) => (i === 0 ? ':--' : '--:'))), ...rows.map(line)].join('\n');
}
