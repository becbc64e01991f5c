import '@wpo/tensorflow';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadTokenizerFolder } from '@wpo/data/node';
import { expect, test } from 'vitest';
import type { Generated } from '../../src/index';
import { main } from '../../src/main';
import { golden, modelFolder, temporaryFolder } from '../golden';
import { capture } from '../wpo';

const { tokenizer } = await loadTokenizerFolder(modelFolder);
const generated = async (args: string[]) => {
  const terminal = capture();
  expect(await main(['generate', '--model', modelFolder, ...args], terminal), terminal.err()).toBe(0);
  return terminal.out();
};
const asJson = async (args: string[]) =>
  (await generated([...args, '--json']))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Generated);

/** The fixture's prompts as text: whole rendered conversations, so `--raw`. */
const prompts = golden.greedy.map(({ prompt }) => tokenizer.decode(prompt));

test('greedy answers to raw text equal PyTorch’s, token for token', async () => {
  const file = join(temporaryFolder(), 'prompts.jsonl');
  writeFileSync(file, prompts.map((prompt) => JSON.stringify({ prompt })).join('\n'));
  const answers = await asJson(['--prompts', file, '--raw', '--max-new-tokens', '24']);
  expect(answers.map(({ prompt_ids }) => prompt_ids)).toEqual(golden.greedy.map(({ prompt }) => prompt));
  expect(answers.map(({ completion_ids }) => completion_ids)).toEqual(
    golden.greedy.map(({ completion }) => completion),
  );
  for (const { text, completion_ids } of answers) {
    expect(text).toBe(tokenizer.decode(completion_ids, { skipSpecialTokens: true }));
    expect(text).not.toContain('<end_of_turn>');
  }
});

const question = 'What does a compiler do?';
const user = `<bos><start_of_turn>user\n${question}<end_of_turn>\n`;
const header = '<start_of_turn>model\n';
const templated = ['--prompt-format', 'templated'];

test('the chat template formats a prompt given as text or as messages', async () => {
  const file = join(temporaryFolder(), 'prompts.jsonl');
  const rows = [{ prompt: question }, { prompt: [{ role: 'user', content: question }] }];
  writeFileSync(file, rows.map((row) => JSON.stringify(row)).join('\n\n'));
  const answers = await asJson(['--prompts', file, '--max-new-tokens', '24']);
  for (const { prompt_ids, completion_ids } of answers) {
    expect(prompt_ids).toEqual(golden.greedy[0]!.prompt);
    expect(completion_ids).toEqual(golden.greedy[0]!.completion);
  }
});

test('a prompt that a chat template rendered already is encoded as it is', async () => {
  const file = join(temporaryFolder(), 'prompts.jsonl');
  const rendered = [user + header, user, user.slice('<bos>'.length) + header, 'Question: why?\nAnswer:'];
  writeFileSync(file, rendered.map((prompt) => JSON.stringify({ prompt })).join('\n'));
  const terminal = capture();
  const args = ['--model', modelFolder, '--prompts', file, ...templated, '--max-new-tokens', '24', '--json'];
  expect(await main(['generate', ...args], terminal), terminal.err()).toBe(0);
  expect(terminal.err()).not.toContain('control tokens');
  const answers = terminal
    .out()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Generated);
  for (const { prompt_ids, completion_ids } of answers.slice(0, 3)) {
    expect(prompt_ids).toEqual(golden.greedy[0]!.prompt);
    expect(completion_ids).toEqual(golden.greedy[0]!.completion);
  }
  expect(tokenizer.decode(answers[3]!.prompt_ids)).toBe('<bos>Question: why?\nAnswer:');
});

