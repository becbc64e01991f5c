import { createWriteStream, existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type EncodedPair, encodePair, type PreferenceRow } from '@wpo/data';
import { loadTokenizerFolder, readRows } from '@wpo/data/node';
import { type Gemma2Config, gemma2_2b, seededRandom, tensorShapes } from '@wpo/gemma';
import { writeModelFolder } from '@wpo/gemma/node';
import type { PairLengths } from './matrix-products';

/** 159M parameters. The output head is about a fifth of the forward pass, as in Gemma-2 2B. */
const config: Gemma2Config = {
  ...gemma2_2b,
  vocabSize: 32_000,
  hiddenSize: 1024,
  intermediateSize: 4096,
  numHiddenLayers: 8,
  layerTypes: gemma2_2b.layerTypes.slice(0, 8),
  headDim: 128,
  queryPreAttnScalar: 128,
  slidingWindow: 512,
  maxPositionEmbeddings: 4096,
  eosTokenId: [1, 107],
};

/** Writes the benchmark's model with random weights, about 635 MB, unless it exists. */
export async function ensureModel(folder: string, tokenizerFrom: string, say: (line: string) => void): Promise<void> {
  if (existsSync(join(folder, 'config.json'))) return;
  say(`writing a model of 159M random parameters to ${folder}`);
  const random = seededRandom(0);
  const tensors = Array.from(tensorShapes(config), ([name, shape]) => ({
    name,
    shape,
    // transformers' initialization: norm weights 0, which count as 1; all others normal with standard deviation 0.02
    data: async () => (name.includes('norm') ? new Float32Array(shape[0]!) : normal(sizeOf(shape), 0.02, random)),
  }));
  const configJson = JSON.parse(await readFile(join(tokenizerFrom, 'config.json'), 'utf8'));
  await writeModelFolder(folder, { config, configJson, tensors, dtype: 'F32', copyFrom: tokenizerFrom });
}

const sizeOf = (shape: readonly number[]) => shape.reduce((size, length) => size * length, 1);

/** Normally distributed values (Box–Muller). */
function normal(count: number, deviation: number, random: () => number): Float32Array {
  const values = new Float32Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = deviation * Math.sqrt(-2 * Math.log(1 - random()));
    const angle = 2 * Math.PI * random();
    values[i] = radius * Math.cos(angle);
    if (i + 1 < count) values[i + 1] = radius * Math.sin(angle);
  }
  return values;
}

/** How both sides encode and truncate a pair, so that they run the same tokens: TRL's way. */
export const ENCODING = { completion: 'trl', truncation: 'keep_start', maxLength: 2048 } as const;

/** The pairs of a file, encoded with a model's tokenizer. */
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

/** The lengths of a file's pairs. */
export const readLengths = async (model: string, file: string) => (await readPairs(model, file)).map(lengthsOf);

/** The most answers that are joined into one. The result is about as long as an answer of UltraFeedback. */
const MAX_PARTS = 5;

/** Writes preference rows of real text: a prompt, and two answers, each joined from several answers to other prompts. */
export async function writeRows(path: string, texts: readonly string[], count: number): Promise<void> {
  const rows: PreferenceRow[] = [];
  for (const text of texts) for await (const row of readRows(text)) rows.push(row);
  const answers = rows.flatMap(({ chosen, rejected }) => [chosen, rejected]);
  const random = seededRandom(0);
  const draw = <T>(from: readonly T[]) => from[Math.floor(random() * from.length)]!;
  const answer = () => Array.from({ length: 1 + Math.floor(random() * MAX_PARTS) }, () => draw(answers)).join('\n\n');
  await pipeline(function* () {
    for (let i = 0; i < count; i++) {
      const { context } = draw(rows);
      const side = () => [...context, { role: 'assistant', content: answer() }];
      yield `${JSON.stringify({ prompt: context.at(-1)!.content, chosen: side(), rejected: side() })}\n`;
    }
  }, createWriteStream(path));
}
