import { createWriteStream, existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { main } from '@wpo/cli';
import { type EncodedPair, encodePair, type PreferenceRow } from '@wpo/data';
import { loadTokenizerFolder, readRows } from '@wpo/data/node';
import { type Gemma2Preset, seededRandom } from '@wpo/gemma';
import type { PairLengths } from './matrix-products';

/**
 * Writes a preset's model with random weights, unless it exists. The 159M model is float32, the others are bfloat16, as the
 * published models of their sizes are.
 *
 * @param options.tokenizerFrom a model folder whose tokenizer is copied
 * @returns the model's folder
 */
export async function ensureModel(
  preset: Gemma2Preset,
  options: { readonly cache: string; readonly tokenizerFrom: string; readonly say: (line: string) => void },
): Promise<string> {
  const { cache, tokenizerFrom, say } = options;
  const folder = join(cache, `bench-${preset}`);
  if (existsSync(join(folder, 'config.json'))) return folder;
  say(`writing a model of ${preset} with random weights to ${folder}`);
  const dtype = preset === '159m' ? 'float32' : 'bfloat16';
  const tokenizer = preset === 'tiny' ? [] : ['--tokenizer', tokenizerFrom]; // tiny has fewer tokens
  const flags = ['--preset', preset, '--dtype', dtype, ...tokenizer, '--out', folder];
  const lines: string[] = [];
  const output = { write: (text: string) => void lines.push(text) };
  const status = await main(['init', ...flags], { stdout: output, stderr: output });
  if (status !== 0) throw new Error(lines.join(''));
  return folder;
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

/**
 * Writes a file with one pair of about `tokens` tokens, a quarter of them in the prompt: as many as fit, so a tokenizer of bytes
 * gives exactly that number.
 *
 * @param text a file of preference rows, whose text is used
 */
export async function writePairOfLength(path: string, model: string, tokens: number, text: string): Promise<void> {
  const options = { ...(await loadTokenizerFolder(model)), ...ENCODING };
  let source = '';
  while (source.length < 8 * tokens) {
    for await (const { chosen, rejected } of readRows(text)) source += `${chosen} ${rejected} `.replace(/[^ -~]/g, '');
  }
  const row = (prompt: string, chosen: string, rejected: string) => {
    const conversation = (content: string) => [
      { role: 'user', content: prompt },
      { role: 'assistant', content },
    ];
    return { prompt, chosen: conversation(chosen), rejected: conversation(rejected) };
  };
  const encode = (prompt: string, chosen: string, rejected: string) => {
    const context = [{ role: 'user' as const, content: prompt }];
    return encodePair({ id: 'pair', at: { file: path, line: 1 }, context, chosen, rejected }, options);
  };
  /** The longest start of the source, after `skip`, with which a part has at most `most` tokens. */
  const longestText = (most: number, skip: number, count: (content: string) => number): string => {
    // templates trim a text, so it must not start or end with a space
    const start = (length: number) => `A${source.slice(skip, skip + length)}.`;
    let [low, high] = [0, 8 * most];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (count(start(middle)) <= most) low = middle;
      else high = middle - 1;
    }
    return start(low);
  };
  const prompt = longestText(Math.floor(tokens / 4), 0, (content) => encode(content, 'a', 'b').prompt.length);
  const left = tokens - encode(prompt, 'a', 'b').prompt.length;
  const chosen = longestText(Math.floor(left / 2), 0, (content) => encode(prompt, content, 'b').chosen.length);
  const more = left - encode(prompt, chosen, 'b').chosen.length;
  const rejected = longestText(more, tokens, (content) => encode(prompt, 'a', content).rejected.length);
  await writeFile(path, `${JSON.stringify(row(prompt, chosen, rejected))}\n`);
}
