import { encodePair, epochOrder, keepGood } from '@wpo/data';
import { loadTokenizerFolder, readRows } from '@wpo/data/node';
import { type WeighedPair, weighPair } from '@wpo/trainer';
import { adapterIn, localModel } from '../downloads';
import { fromInput } from '../errors';
import { loadBackend, withModel } from '../models';
import type { InspectConfig } from '../schemas/inspect';
import { defaultsOf } from '../schemas/schema';
import { weighSchema } from '../schemas/weigh';
import { withProgress } from '../terminal/progress';
import type { Terminal } from '../terminal/terminal';

/** How likely the model is to write the answers of each source. */
export interface SourceWeights {
  /** Number of pairs that were weighed. */
  readonly pairs: number;
  /** Their mean weight. */
  readonly mean: number;
  readonly sources: Readonly<Record<string, SourceWeight>>;
  /** Mean weights by the sources of both answers. */
  readonly bySources: readonly {
    readonly chosen: string;
    readonly rejected: string;
    readonly pairs: number;
    readonly weight: number;
  }[];
}

export interface SourceWeight {
  readonly answers: number;
  /** Mean log-prob per token, averaged over answers. */
  readonly logp: number;
  /**
   * Mean of min(1, exp s(y)), where s(y) is the mean over the tokens of log p minus the alignment term: the factor that an answer
   * contributes to the weight of its pair. About 1 for answers in the model's own style.
   */
  readonly factor: number;
}

/** A weighed pair and the sources of its answers. */
export interface WeighedSources {
  readonly weighed: Pick<WeighedPair, 'weight' | 'scores'>;
  readonly sources: { readonly chosen: string; readonly rejected: string };
}

/** Averages weights by source. @param pairs at least one */
export function sourceWeights(pairs: readonly WeighedSources[]): SourceWeights {
  const answers = pairs.flatMap(({ weighed, sources }) =>
    (['chosen', 'rejected'] as const).map((side) => ({ source: sources[side], scores: weighed.scores[side] })),
  );
  const bySource = groupBy(answers, ({ source }) => source);
  const byBoth = groupBy(pairs, ({ sources: { chosen, rejected } }) => JSON.stringify([chosen, rejected]));
  const meanWeight = (some: readonly WeighedSources[]) => mean(some.map(({ weighed }) => weighed.weight));
  return {
    pairs: pairs.length,
    mean: meanWeight(pairs),
    sources: Object.fromEntries(
      Array.from(bySource, ([source, some]) => [
        source,
        {
          answers: some.length,
          logp: mean(some.map(({ scores }) => scores.none)),
          factor: mean(some.map(({ scores }) => Math.min(1, Math.exp(scores.sampled)))),
        },
      ]),
    ),
    bySources: Array.from(byBoth.values(), (some) => ({
      ...some[0]!.sources,
      pairs: some.length,
      weight: meanWeight(some),
    })),
  };
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Map.groupBy, which Node 20 does not have. */
function groupBy<T>(items: readonly T[], key: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) groups.set(key(item), [...(groups.get(key(item)) ?? []), item]);
  return groups;
}

export interface WeighBySourceOptions extends InspectConfig {
  readonly model: string;
  /** Number of usable pairs in the file. */
  readonly pairs: number;
}

/** Weighs a random sample of a file's pairs, with the defaults of `wpo weigh`, and averages the weights by source. */
export async function weighBySource(options: WeighBySourceOptions, terminal: Terminal): Promise<SourceWeights> {
  const drawn = new Set(epochOrder(options.pairs, options.seed, 0).slice(0, options.weigh));
  const folder = await localModel(options.model, terminal);
  const adapter = await adapterIn(options.adapter, terminal);
  const use = { kind: 'score', tokens: 0, answerTokens: 0 } as const;
  const weighed: WeighedSources[] = [];
  await withModel(folder, { ...(await loadBackend(options)), terminal, use, adapter }, ({ policy }) =>
    withProgress(terminal, { label: 'weigh', total: drawn.size }, async (shown) => {
      for await (const { pair, sources } of encodedPairs(options, folder, drawn)) {
        weighed.push({ weighed: await weighPair(policy, pair, defaultsOf(weighSchema)), sources });
        shown.update(weighed.length);
      }
    }),
  );
  return sourceWeights(weighed);
}

const UNNAMED_SOURCES = { chosen: '(chosen)', rejected: '(rejected)' };

/** The sampled pairs in file order. `drawn` has their indices among the usable rows. */
async function* encodedPairs(options: WeighBySourceOptions, folder: string, drawn: ReadonlySet<number>) {
  const textOptions = await fromInput(() => loadTokenizerFolder(folder));
  const { split, columns } = options;
  const skipping = { onBadRow: 'skip' } as const;
  let number = 0;
  for await (const row of readRows(options.file, { ...skipping, split, columns })) {
    const pair = keepGood(() => encodePair(row, { ...options, ...textOptions }), skipping);
    if (pair !== undefined && drawn.has(number++)) yield { pair, sources: row.sources ?? UNNAMED_SOURCES };
  }
}
