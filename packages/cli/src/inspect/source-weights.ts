import type { WeighedPair } from '@wpo/trainer';

/** How near the model's own style each source is. */
export interface SourceWeights {
  /** Pairs that were weighed. */
  readonly pairs: number;
  /** Mean weight of them. */
  readonly mean: number;
  readonly sources: Readonly<Record<string, SourceWeight>>;
  /** Mean weight of pairs by the sources of both answers. */
  readonly bySources: readonly {
    readonly chosen: string;
    readonly rejected: string;
    readonly pairs: number;
    readonly weight: number;
  }[];
}

export interface SourceWeight {
  readonly answers: number;
  /** Mean log-prob a token, averaged over answers. */
  readonly logp: number;
  /**
   * Mean of min(1, exp s(y)), s(y) being the mean over an answer's tokens of log p less the alignment term: what an answer
   * does to the weight of its pair. About 1 for the model's own style.
   */
  readonly factor: number;
}

/** A weighed pair and who wrote its answers. */
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

/** What Map.groupBy does, which Node 20 lacks. */
function groupBy<T>(items: readonly T[], key: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) groups.set(key(item), [...(groups.get(key(item)) ?? []), item]);
  return groups;
}
