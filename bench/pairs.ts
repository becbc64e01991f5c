import { type EncodedPair, encodePair } from '@wpo/data';
import { loadTokenizerFolder, readRows } from '@wpo/data/node';
import type { PairLengths } from './products';

/** How both sides lay out and cut a pair, so that they run the same tokens: as TRL does. */
export const ENCODING = { completion: 'trl', truncation: 'keep_start', maxLength: 2048 } as const;

/** The pairs of a file by a model's tokenizer. */
export async function readPairs(model: string, file: string): Promise<EncodedPair[]> {
  const text = await loadTokenizerFolder(model);
  const pairs: EncodedPair[] = [];
  for await (const row of readRows(file)) pairs.push(encodePair(row, { ...text, ...ENCODING }));
  return pairs;
}

export const lengthsOf = ({ prompt, chosen, rejected }: EncodedPair): PairLengths => ({
  prompt: prompt.length,
  chosen: chosen.length,
  rejected: rejected.length,
});

/** How long the pairs of a file are. */
export const lengthsIn = async (model: string, file: string) => (await readPairs(model, file)).map(lengthsOf);
