import { encodePair, epochOrder, keepGood } from '@wpo/data';
import { loadTokenizerFolder, readRows } from '@wpo/data/node';
import { weighPair } from '@wpo/trainer';
import { loadBackend } from '../backend';
import { localModel } from '../downloads';
import { fromInput } from '../errors';
import { loadModel } from '../model';
import { withProgress } from '../progress';
import type { InspectConfig } from '../schemas/inspect';
import type { Terminal } from '../terminal';
import { type SourceWeights, sourceWeights, type WeighedSources } from './source-weights';

export interface WeighBySourceOptions extends InspectConfig {
  readonly model: string;
  /** Pairs in the file that can be used. */
  readonly pairs: number;
}

/** Weighs pairs of a file, drawn by the seed, as `wpo weigh` does by default, and averages by source. */
export async function weighBySource(options: WeighBySourceOptions, terminal: Terminal): Promise<SourceWeights> {
  const drawn = new Set(epochOrder(options.pairs, options.seed, 0).slice(0, options.weigh));
  const folder = await localModel(options.model, terminal);
  const model = await loadModel(folder, await loadBackend());
  const weighed: WeighedSources[] = [];
  await withProgress(terminal, { label: 'weigh', total: drawn.size }, async (shown) => {
    for await (const { pair, sources } of encodedPairs(options, folder, drawn)) {
      weighed.push({ weighed: await weighPair(model.policy, pair, WEIGHING), sources });
      shown.update(weighed.length);
    }
  });
  model.dispose();
  return sourceWeights(weighed);
}

const WEIGHING = { beta: 0.1, labelSmoothing: 0, alignment: 'sampled', clamp: true } as const;
const UNNAMED = { chosen: '(chosen)', rejected: '(rejected)' };

/** The drawn pairs in file order. Rows that cannot be used are not counted, as when the pairs were counted. */
async function* encodedPairs(options: WeighBySourceOptions, folder: string, drawn: ReadonlySet<number>) {
  const text = await fromInput(() => loadTokenizerFolder(folder));
  const { split, columns } = options;
  const skipping = { onBadRow: 'skip' } as const;
  let number = 0;
  for await (const row of readRows(options.file, { ...skipping, split, columns })) {
    const pair = keepGood(() => encodePair(row, { ...options, ...text }), skipping);
    if (pair !== undefined && drawn.has(number++)) yield { pair, sources: row.sources ?? UNNAMED };
  }
}
