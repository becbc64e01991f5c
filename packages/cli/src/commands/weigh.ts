import type { EncodedPair, PreferenceRow, RowLocation } from '@wpo/data';
import { readRows } from '@wpo/data/node';
import { printable } from '@wpo/internal/printable';
import type { Alignment, LossType } from '@wpo/loss';
import {
  type Group,
  mapOverRanks,
  orFail,
  type WeighedPair as PairWeight,
  pauseAndCheck,
  precomputeReference,
  weighPair,
} from '@wpo/trainer';
import { adapterIn, localModel } from '../downloads';
import { writeWholeFile } from '../files';
import { checkMemory, largestPass } from '../memory';
import { type Backend, loadBackend, withModel } from '../models';
import { pairReader } from '../pairs';
import { alone, type Processes } from '../processes';
import { checkFlags } from '../schemas/flags';
import { type WeighConfig, weighSchema } from '../schemas/weigh';
import { counted, formatHistogram, histogram } from '../terminal/format';
import { withProgress } from '../terminal/progress';
import { type StopSignal, stopIfAsked, withSignals } from '../terminal/signals';
import { processTerminal, type Terminal } from '../terminal/terminal';

/** A line of the output file. Log-probs are in nats. */
export interface WeighedPair {
  /** The row's id, file and line. Rows that were skipped have no line here. */
  readonly id: string;
  readonly file: string;
  readonly line: number;
  readonly prompt_tokens: number;
  readonly chosen_tokens: number;
  readonly rejected_tokens: number;
  /** log π(y), summed over the answer's tokens. */
  readonly chosen_logps: number;
  readonly rejected_logps: number;
  readonly ref_chosen_logps: number;
  readonly ref_rejected_logps: number;
  /** s(y) of each answer: the mean over its tokens of log p minus the alignment term. */
  readonly alignment: { readonly chosen: AlignmentScores; readonly rejected: AlignmentScores };
  /** The pair's WPO weight, times the weight in its row. */
  readonly weight: number;
  readonly dpo_loss: number;
  /** `weight` times `dpo_loss`. */
  readonly wpo_loss: number;
  /** The loss of `--loss-type`, without and with the weight. */
  readonly loss?: number;
  readonly weighted_loss?: number;
}

/** An answer's score by each alignment term. */
export type AlignmentScores = Readonly<Record<Alignment, number>>;

/**
 * `wpo weigh`: computes the weight that each pair of a file would have in training.
 *
 * @param processes the processes that divide the pairs, of which this is one. Default: this one alone
 * @returns the exit status
 */
export async function weigh(
  config: WeighConfig,
  terminal: Terminal = processTerminal(),
  processes: Processes = alone,
): Promise<number> {
  checkFlags(weighSchema, config);
  const { group, isFirst } = processes;
  const { folder, adapter, reference } = await processes.oncePerMachine(async () => ({
    folder: await localModel(config.model, terminal),
    adapter: await adapterIn(config.adapter, terminal),
    reference: config.ref === undefined ? undefined : await localModel(config.ref, terminal),
  }));
  const read = await pairReader(folder, terminal, config);
  const { pairs } = await read(config.pairs, config.split);
  const backend = processes.shareMemory(await loadBackend(config));
  const use = { kind: 'score', ...largestPass(pairs) } as const;
  await orFail(group, () => checkMemory([{ folder, use, adapter }], backend, terminal)); // before the reference runs
  const work = async (stop: StopSignal) => {
    const weights: WeighedRow[] = [];
    const write: typeof writeWholeFile = isFirst ? writeWholeFile : (_, body) => body(async () => {});
    await write(config.out, async (append) => {
      const references =
        reference === undefined ? undefined : await referencesBy(reference, pairs, { backend, stop, terminal, group });
      const pause = pauseAndCheck(() => stop.signal.throwIfAborted());
      await withModel(folder, { ...backend, terminal, use, adapter }, ({ policy }) =>
        withProgress(terminal, { label: 'weigh', total: pairs.length }, async (shown) => {
          const rounds = mapOverRanks([...pairs.keys()], {
            ...{ group, what: 'weights of pairs' },
            cost: (i) => pairs[i]!.prompt.length + pairs[i]!.chosen.length + pairs[i]!.rejected.length,
            async work(i) {
              await stopIfAsked(stop);
              const weighed = await weighPair(policy, pairs[i]!, { ...config, reference: references?.[i], pause });
              return lineOf(weighed, pairs[i]!, config.lossType);
            },
          });
          for await (const lines of rounds) {
            for (const line of lines) {
              const { id, at } = pairs[weights.length]!;
              await append(`${JSON.stringify(line)}\n`);
              weights.push({ id, at, weight: line.weight });
            }
            shown.update(weights.length);
          }
        }),
      );
    });
    if (!isFirst) return 0;
    const extremes = await describeExtremes(weights, config);
    terminal.stdout.write(`${describeWeights(weights)}\n\n${extremes}\nWritten to ${config.out}\n`);
    return 0;
  };
  return withSignals(terminal, work, processes);
}