test.each([
  ['--prompts', '2 prompts have', '<bos>, <start_of_turn>, <end_of_turn>, <|im_start|>; first in FILE:2'],
  ['--prompt', '1 prompt has', '<bos>, <start_of_turn>, <end_of_turn>'],
])('control tokens in a prompt of %s are counted, and encoded as before', async (flag, counted, tokens) => {
  const file = join(temporaryFolder(), 'prompts.jsonl');
  const rows = [question, user, '<|im_start|>user'];
  writeFileSync(file, rows.map((prompt) => JSON.stringify({ prompt })).join('\n'));
  const terminal = capture();
  const args = ['--model', modelFolder, flag, flag === '--prompt' ? user : file, '--max-new-tokens', '1', '--json'];
  expect(await main(['generate', ...args], terminal), terminal.err()).toBe(0);
  expect(terminal.err()).toContain(
    `${flag === '--prompt' ? flag : file}: ${counted} control tokens in the text (${tokens.replace('FILE', file)}). ` +
      'The model sees them in addition to those of the chat template. Remove them, or set prompt_format to "templated"',
  );
  const ids = terminal
    .out()
    .split('\n')
    .slice(0, -1)
    .map((line) => (JSON.parse(line) as Generated).prompt_ids);
  const doubled = ids.find((one) => one.filter((id) => id === tokenizer.bosTokenId).length === 2)!;
  expect(tokenizer.decode(doubled)).toBe(`<bos><start_of_turn>user\n${user.trim()}<end_of_turn>\n${header}`);
});

test('without --json the answer’s text is streamed and ends in a newline', async () => {
  const [{ text }] = (await asJson(['--prompt', 'Name three rivers in Europe.'])) as [Generated];
  expect(await generated(['--prompt', 'Name three rivers in Europe.'])).toBe(`${text}\n`);
});

test('the seed determines the sampled tokens', async () => {
  const draw = (seed: string) =>
    generated(['--prompt', 'Why?', '--temperature', '2', '--max-new-tokens', '12', '--seed', seed]);
  const first = await draw('1');
  expect(await draw('1')).toBe(first);
  expect(await draw('2')).not.toBe(first);
});

test('prompt i of a file is sampled with seed + i', async () => {
  const file = join(temporaryFolder(), 'prompts.jsonl');
  writeFileSync(file, ['Why?', 'Why?'].map((prompt) => JSON.stringify({ prompt })).join('\n'));
  const options = ['--temperature', '2', '--max-new-tokens', '12'];
  const [, second] = await asJson(['--prompts', file, ...options, '--seed', '1']);
  const [alone] = await asJson(['--prompt', 'Why?', ...options, '--seed', '2']);
  expect(second).toEqual(alone);
});

test.each([
  [
    ['--prompts', '/nowhere.jsonl'],
    /^\/nowhere.jsonl: expected a JSONL, JSON, CSV, TSV, Parquet or Arrow file, found no such file/,
  ],
  [
    ['--prompt', 'a', '--raw', ...templated],
    /^--prompt-format: expected messages with --raw, found templated\. Leave out/,
  ],
  [[], /^--prompt: expected exactly one of --prompt and --prompts, found neither.\n$/],
])('%j is an error of one line', async (args, message) => {
  const terminal = capture();
  expect(await main(['generate', '--model', modelFolder, ...args], terminal)).toBe(1);
  expect(terminal.err()).toMatch(message);
});

test.each([
  ['{"prompt": 3}', /:2: prompt: expected text or a list/],
  ['{"prompt": [{"role": "user"}]}', /:2: prompt\[0\].content: expected text, found nothing/],
  [
    '{"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}',
    /:2: prompt: expected messages that the chat template accepts, .*System role not supported.*system, user/,
  ],
  [`{"prompt": "[{'role': 'user', 'content': 'u'}]"}`, /:2: prompt: .* a list of messages written as text/],
  ['nonsense', /:2: expected one JSON object, found invalid JSON near "nonsense"/],
])('an invalid row of prompts, %j, is reported with its line', async (row, message) => {
  const file = join(temporaryFolder(), 'prompts.jsonl');
  writeFileSync(file, `{"prompt": "ok"}\n${row}\n`);
  const terminal = capture();
  expect(await main(['generate', '--model', modelFolder, '--prompts', file], terminal)).toBe(1);
  expect(terminal.err()).toMatch(message);
});
