import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { loadTokenizerFolder } from '@wpo/data/node';
import { gemma2Presets, tensorShapes } from '@wpo/gemma';
import { expect, test } from 'vitest';
import { initSchema } from '../../src/schemas/init';
import { modelFolder, pairsFile, temporaryFolder } from '../golden';
import { startWpo, wpo } from '../wpo';

const folder = temporaryFolder();
const made = async (name: string, ...flags: string[]) => {
  const out = join(folder, name);
  const { status, out: printed, err } = await wpo('init', '--preset', 'tiny', '--out', out, ...flags);
  expect(status, err).toBe(0);
  return { out, printed };
};
const weightsOf = (path: string) => readFileSync(join(path, 'model.safetensors'));

test('the written folder is a model for other commands, with a tokenizer of bytes', async () => {
  const { out, printed } = await made('tiny');
  expect(printed).toMatch(/^A model of tiny with random weights, 510\.1 kB, is in .*tiny\n$/);
  expect(readdirSync(out).sort()).toEqual([
    ...['chat_template.jinja', 'config.json', 'generation_config.json', 'model.safetensors'],
    ...['tokenizer.json', 'tokenizer_config.json'],
  ]);
  expect(JSON.parse(readFileSync(join(out, 'config.json'), 'utf8'))).toMatchObject({
    dtype: 'bfloat16',
    vocab_size: 512,
    eos_token_id: [1, 107],
  });
  const answer = await wpo('generate', '--model', out, '--prompt', 'Why?', '--max-new-tokens', '4', '--json');
  expect(answer.status, answer.err).toBe(0);
  expect(JSON.parse(answer.out).completion_ids).toHaveLength(4);
  const weights = join(folder, 'weights.jsonl');
  const weighed = await wpo('weigh', '--model', out, '--pairs', pairsFile, '--out', weights);
  expect(weighed.status, weighed.err).toBe(0);
});

test('the tokenizer of bytes encodes any text and decodes it again', async () => {
  const { out } = await made('bytes');
  const { tokenizer, chatTemplate } = await loadTokenizerFolder(out);
  const text = 'Ünï ▁ 日本 🙂\n\ttwo  spaces';
  const ids = tokenizer.encode(text);
  expect(ids).toEqual(Array.from(new TextEncoder().encode(text), (byte) => 108 + byte));
  expect(tokenizer.decode(ids)).toBe(text);
  expect(tokenizer.encode('<bos><start_of_turn>a<end_of_turn>')).toEqual([2, 106, 108 + 97, 107]);
  expect(tokenizer.vocabSize).toBe(364);
  expect(chatTemplate).toBe(readFileSync(join(modelFolder, 'chat_template.jinja'), 'utf8'));
});

test('the same seed gives the same bytes; --seed, --dtype and --tokenizer change what is written', async () => {
  const [one, again, other, wide] = [
    await made('one'),
    await made('again'),
    await made('other', '--seed', '1'),
    await made('float32', '--dtype', 'float32'),
  ];
  expect(weightsOf(one.out).equals(weightsOf(again.out))).toBe(true);
  expect(weightsOf(one.out).equals(weightsOf(other.out))).toBe(false);
  expect(weightsOf(wide.out).length).toBeGreaterThan(1.9 * weightsOf(one.out).length);
  const big = join(folder, 'big');
  const flags = ['--preset', '159m', '--tokenizer', modelFolder, '--out', big];
  expect((await wpo('init', ...flags)).status).toBe(0);
  expect(readFileSync(join(big, 'tokenizer.json')).equals(readFileSync(join(modelFolder, 'tokenizer.json')))).toBe(
    true,
  );
  expect(weightsOf(big).length).toBeGreaterThan(300e6);
});

test('a model or another folder with files is never replaced', async () => {
  const { out } = await made('kept');
  const before = weightsOf(out);
  const again = await wpo('init', '--preset', 'tiny', '--seed', '2', '--out', out);
  expect(again.status).toBe(1);
  expect(again.err).toContain(`--out: expected a folder that does not exist or is empty, found ${out}`);
  expect(weightsOf(out).equals(before)).toBe(true);
  const file = await wpo('init', '--preset', 'tiny', '--out', join(out, 'config.json'));
  expect(file.err).toContain('--out: expected a folder that does not exist, found the file');
  mkdirSync(join(folder, 'empty'));
  await made('empty');
});

test('a tokenizer that does not fit the preset is named before anything is written', async () => {
  const out = join(folder, 'refused');
  const flags = ['--preset', 'tiny', '--tokenizer', modelFolder, '--out', out];
  const unfit = await wpo('init', ...flags);
  expect(unfit.status).toBe(1);
  expect(unfit.err).toBe(
    `--tokenizer ${modelFolder}: expected at most 512 tokens, the vocabulary of preset tiny, found 1722. Choose a larger ` +
      '--preset, or leave out --tokenizer.\n',
  );
  expect(existsSync(out)).toBe(false);
});

test('after SIGINT, nothing is left on the disk', async () => {
  const parent = join(folder, 'stopped');
  const child = startWpo(['init', '--preset', '2b-wide', '--out', join(parent, 'model')]);
  while (!existsSync(join(parent, '.model.partial', 'config.json'))) await sleep(20);
  child.kill('SIGINT');
  const { status, err } = await child.ended;
  expect(status, err).toBe(130);
  expect(err).toContain('Stopped. Nothing was written');
  expect(readdirSync(parent).filter((name) => name.includes('model'))).toEqual([]);
});

test('the help describes every preset of @wpo/gemma with its number of parameters', () => {
  const presets = initSchema.fields.preset.choices!;
  expect(Object.keys(presets)).toEqual(Object.keys(gemma2Presets));
  for (const [name, config] of Object.entries(gemma2Presets)) {
    const parameters = [...tensorShapes(config).values()].reduce((sum, s) => sum + s.reduce((n, d) => n * d, 1), 0);
    const [, number, unit] = /([\d.]+)([MB]) parameters/.exec(presets[name]!)!;
    const digits = number!.includes('.') ? 1 : 0;
    expect((parameters / (unit === 'B' ? 1e9 : 1e6)).toFixed(digits), name).toBe(number);
  }
});

test('a folder that could not be written leaves no partial one', async () => {
  writeFileSync(join(folder, 'file'), '');
  const { status, err } = await wpo('init', '--preset', 'tiny', '--out', join(folder, 'file', 'model'));
  expect(status).toBe(1);
  expect(err).toContain('expected');
});
