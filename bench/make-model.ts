import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Gemma2Config, gemma2_2b, seededRandom, tensorShapes } from '@wpo/gemma';
import { writeModelFolder } from '@wpo/gemma/node';

/** 159M parameters, the output head about a fifth of the forward pass, as in Gemma-2 2B. */
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

/** Writes the benchmark's model with random weights, unless it is there; about 635 MB. */
export async function ensureModel(folder: string, tokenizerFrom: string, say: (line: string) => void): Promise<void> {
  if (existsSync(join(folder, 'config.json'))) return;
  say(`making a model of 159M random parameters in ${folder}`);
  const random = seededRandom(0);
  const tensors = Array.from(tensorShapes(config), ([name, shape]) => ({
    name,
    shape,
    // as transformers begins: norms' gains 0, which counts as 1; all else normal with deviation 0.02
    data: async () => (name.includes('norm') ? new Float32Array(shape[0]!) : normal(sizeOf(shape), 0.02, random)),
  }));
  const configJson = JSON.parse(await readFile(join(tokenizerFrom, 'config.json'), 'utf8'));
  await writeModelFolder(folder, { config, configJson, tensors, dtype: 'F32', copyFrom: tokenizerFrom });
}

const sizeOf = (shape: readonly number[]) => shape.reduce((size, length) => size * length, 1);

/** Normal values by Box and Muller, in pairs. */
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