interface ReferenceWork {
  readonly backend: Backend;
  readonly stop: StopSignal;
  readonly terminal: Terminal;
  readonly group: Group;
}

/** Runs the reference first and frees it, so that only one model is in memory. */
const referencesBy = (
  folder: string,
  pairs: readonly EncodedPair[],
  { backend, stop, terminal, group }: ReferenceWork,
) =>
  withModel(folder, { ...backend, terminal, use: { kind: 'score', ...largestPass(pairs) } }, ({ policy }) =>
    withProgress(terminal, { label: 'reference', total: pairs.length }, (shown) =>
      precomputeReference({ policy, pairs, group, signal: stop.signal, onProgress: (done) => shown.update(done) }),
    ),
  );

/** A pair's weight and losses as a line of the file. */
function lineOf(weighed: PairWeight, { id, at }: EncodedPair, lossType: LossType | undefined): WeighedPair {
  const { pair, weight, dpoLoss, loss } = weighed;
  return {
    id,
    file: at.file,
    line: at.line,
    prompt_tokens: pair.prompt.length,
    chosen_tokens: pair.chosen.length,
    rejected_tokens: pair.rejected.length,
    chosen_logps: weighed.chosenLogps,
    rejected_logps: weighed.rejectedLogps,
    ref_chosen_logps: weighed.refChosenLogps,
    ref_rejected_logps: weighed.refRejectedLogps,
    alignment: weighed.scores,
    weight,
    dpo_loss: dpoLoss,
    wpo_loss: weight * dpoLoss,
    ...(lossType === undefined ? {} : { loss, weighted_loss: weight * loss }),
  };
}

interface WeighedRow extends Pick<EncodedPair, 'id' | 'at'> {
  readonly weight: number;
}

function describeWeights(rows: readonly WeighedRow[]): string {
  const weights = rows.map(({ weight }) => weight);
  const mean = weights.reduce((sum, weight) => sum + weight, 0) / weights.length;
  const [least, most] = weights.reduce(
    ([low, high], w) => [Math.min(low, w), Math.max(high, w)],
    [Infinity, -Infinity],
  );
  const numbers = [mean, least, most].map(formatWeight);
  return (
    `weights of ${counted(weights.length, 'pair')}: mean ${numbers[0]}, min ${numbers[1]}, max ${numbers[2]}\n` +
    formatHistogram(histogram(weights))
  );
}

const formatWeight = (weight: number) => (weight === 0 || weight >= 1e-3 ? weight.toFixed(4) : weight.toExponential(2));

const EXTREMES = 3;

/** The pairs with the lowest and the highest weights, with the beginnings of their texts. */
async function describeExtremes(weights: readonly WeighedRow[], config: WeighConfig): Promise<string> {
  const sorted = weights.toSorted((a, b) => a.weight - b.weight);
  const [lowest, highest] = [sorted.slice(0, EXTREMES), sorted.slice(EXTREMES).slice(-EXTREMES).reverse()];
  const keyOf = ({ file, line }: RowLocation) => `${line}:${file}`;
  const extremes = new Set([...lowest, ...highest].map(({ at }) => keyOf(at)));
  const texts = new Map<string, PreferenceRow>();
  const { split, columns } = config;
  // the texts are read again, since only the tokens of all pairs are in memory
  for await (const row of readRows(config.pairs, { split, columns, onBadRow: 'skip' })) {
    if (extremes.has(keyOf(row.at))) texts.set(keyOf(row.at), row);
    if (texts.size === extremes.size) break;
  }
  const lines = ({ id, at, weight }: WeighedRow) => {
    const row = texts.get(keyOf(at));
    const place = `${at.file}:${at.line}`;
    const parts = [
      ['prompt', row?.context.at(-1)?.content],
      ['chosen', row?.chosen],
      ['rejected', row?.rejected],
    ] as const;
    return [
      `  ${formatWeight(weight)}  ${printable(place)}${id === place ? '' : `  ${printable(id, 60)}`}`,
      ...parts.map(([name, text = '']) => `    ${name.padEnd(8)}  ${beginningOf(text)}`),
    ];
  };
  return [
    ['lowest weights:', ...lowest.flatMap(lines)],
    ...(highest.length === 0 ? [] : [['highest weights:', ...highest.flatMap(lines)]]),
  ]
    .map((part) => part.join('\n'))
    .join('\n');
}

const BEGINNING = 80;

function beginningOf(text: string): string {
  const words = text
    .slice(0, 4 * BEGINNING)
    .trim()
    .replace(/\s+/g, ' ');
  return printable(words.length > BEGINNING ? `${words.slice(0, BEGINNING).replace(/[\ud800-\udbff]$/, '')}…` : words);
}
